package network

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Recover makes the kernel, the record and the caller's lists agree, after an engine's end at any
// moment or at the first start. want is all networks there are: those that are not there are made,
// others go. running is the containers that run: what was half attached goes, and what others left
// attached; their addresses stay their own. Connections of those that run are not touched.
// Errors are joined; what could be done is done.
func (m *Manager) Recover(want []Network, running []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	errs := []error{m.detachDead(want, running), m.dropOthers(want), m.sweep()}
	for _, n := range want {
		err := n.check()
		if err == nil {
			_, err = m.create(n)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("recover network %s: %w", n.Name, err))
		}
	}
	errs = append(errs, m.reclaim(), m.save())
	m.resolver.mu.Lock()
	m.resolver.disown()
	m.resolver.mu.Unlock()
	if len(m.families) > 0 {
		errs = append(errs, m.applyRules())
	}
	m.tell()
	return errors.Join(errs...)
}

// detachDead detaches who does not run, whose attachment was not finished, or whose network goes.
func (m *Manager) detachDead(want []Network, running []string) error {
	var errs []error
	for _, e := range m.record.Endpoints {
		alive := e.Stage == attached && slices.Contains(running, e.Container) && wanted(want, e.NetworkID)
		if alive || e.Stage == kept {
			continue
		}
		if err := m.detach(e); err != nil {
			errs = append(errs, fmt.Errorf("recover: detach %s: %w", short(e.Container), err))
		}
	}
	return errors.Join(errs...)
}

func wanted(want []Network, id string) bool {
	return slices.ContainsFunc(want, func(n Network) bool { return n.ID == id })
}

func (m *Manager) dropOthers(want []Network) error {
	var errs []error
	for _, n := range slices.Clone(m.record.Networks) {
		if wanted(want, n.ID) {
			continue
		}
		if err := m.drop(n); err != nil {
			errs = append(errs, fmt.Errorf("recover: remove network %s: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// sweep removes interfaces of ours that the record does not know.
func (m *Manager) sweep() error {
	s, err := dialIn(m.netns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer s.close()
	links, err := s.links()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, v := range m.views() {
		known[v.bridge] = true
		for _, e := range v.members {
			known[e.Veth] = true
		}
	}
	var errs []error
	for _, l := range links {
		if l.group == m.group && !known[l.name] {
			errs = append(errs, s.deleteLink(l.name))
		}
	}
	return errors.Join(errs...)
}

// reclaim claims the ports of those attached again: the sockets ended with the last engine. That
// another program has one now is told, and changes nothing for the packets.
func (m *Manager) reclaim() error {
	for _, e := range m.record.Endpoints {
		if e.Stage == kept || m.claims[e.key()] != nil {
			continue
		}
		for i := range e.Ports {
			c, err := m.claimPort(e, &e.Ports[i])
			if err != nil {
				m.log("recover %s: %v", e.display(), err)
				continue
			}
			m.claims[e.key()] = append(m.claims[e.key()], c)
		}
	}
	return nil
}

// RemoveAll takes everything back: attachments, networks, the filter, forwarding where it was off.
func (m *Manager) RemoveAll() error {
	if err := m.Recover(nil, nil); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.shut(), m.save())
}

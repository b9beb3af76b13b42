package network

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

const sysctls = "/proc/sys/net/"

// sysctl sets one of the kernel's network settings, in the namespace of the calling thread. It is not
// written when it has that value already: a host may have /proc/sys read-only and be set up in advance.
func sysctl(name, value string) error {
	path := sysctls + name
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	if strings.TrimSpace(string(old)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// setIPv6 keeps an interface without IPv6, or lets it have addresses at once: an interface that still
// searches for others with its link's address (RFC 4862 section 5.4) asks for no neighbour, so packets
// would be held up for a second or two. A kernel without IPv6 has nothing to set.
func setIPv6(name string, wanted bool) error {
	key, value := "disable_ipv6", "1"
	if wanted {
		key, value = "accept_dad", "0"
	}
	err := sysctl("ipv6/conf/"+name+"/"+key, value)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// isOff tells whether a switch is there and 0.
func isOff(name string) (bool, error) {
	old, err := os.ReadFile(sysctls + name)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return strings.TrimSpace(string(old)) == "0", nil
}

// keepAdvertisements lets interfaces that learn their routes from routers go on with it (2) although
// the host forwards: with 1 the kernel would stop to, and the host be without a way out.
func keepAdvertisements() error {
	dir := sysctls + "ipv6/conf"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := "ipv6/conf/" + e.Name() + "/accept_ra"
		old, err := os.ReadFile(sysctls + name)
		if err != nil || strings.TrimSpace(string(old)) != "1" || e.Name() == "all" {
			continue // an interface that went meanwhile, or one that does not listen
		}
		if err := sysctl(name, "2"); err != nil {
			return err
		}
	}
	return nil
}

// The switches of forwarding. They are on for every interface, also for those that appear later,
// because answers can come by any of them.
const (
	forward4 = "ipv4/ip_forward"
	forward6 = "ipv6/conf/all/forwarding"
)

// open makes the host forward what its networks need. That it did not before is put into the record
// first: the filter then keeps it from forwarding anything else.
func (m *Manager) open(ipv6 bool) error {
	return within(m.netns, func() error {
		off, err := isOff(forward4)
		off6 := false
		if err == nil && ipv6 {
			off6, err = isOff(forward6)
		}
		if err != nil || !off && !off6 {
			return err
		}
		m.record.Guard = m.record.Guard || off
		m.record.Guard6 = m.record.Guard6 || off6
		if err := m.save(); err != nil {
			return err
		}
		if off6 {
			if err := keepAdvertisements(); err != nil {
				return err
			}
			if err := sysctl(forward6, "1"); err != nil {
				return err
			}
		}
		return sysctl(forward4, "1")
	})
}

// shut undoes open, where it was open that turned forwarding on.
func (m *Manager) shut() error {
	return within(m.netns, func() error {
		var errs []error
		if m.record.Guard {
			errs = append(errs, sysctl(forward4, "0"))
		}
		if m.record.Guard6 {
			errs = append(errs, sysctl(forward6, "0"))
		}
		m.record.Guard, m.record.Guard6 = false, false
		return errors.Join(errs...)
	})
}

package container

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sort"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// moveNetDevices moves network devices of the host into the container's
// network namespace, with their permanent addresses, and brings them up. See
// "Network Devices" in config-linux.md. Physical devices come back by
// themselves when the namespace ends; a failed create brings all back.
func (k *creation) moveNetDevices() error {
	host, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	k.nets.add(host)
	inside, err := unix.Open("/proc/"+strconv.Itoa(k.pid)+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	k.nets.add(inside)
	names := make([]string, 0, len(k.spec.Linux.NetDevices))
	for name := range k.spec.Linux.NetDevices {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		as := k.spec.Linux.NetDevices[name].Name
		if as == "" {
			as = name
		}
		now, err := moveNetDevice(host, inside, name, as)
		if now != "" {
			k.undo = append(k.undo, func() { _, _ = moveNetDevice(inside, host, now, name) })
		}
		if err != nil {
			return fmt.Errorf("move network device %s to the container: %w", name, err)
		}
	}
	return nil
}

// moveNetDevice moves a device from one network namespace into another under a
// name that may hold %d. It returns the name it has there, if it is there.
func moveNetDevice(from, to int, name, as string) (now string, err error) {
	src, err := routeSocket(from)
	if err != nil {
		return "", err
	}
	defer src.close()
	dst, err := routeSocket(to)
	if err != nil {
		return "", err
	}
	defer dst.close()
	links, err := src.links()
	if err != nil {
		return "", err
	}
	index, ok := links[name]
	if !ok {
		return "", unix.ENODEV
	}
	addresses, err := src.addresses(index)
	if err != nil {
		return "", err
	}
	before, err := dst.links()
	if err != nil {
		return "", err
	}
	move := linkMessage(index, 0, 0)
	move = attribute(move, unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(to)))
	move = attribute(move, unix.IFLA_IFNAME, append([]byte(as), 0))
	// The kernel may move the device and then fail to rename it.
	_, moved := src.ask(unix.RTM_NEWLINK, unix.NLM_F_ACK, move)
	after, err := dst.links()
	if err != nil {
		return "", err
	}
	for n, i := range after {
		if _, old := before[n]; !old {
			now, index = n, i
		}
	}
	switch {
	case moved != nil:
		return now, moved
	case now == "":
		return "", errors.New("it went away")
	}
	for _, a := range addresses {
		binary.NativeEndian.PutUint32(a[4:], uint32(index))
		if _, err := dst.ask(unix.RTM_NEWADDR, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a); err != nil {
			return now, fmt.Errorf("add address: %w", err)
		}
	}
	if _, err := dst.ask(unix.RTM_NEWLINK, unix.NLM_F_ACK, linkMessage(index, unix.IFF_UP, unix.IFF_UP)); err != nil {
		return now, fmt.Errorf("bring up: %w", err)
	}
	return now, nil
}

// linkMessage is struct ifinfomsg, rtnetlink(7).
func linkMessage(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// attribute appends a struct rtattr, padded to four bytes.
func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

// route is a netlink socket for links and addresses, rtnetlink(7).
type route struct{ fd int }

// routeSocket opens a socket that acts in network namespace ns.
func routeSocket(ns int) (route, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is in ns and ends with us
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			done <- result{-1, fmt.Errorf("enter network namespace: %w", err)}
			return
		}
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		done <- result{fd, err}
	}()
	r := <-done
	return route{r.fd}, r.err
}

func (r route) close() { _ = unix.Close(r.fd) }

// ask sends a request and collects the answers until the last one.
func (r route) ask(kind, flags uint16, payload []byte) ([]syscall.NetlinkMessage, error) {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...) // sequence number and port: one request at a time
	b = append(b, payload...)
	if err := unix.Sendto(r.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var all []syscall.NetlinkMessage
	for {
		in := make([]byte, 64<<10)
		n, _, err := unix.Recvfrom(r.fd, in, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(in[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return all, nil
			case unix.NLMSG_ERROR:
				if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
					return nil, unix.Errno(-code)
				}
				return all, nil
			}
			all = append(all, m)
		}
	}
}

// links lists the devices: name to index.
func (r route) links() (map[string]int, error) {
	messages, err := r.ask(unix.RTM_GETLINK, unix.NLM_F_DUMP, linkMessage(0, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	links := map[string]int{}
	for i := range messages {
		attrs, err := syscall.ParseNetlinkRouteAttr(&messages[i])
		if err != nil {
			return nil, fmt.Errorf("list network devices: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_IFNAME {
				links[string(bytes.TrimRight(a.Value, "\x00"))] = int(binary.NativeEndian.Uint32(messages[i].Data[4:]))
			}
		}
	}
	return links, nil
}

// addresses lists what a device keeps of its addresses when it moves, as
// requests to add them: permanent ones that are valid everywhere.
func (r route) addresses(index int) (add [][]byte, err error) {
	messages, err := r.ask(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for i := range messages {
		head := messages[i].Data[:unix.SizeofIfAddrmsg]
		attrs, err := syscall.ParseNetlinkRouteAttr(&messages[i])
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		flags := uint32(head[2])
		body := append([]byte(nil), head...)
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.IFA_FLAGS:
				flags = binary.NativeEndian.Uint32(a.Value)
			case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST:
				body = attribute(body, a.Attr.Type, a.Value)
			}
		}
		if int(binary.NativeEndian.Uint32(head[4:])) == index && head[3] == unix.RT_SCOPE_UNIVERSE && flags&unix.IFA_F_PERMANENT != 0 {
			add = append(add, body)
		}
	}
	return add, nil
}

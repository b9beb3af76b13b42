package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long the kernel may take to answer. It holds the lock of the routing tables while
// it takes interfaces apart, and a loaded device has a queue for that lock.
const patience = 30 * time.Second

// socket is a netlink socket. It belongs to the network namespace of the thread that opened it,
// whatever thread uses it. Not for concurrent use.
type socket struct {
	fd       int
	sequence uint32
	buf      []byte
}

// dial opens a netlink socket of a protocol (unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER).
func dial(protocol int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("open netlink socket", err)
	}
	limit := unix.NsecToTimeval(int64(patience))
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1), // Linux 4.3
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set netlink socket: %w", err)
	}
	// Linux 4.12; before, an error has a number and no words.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	return &socket{fd: fd, buf: make([]byte, 16<<10)}, nil // dumps come in pieces that fit
}

func (s *socket) close() { _ = unix.Close(s.fd) }

// do sends one message and waits for the kernel's verdict.
func (s *socket) do(m *message) error {
	m.flags(unix.NLM_F_ACK)
	return s.exchange(m, nil)
}

// ask sends one message and hands each answer to each, until the last of a dump or, for a single
// answer, the verdict after it.
func (s *socket) ask(m *message, each func(reply)) error {
	if binary.NativeEndian.Uint16(m.buf[6:])&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
		m.flags(unix.NLM_F_ACK)
	}
	return s.exchange(m, each)
}

func (s *socket) exchange(m *message, each func(reply)) error {
	s.sequence++
	if err := s.send(m.finish(s.sequence)); err != nil {
		return err
	}
	return s.receive(func(r reply) (bool, error) {
		switch {
		case r.sequence != s.sequence:
			return false, nil
		case r.flags&unix.NLM_F_DUMP_INTR != 0:
			return false, unix.EINTR
		case r.kind == unix.NLMSG_DONE, r.kind == unix.NLMSG_ERROR:
			return true, verdict(r)
		case each != nil:
			each(r)
		}
		return false, nil
	})
}

func (s *socket) send(b []byte) error {
	return os.NewSyscallError("sendto netlink", unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// receive hands on messages until one is said to be the last, or an error is returned.
func (s *socket) receive(each func(reply) (bool, error)) error {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf, unix.MSG_TRUNC)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			return fmt.Errorf("wait for netlink: %w", os.ErrDeadlineExceeded)
		}
		if err != nil {
			return os.NewSyscallError("recvfrom netlink", err)
		}
		if n > len(s.buf) {
			return fmt.Errorf("recvfrom netlink: message of %d bytes: %w", n, unix.EMSGSIZE)
		}
		for r := range replies(s.buf[:n]) {
			if last, err := each(r); last || err != nil {
				return err
			}
		}
	}
}

// batch sends messages as one transaction of nf_tables: all of them count, or none does.
func (s *socket) batch(messages []*message) error {
	family := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, unix.NFNL_SUBSYS_NFTABLES >> 8, unix.NFNL_SUBSYS_NFTABLES & 0xff}
	s.sequence++
	first := s.sequence
	all := append([]byte(nil), request(unix.NFNL_MSG_BATCH_BEGIN, 0, family).finish(first)...)
	for i, m := range messages {
		if i == len(messages)-1 {
			m.flags(unix.NLM_F_ACK)
		}
		s.sequence++
		all = append(all, m.finish(s.sequence)...)
	}
	last := s.sequence
	s.sequence++
	all = append(all, request(unix.NFNL_MSG_BATCH_END, 0, family).finish(s.sequence)...)
	// The kernel takes a transaction in one piece, and has to have room for it.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(all)+32<<10)
	if err := s.send(all); err != nil {
		return err
	}
	var failure error
	err := s.receive(func(r reply) (bool, error) {
		if r.kind != unix.NLMSG_ERROR || r.sequence < first {
			return false, nil
		}
		if err := verdict(r); err != nil && failure == nil {
			failure = err
			if i := int(r.sequence - first); i > 0 && i <= len(messages) {
				failure = fmt.Errorf("message %d of %d: %w", i, len(messages), err)
			}
		}
		// An error of the whole is an answer to its beginning, and nothing more may come.
		return r.sequence == last || r.sequence == first, nil
	})
	return errors.Join(failure, err)
}

// verdict is the error in an NLMSG_ERROR or the NLMSG_DONE of a dump, or nil for an acknowledgement.
func verdict(r reply) error {
	if len(r.data) < 4 {
		return nil
	}
	number := int32(binary.NativeEndian.Uint32(r.data))
	if number >= 0 {
		return nil
	}
	errno := unix.Errno(-number)
	if r.kind != unix.NLMSG_ERROR || r.flags&unix.NLM_F_ACK_TLVS == 0 {
		return errno
	}
	// struct nlmsgerr: the number, then the header of the message it is about.
	if words := attribute(r.data[min(4+headerSize, len(r.data)):], unix.NLMSGERR_ATTR_MSG); words != nil {
		return fmt.Errorf("%w (%s)", errno, text(words))
	}
	return errno
}

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

const (
	// questions is how many of a network's questions are under way to other servers, conversations how
	// many TCP connections it has. One more is refused at once: a flood costs what these cost.
	questions     = 32
	conversations = 16
	// silence is how long a TCP connection may say nothing.
	silence = 10 * time.Second
)

// resolver answers names: those of a network's members, and others by asking the host's servers. It
// listens at the gateway of each network.
type resolver struct {
	netns    *os.File
	upstream *upstream
	names    atomic.Pointer[directory]
	log      func(string, ...any)

	mu       sync.Mutex
	adopted  map[netip.AddrPort][2]*os.File // from the last engine: UDP, TCP
	services map[string]*service            // by network id
}

// service is the resolver at one gateway.
type service struct {
	resolver *resolver
	at       netip.AddrPort
	files    [2]*os.File // UDP, TCP: what is handed on
	packets  *net.UDPConn
	calls    *net.TCPListener
	slots    chan struct{}
	lines    chan struct{}
	ending   context.Context
	end      context.CancelFunc
	running  sync.WaitGroup
}

func newResolver(netns *os.File, resolv string, log func(string, ...any)) *resolver {
	return &resolver{
		netns: netns, log: log, adopted: map[netip.AddrPort][2]*os.File{}, services: map[string]*service{},
		upstream: &upstream{netns: netns, path: resolv, avoid: map[netip.Addr]bool{}},
	}
}

// adopt keeps sockets of the last engine until serve wants them.
func (r *resolver) adopt(files []*os.File) error {
	for _, f := range files {
		at, kind, err := socketName(f)
		if err != nil {
			return fmt.Errorf("adopt socket of resolver: %w", err)
		}
		pair := r.adopted[at]
		if pair[kind] != nil {
			_ = pair[kind].Close()
		}
		pair[kind] = f
		r.adopted[at] = pair
	}
	return nil
}

// socketName is where a socket is bound, and 0 for UDP, 1 for TCP.
func socketName(f *os.File) (at netip.AddrPort, kind int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return at, 0, err
	}
	control := raw.Control(func(fd uintptr) {
		var name unix.Sockaddr
		if name, err = unix.Getsockname(int(fd)); err != nil {
			return
		}
		at = addrPort(name)
		var t int
		if t, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE); t == unix.SOCK_STREAM {
			kind = 1
		}
	})
	return at, kind, errors.Join(err, control)
}

// serve starts the resolver of a network, if it is not there, and records its port: 53, or another one
// where a program of the host has that on all addresses.
func (r *resolver) serve(n *netRecord) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.services[n.ID] != nil {
		return nil
	}
	var files [2]*os.File
	var at netip.AddrPort
	var err error
	for _, port := range []uint16{max(n.Resolver, 53), 53, 0} {
		at, files, err = r.sockets(netip.AddrPortFrom(n.Gateway, port))
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("listen for names at %v: %w", n.Gateway, err)
	}
	n.Resolver = at.Port()
	s := &service{resolver: r, at: at, files: files, slots: make(chan struct{}, questions), lines: make(chan struct{}, conversations)}
	if err := s.start(); err != nil {
		s.closeFiles()
		return fmt.Errorf("listen for names at %v: %w", at, err)
	}
	r.services[n.ID] = s
	r.avoid()
	return nil
}

// avoid keeps the resolver from asking itself.
func (r *resolver) avoid() {
	mine := map[netip.Addr]bool{}
	for _, s := range r.services {
		mine[s.at.Addr()] = true
	}
	r.upstream.mu.Lock()
	r.upstream.avoid = mine
	r.upstream.mu.Unlock()
}

// sockets are those of the last engine, or new ones. For port 0 both get the port that UDP got.
func (r *resolver) sockets(at netip.AddrPort) (netip.AddrPort, [2]*os.File, error) {
	if files := r.adopted[at]; files[0] != nil && files[1] != nil {
		delete(r.adopted, at)
		return at, files, nil
	}
	var files [2]*os.File
	err := within(r.netns, func() error {
		for i, proto := range []string{"udp", "tcp"} {
			fd, port, err := bind(at, proto)
			if err != nil {
				return err
			}
			files[i] = os.NewFile(uintptr(fd), proto+" "+at.String())
			at = netip.AddrPortFrom(at.Addr(), port)
			if proto == "tcp" {
				return os.NewSyscallError("listen", unix.Listen(fd, conversations))
			}
		}
		return nil
	})
	if err != nil {
		for _, f := range files {
			if f != nil {
				_ = f.Close()
			}
		}
		return at, [2]*os.File{}, err
	}
	return at, files, nil
}

func (s *service) start() error {
	packets, err := net.FilePacketConn(s.files[0])
	if err != nil {
		return err
	}
	calls, err := net.FileListener(s.files[1])
	if err != nil {
		_ = packets.Close()
		return err
	}
	s.packets, s.calls = packets.(*net.UDPConn), calls.(*net.TCPListener)
	s.ending, s.end = context.WithCancel(context.Background())
	s.running.Go(s.datagrams)
	s.running.Go(s.connections)
	return nil
}

func (s *service) closeFiles() {
	for _, f := range s.files {
		_ = f.Close()
	}
}

// stop ends a service and waits for it.
func (s *service) stop() {
	s.end()
	_ = s.packets.Close()
	_ = s.calls.Close()
	s.closeFiles()
	s.running.Wait()
}

// leave ends the service of a network.
func (r *resolver) leave(id string) {
	r.mu.Lock()
	s := r.services[id]
	delete(r.services, id)
	r.avoid()
	r.mu.Unlock()
	if s != nil {
		s.stop()
	}
}

func (r *resolver) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, s := range r.services {
		s.stop()
		delete(r.services, id)
	}
	r.disown()
	return nil
}

// disown closes adopted sockets that no network wanted.
func (r *resolver) disown() {
	for at, files := range r.adopted {
		for _, f := range files {
			if f != nil {
				_ = f.Close()
			}
		}
		delete(r.adopted, at)
	}
}

func (r *resolver) files() []*os.File {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*os.File
	for _, s := range r.services {
		all = append(all, s.files[0], s.files[1])
	}
	return all
}

// datagrams answers what comes over UDP: at once what is known here, and the rest on the side.
func (s *service) datagrams() {
	buf := make([]byte, packetSize)
	for {
		n, from, err := s.packets.ReadFromUDPAddrPort(buf)
		if s.ending.Err() != nil {
			return
		}
		if err != nil {
			s.resolver.log("read question of a container at %v: %v", s.at, err)
			pause(s.ending)
			continue
		}
		s.datagram(buf[:n], from)
	}
}

// pause keeps an error that comes again and again from taking the machine.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

func (s *service) datagram(packet []byte, from netip.AddrPort) {
	q, answer, forward := s.answer(packet, from.Addr().Unmap())
	if !forward {
		if answer != nil {
			s.send(q.truncate(answer), from)
		}
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		s.send(q.reply(dnsmessage.RCodeServerFailure), from)
		return
	}
	packet = append([]byte(nil), packet...)
	s.running.Go(func() {
		defer func() { <-s.slots }()
		s.send(s.forward(q, packet, "udp"), from)
	})
}

// send answers over UDP. A container that went meanwhile is no matter.
func (s *service) send(packet []byte, to netip.AddrPort) {
	_, _ = s.packets.WriteToUDPAddrPort(packet, to)
}

// answer is what is known here of a question; nil and no forward is for what gets no answer.
func (s *service) answer(packet []byte, from netip.Addr) (q question, answer []byte, forward bool) {
	q, code, reply := parseQuestion(packet)
	if !reply {
		return q, nil, false
	}
	if code != dnsmessage.RCodeSuccess {
		return q, q.reply(code), false
	}
	answer, forward = s.resolver.names.Load().answer(from, q)
	return q, answer, forward
}

func (s *service) forward(q question, packet []byte, over string) []byte {
	answer, err := s.resolver.upstream.ask(s.ending, q, packet, over)
	if err != nil {
		return q.reply(dnsmessage.RCodeServerFailure)
	}
	return answer
}

// connections answers what comes over TCP.
func (s *service) connections() {
	for {
		c, err := s.calls.Accept()
		if s.ending.Err() != nil {
			return
		}
		if err != nil {
			s.resolver.log("accept connection for names at %v: %v", s.at, err)
			pause(s.ending)
			continue
		}
		select {
		case s.lines <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		s.running.Go(func() {
			defer func() { <-s.lines }()
			s.converse(c)
		})
	}
}

// converse answers the questions of one connection, one after the other.
func (s *service) converse(c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(s.ending, func() { _ = c.Close() })
	defer stop()
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return
	}
	for c.SetDeadline(time.Now().Add(silence)) == nil {
		packet, err := readFrame(c)
		if err != nil {
			return
		}
		q, answer, forward := s.answer(packet, from.Addr().Unmap())
		if forward {
			answer = s.forward(q, packet, "tcp")
		}
		if answer == nil || writeFrame(c, answer) != nil {
			return
		}
	}
}

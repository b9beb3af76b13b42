package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// world is a host of the test's own, in a namespace, beside an outside that has no route into it.
//
//	outside 192.0.2.2, 2001:db8::2 -- 192.0.2.1, 2001:db8::1 host
type world struct {
	t       *testing.T
	dir     string
	host    *os.File
	outside *os.File
	m       *Manager
}

const (
	hostAddress    = "192.0.2.1"
	hostAddress6   = "2001:db8::1"
	outsideAddress = "192.0.2.2"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	w := &world{t: t, dir: filepath.Join(memory(t), "network"), host: newNamespace(t), outside: newNamespace(t)}
	w.must(loopback(w.host))
	w.must(loopback(w.outside))
	s := w.dial(w.outside)
	bridge := 0 // none: an interface without a master
	mac := macOf(netip.MustParseAddr(outsideAddress))
	w.must(s.addPair(pair{host: "up0", container: "eth0", bridge: bridge, netns: w.host, mac: mac}))
	w.settle(w.outside, "up0", outsideAddress+"/24", "2001:db8::2/64")
	w.settle(w.host, "eth0", hostAddress+"/24", hostAddress6+"/64")
	h := w.dial(w.host)
	l, err := h.link("eth0")
	w.must(err)
	w.must(h.addRoute(route{to: netip.MustParsePrefix("0.0.0.0/0"), via: netip.MustParseAddr(outsideAddress), out: l.index}))
	w.open(nil)
	t.Cleanup(func() {
		w.must(w.m.RemoveAll())
		w.must(w.m.Close())
	})
	return w
}

// memory is a directory of the test's in memory, where records are.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tare-network-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// eachBridgeFilter runs a test with and without br_netfilter, which hands packets that a bridge passes on to
// the filter of the host, and is on in a kernel that has it until somebody turns it off.
func eachBridgeFilter(t *testing.T, test func(w *world, on bool)) {
	t.Helper()
	for _, value := range []string{"0", "1"} {
		t.Run("br_netfilter="+value, func(t *testing.T) {
			w := newWorld(t)
			err := within(w.host, func() error {
				return errors.Join(sysctl(bridgeFilter, value), sysctl("bridge/bridge-nf-call-ip6tables", value))
			})
			if errors.Is(err, os.ErrNotExist) {
				if err = nil; value == "1" {
					t.Skip("needs the kernel to have br_netfilter")
				}
			}
			w.must(err)
			test(w, value == "1")
		})
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func (w *world) dial(ns *os.File) *socket {
	w.t.Helper()
	s, err := dialIn(ns, unix.NETLINK_ROUTE)
	w.must(err)
	w.t.Cleanup(s.close)
	return s
}

func (w *world) settle(ns *os.File, name string, addresses ...string) {
	w.t.Helper()
	s := w.dial(ns)
	l, err := s.link(name)
	w.must(err)
	w.must(within(ns, func() error { return setIPv6(name, true) }))
	w.must(s.up(l.index))
	for _, a := range addresses {
		w.must(s.addAddress(l.index, netip.MustParsePrefix(a), false))
	}
	_, err = s.link(name) // makes it ready: see wake
	w.must(err)
}

// open opens the manager, as a new engine does.
func (w *world) open(files []*os.File) {
	w.t.Helper()
	resolv := filepath.Join(filepath.Dir(w.dir), "resolv.conf")
	if _, err := os.Stat(resolv); err != nil {
		w.must(os.WriteFile(resolv, []byte("nameserver "+outsideAddress+"\n"), 0o600))
	}
	m, err := Open(w.dir, Options{Netns: w.host, Resolv: resolv, Files: files, Log: w.t.Logf})
	w.must(err)
	w.m = m
}

func newNamespace(t *testing.T) *os.File {
	t.Helper()
	f, err := NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func (w *world) create(n Network) Network {
	w.t.Helper()
	n.ID = (n.ID + n.Name + "0000000000000000")[:16]
	made, err := w.m.Create(n)
	w.must(err)
	return made
}

// box is a container: a namespace with an id, and a server on TCP and UDP port 80 that says the id.
type box struct {
	w  *world
	id string
	ns *os.File
	at []Attached
}

func (w *world) box(id string, ends ...Endpoint) *box {
	w.t.Helper()
	b := &box{w: w, id: id, ns: newNamespace(w.t)}
	for _, e := range ends {
		b.attach(e)
	}
	serve(w.t, b.ns, 80, id)
	return b
}

func (b *box) attach(e Endpoint) Attached {
	b.w.t.Helper()
	e.Container = b.id
	a, err := b.w.m.Attach(b.ns, e)
	b.w.must(err)
	b.at = append(b.at, a)
	return a
}

// serve says a word on TCP and UDP, to everybody who asks at a port in a namespace.
func serve(t *testing.T, ns *os.File, port int, word string) {
	t.Helper()
	var calls net.Listener
	var packets net.PacketConn
	err := within(ns, func() (err error) {
		if calls, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err != nil {
			return err
		}
		packets, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = calls.Close(); _ = packets.Close() })
	go func() {
		for {
			c, err := calls.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(c, "%s %s\n", word, c.RemoteAddr())
			_ = c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo([]byte(word+" "+from.String()), from)
		}
	}()
}

// How long a word is waited for that should come, and one that should not.
const (
	certain = 5 * time.Second
	silent  = 400 * time.Millisecond
)

// ask is what is said at an address, and who was seen to ask; "" when nothing is said.
func ask(t *testing.T, ns *os.File, over, address string, patience time.Duration) (word, seen string) {
	t.Helper()
	var c net.Conn
	err := within(ns, func() (err error) {
		c, err = net.DialTimeout(over, address, patience)
		return err
	})
	if err != nil {
		if patience == certain {
			t.Logf("%s %s: %v", over, address, err)
		}
		return "", ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if over == "udp" {
		_, _ = c.Write([]byte("?"))
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err != nil && err != io.EOF {
		return "", ""
	}
	word, seen, _ = strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	return word, seen
}

// hears is what a container hears at an address, where want should be heard.
func (b *box) hears(over, address, want string) string {
	b.w.t.Helper()
	patience := certain
	if want == "" {
		patience = silent
	}
	word, _ := ask(b.w.t, b.ns, over, address, patience)
	return word
}

// duplicate is what a keeper holds of a file.
func duplicate(t *testing.T, f *os.File) *os.File {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	control := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, control); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), f.Name())
}

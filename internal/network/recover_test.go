package network

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ours are the names of the interfaces in a host that this package made, in order.
func (w *world) ours() []string {
	w.t.Helper()
	links, err := w.dial(w.host).links()
	w.must(err)
	var names []string
	for _, l := range links {
		if l.group == tag(tableName) {
			names = append(names, l.name)
		}
	}
	slices.Sort(names)
	return names
}

// tables are the names of the tables of nf_tables in the host.
func (w *world) tables() []string {
	w.t.Helper()
	s, err := dialIn(w.host, unix.NETLINK_NETFILTER)
	w.must(err)
	defer s.close()
	var names []string
	m := request(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, []byte{unix.AF_UNSPEC, 0, 0, 0})
	w.must(s.ask(m, func(r reply) {
		if len(r.data) >= 4 {
			names = append(names, text(attribute(r.data[4:], unix.NFTA_TABLE_NAME)))
		}
	}))
	return names
}

// checkKernel compares what the kernel has with the record.
func (w *world) checkKernel() {
	w.t.Helper()
	var want []string
	for _, v := range w.m.views() {
		want = append(want, v.bridge)
		for _, e := range v.members {
			if e.Stage != attached {
				w.t.Errorf("%s is %s", e.key(), e.Stage)
			}
			want = append(want, e.Veth)
		}
	}
	slices.Sort(want)
	if got := w.ours(); !slices.Equal(got, want) {
		w.t.Errorf("the kernel has %v, the record %v", got, want)
	}
}

func TestRunningContainersKeepConnections(t *testing.T) {
	w := newWorld(t)
	nets := []Network{w.create(Network{Name: "red"}), w.create(Network{Name: "strict", Options: map[string]string{"icc": "0"}, Links: []Link{{From: "s1", To: "s2", Proto: "tcp"}}})}
	r1 := w.box("r1", Endpoint{Network: "red", Ports: []Port{{HostPort: 8080, Port: 7}}})
	s1 := w.box("s1", Endpoint{Network: "strict"})
	s2 := w.box("s2", Endpoint{Network: "strict"})
	dead := w.box("dead", Endpoint{Network: "red", Ports: []Port{{HostPort: 8081, Port: 80}}})
	echo(t, r1.ns)
	echo(t, s2.ns)
	lines := []*talk{
		newTalk(t, w.outside, hostAddress+":8080"),
		newTalk(t, w.host, "127.0.0.1:8080"),
		newTalk(t, s1.ns, s2.at[0].IP.String()+":7"),
	}
	w.must(w.m.Close()) // no more than the sockets ends with it
	w.open(nil)
	w.must(w.m.Recover(nets, []string{"r1", "s1", "s2"}))
	w.checkKernel()
	for i, l := range lines {
		if err := l.say("after"); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if err := newTalk(t, w.outside, hostAddress+":8080").say("new"); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	if got, _ := ask(t, w.outside, "tcp", hostAddress+":8081", silent); got != "" {
		t.Errorf("a dead container's port: heard %q", got)
	}
	again := w.box("dead", Endpoint{Network: "red"})
	if again.at[0].IP != dead.at[0].IP {
		t.Errorf("started again: address %v, was %v", again.at[0].IP, dead.at[0].IP)
	}
	_, err := w.m.Attach(newNamespace(t), Endpoint{Container: "other", Network: "red", Ports: []Port{{HostPort: 8080, Port: 80}}})
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("publish 8080 a second time after recovery: %v", err)
	}
}

// echo says on port 7 what it hears.
func echo(t *testing.T, ns *os.File) {
	t.Helper()
	var l net.Listener
	err := within(ns, func() (err error) {
		l, err = net.Listen("tcp", ":7")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go func() {
				lines := bufio.NewScanner(c)
				for lines.Scan() {
					_, _ = fmt.Fprintln(c, lines.Text())
				}
			}()
		}
	}()
}

// talk is a connection to an echo.
type talk struct{ c net.Conn }

func newTalk(t *testing.T, ns *os.File, at string) *talk {
	t.Helper()
	l := &talk{}
	err := within(ns, func() (err error) {
		l.c, err = net.DialTimeout("tcp", at, 2*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.c.Close() })
	if err := l.say("before"); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *talk) say(word string) error {
	_ = l.c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := fmt.Fprintln(l.c, word); err != nil {
		return err
	}
	heard, err := bufio.NewReader(l.c).ReadString('\n')
	if err == nil && strings.TrimSpace(heard) != word {
		err = fmt.Errorf("heard %q, said %q", heard, word)
	}
	return err
}

// victim names the variable that makes the test's program the one that is killed: a directory.
const victim = "NETWORK_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		fmt.Println(beVictim(dir))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// beVictim makes and takes back all there is until it is killed, and otherwise says why it could not.
func beVictim(dir string) error {
	host, box := os.NewFile(3, "host"), os.NewFile(4, "container")
	m, err := Open(dir, Options{Netns: host})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		for _, n := range victimNetworks() {
			_, err1 := m.Create(n)
			_, err2 := m.Attach(box, Endpoint{Container: "c1", Network: n.Name, Ports: []Port{{HostPort: 8080, HostEnd: 8090, Port: 80}}})
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
		}
		err1 := m.Detach("c1", "red")
		err2 := m.Release("c1", "")
		err3 := m.Remove("red")
		if err := errors.Join(err1, err2, err3, m.Remove("strict")); err != nil {
			return err
		}
	}
}

func victimNetworks() []Network {
	return []Network{
		{ID: "red0000000", Name: "red", IPv6: true},
		{ID: "strict0000", Name: "strict", Options: map[string]string{"icc": "false"}},
	}
}

// TestKilledAnywhere kills an engine at many moments of making and taking back; the next one leaves
// nothing behind of what does not run, and goes on.
func TestKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	w.must(w.m.Close())
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	stages := map[string]int{}
	for i := range rounds {
		box := newNamespace(t)
		w.kill(box, time.Duration(i)*700*time.Microsecond)
		w.open(nil)
		for _, e := range w.m.record.Endpoints {
			stages[string(e.Stage)]++
		}
		if err := w.m.Recover(victimNetworks(), nil); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		w.checkKernel()
		a, err := w.m.Attach(box, Endpoint{Container: "c2", Network: "red", Ports: []Port{{HostPort: 8080, Port: 80}}})
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		w.checkKernel()
		serveOnce(t, box, a.IP.String())
		if word, _ := ask(t, w.outside, "tcp", hostAddress+":8080", certain); word != "here" {
			t.Errorf("round %d: heard %q", i, word)
		}
		w.must(w.m.RemoveAll())
		if left := append(w.ours(), w.tables()...); len(left) > 0 {
			t.Fatalf("round %d: left %v", i, left)
		}
		w.must(w.m.Close())
	}
	t.Logf("found after kills: %v", stages)
	w.open(nil)
}

func serveOnce(t *testing.T, ns *os.File, at string) {
	t.Helper()
	err := within(ns, func() error {
		l, err := net.Listen("tcp", at+":80")
		if err != nil {
			return err
		}
		go func() {
			defer l.Close()
			if c, err := l.Accept(); err == nil {
				_, _ = c.Write([]byte("here\n"))
				_ = c.Close()
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// kill runs the victim and kills it so long after it began.
func (w *world) kill(box *os.File, after time.Duration) {
	w.t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), victim+"="+w.dir)
	c.ExtraFiles = []*os.File{w.host, box}
	out, err := c.StdoutPipe()
	w.must(err)
	w.must(c.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
	}
	time.Sleep(after)
	w.must(c.Process.Kill())
	for lines.Scan() {
		w.t.Logf("victim: %s", lines.Text())
	}
	if err := c.Wait(); c.ProcessState.ExitCode() >= 0 {
		w.t.Fatalf("the victim ended on its own: %v", err)
	}
}

// TestNothingStays attaches and detaches many times and counts what is there.
func TestNothingStays(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "red", IPv6: true})
	before := w.ours()
	var files []string
	var attaching, releasing time.Duration
	const rounds = 100
	for i := range rounds {
		ns := newNamespace(t)
		id := fmt.Sprintf("container%03d", i)
		start := time.Now()
		_, err := w.m.Attach(ns, Endpoint{Container: id, Network: "red", Ports: []Port{{Port: 80}}})
		w.must(err)
		attaching += time.Since(start)
		start = time.Now()
		if i%2 == 0 {
			w.must(w.m.Detach(id, "red"))
			w.must(w.m.Detach(id, "red"))
		}
		w.must(w.m.Release(id, ""))
		releasing += time.Since(start)
		_ = ns.Close()
		if i == 0 {
			files = openFiles(t) // the first time opens what stays
		}
	}
	t.Logf("attached in %v, released in %v", attaching/rounds, releasing/rounds)
	if got := openFiles(t); len(got) > len(files) {
		t.Errorf("open files %q, before %q", got, files)
	}
	if got := w.ours(); !slices.Equal(got, before) {
		t.Errorf("interfaces %v, before %v", got, before)
	}
	if n := len(w.m.record.Endpoints); n != 0 {
		t.Errorf("%d endpoints in the record", n)
	}
}

// openFiles are what the test's process has open.
func openFiles(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name())
		names = append(names, e.Name()+" "+name)
	}
	return names
}

// TestNamespaceIsGone detaches whose namespace ended before.
func TestNamespaceIsGone(t *testing.T) {
	w := newWorld(t)
	red := w.create(Network{Name: "red"})
	ns := newNamespace(t)
	_, err := w.m.Attach(ns, Endpoint{Container: "c1", Network: "red"})
	w.must(err)
	_ = ns.Close()
	for len(w.ours()) > 1 { // the kernel takes its time
		time.Sleep(10 * time.Millisecond)
	}
	w.must(w.m.Detach("c1", "red"))
	w.must(w.m.Remove("red"))
	w.must(w.m.Recover([]Network{red}, nil))
	w.checkKernel()
}

// TestRecordIsLost: what the kernel has is taken away and made anew.
func TestRecordIsLost(t *testing.T) {
	lose := map[string]func(string) error{
		"removed":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 100) },
		"empty":     func(path string) error { return os.Truncate(path, 0) },
	}
	for name, lost := range lose {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			red := w.create(Network{Name: "red", IPv6: true})
			w.box("r1", Endpoint{Network: "red", Ports: []Port{{HostPort: 8080, Port: 80}}})
			w.must(w.m.Close())
			w.must(lost(w.dir + "/network.json"))
			w.open(nil)
			w.must(w.m.Recover([]Network{red}, []string{"r1"}))
			w.checkKernel()
			w.box("r2", Endpoint{Network: "red", Ports: []Port{{HostPort: 8080, Port: 80}}})
			if got, _ := ask(t, w.outside, "tcp", hostAddress+":8080", certain); got != "r2" {
				t.Errorf("heard %q", got)
			}
		})
	}
}

// TestForwardingIsNotLeftOpen: where the host forwarded nothing before, it forwards nothing but what
// is for containers, and nothing at all in the end.
func TestForwardingIsNotLeftOpen(t *testing.T) {
	w := newWorld(t)
	third := newNamespace(t)
	w.must(loopback(third))
	s := w.dial(third)
	w.must(s.addPair(pair{host: "up0", container: "eth1", netns: w.host, mac: macOf(w.addr("198.51.100.1"))}))
	w.settle(third, "up0", "198.51.100.2/24")
	w.settle(w.host, "eth1", "198.51.100.1/24")
	for _, side := range []struct {
		ns        *os.File
		name, via string
	}{{third, "up0", "198.51.100.1"}, {w.outside, "up0", hostAddress}} {
		d := w.dial(side.ns)
		l, err := d.link(side.name)
		w.must(err)
		w.must(d.addRoute(route{to: netip.MustParsePrefix("0.0.0.0/0"), via: w.addr(side.via), out: l.index}))
	}
	serve(t, third, 80, "third")
	forwards := func(value string) {
		t.Helper()
		w.must(within(w.host, func() error {
			got, err := os.ReadFile(sysctls + forward4)
			if strings.TrimSpace(string(got)) != value {
				t.Errorf("ip_forward = %s, want %s", got, value)
			}
			return err
		}))
	}
	w.must(within(w.host, func() error { return sysctl(forward4, "0") }))
	red := w.create(Network{Name: "red"})
	forwards("1")
	r1 := w.box("r1", Endpoint{Network: "red"})
	if got, _ := ask(t, w.outside, "tcp", "198.51.100.2:80", silent); got != "" {
		t.Errorf("from one side of the host to the other: heard %q", got)
	}
	if got := r1.hears("tcp", "198.51.100.2:80", "third"); got != "third" {
		t.Errorf("from the container: heard %q", got)
	}
	w.must(w.m.Close())
	w.open(nil)
	w.must(w.m.Recover([]Network{red}, []string{"r1"}))
	if got, _ := ask(t, w.outside, "tcp", "198.51.100.2:80", silent); got != "" {
		t.Errorf("from one side to the other after recovery: heard %q", got)
	}
	w.must(w.m.RemoveAll())
	forwards("0")
	w.must(within(w.host, func() error { return sysctl(forward4, "1") }))
	w.create(Network{Name: "blue"})
	if got, _ := ask(t, w.outside, "tcp", "198.51.100.2:80", certain); got != "third" {
		t.Errorf("a host that forwards on its own: heard %q", got)
	}
	w.must(w.m.RemoveAll())
	forwards("1")
}

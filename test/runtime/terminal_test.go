package runtimetest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// consoleSocket listens as an engine does and gives the terminal's master once it has come.
func consoleSocket(t *testing.T, b *bundle) (path string, master func() *os.File) {
	t.Helper()
	path = b.path("console.sock")
	os.Remove(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	got := make(chan *os.File, 1)
	go func() {
		defer close(got)
		if f, err := receiveFile(l); err == nil {
			got <- f
		}
	}()
	return path, func() *os.File {
		t.Helper()
		select {
		case f := <-got:
			if f == nil {
				t.Fatal("the console socket brought no descriptor")
			}
			t.Cleanup(func() { f.Close() })
			return f
		case <-time.After(10 * time.Second):
			t.Fatal("no terminal came")
		}
		return nil
	}
}

// receiveFile accepts one connection and takes one descriptor with its message.
func receiveFile(l *net.UnixListener) (*os.File, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	buf, oob := make([]byte, 4096), make([]byte, 1024)
	_, n, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("control messages %v: %v", messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("descriptors %v: %v", fds, err)
	}
	unix.SetNonblock(fds[0], true) // so that os.File can be closed while it is read
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// transcript collects what a terminal shows.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
}

func follow(f *os.File) *transcript {
	tr := &transcript{done: make(chan struct{})}
	go func() {
		defer close(tr.done)
		buf := make([]byte, 64<<10)
		for {
			n, err := f.Read(buf)
			tr.mu.Lock()
			tr.text.Write(buf[:n])
			tr.mu.Unlock()
			if err != nil { // EIO when the last user of the other side is gone
				return
			}
		}
	}()
	return tr
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.String()
}

// ended waits until the last user of the other side is gone.
func (tr *transcript) ended(t *testing.T) {
	t.Helper()
	select {
	case <-tr.done:
	case <-time.After(10 * time.Second):
		t.Fatalf("the terminal is still in use after 10 s: %q", clip(tr.String()))
	}
}

func TestTerminalIsSentToTheConsoleSocket(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "report")
	b.Spec.Process.Terminal = true
	b.Spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 121}
	path, master := consoleSocket(t, b)
	b.create("--console-socket", path)
	tr := follow(master())
	b.start()
	tr.ended(t)
	text := tr.String()
	// Whether ONLCR is set is left to the engine, which has the master: crun and runc leave it set here.
	r := b.decode(result{stdout: text})
	if r.TTY.Terminals != [3]bool{true, true, true} || !r.TTY.Controlling {
		t.Errorf("terminal %+v", r.TTY)
	}
	if r.TTY.Rows != 33 || r.TTY.Cols != 121 {
		t.Errorf("size %d x %d", r.TTY.Rows, r.TTY.Cols)
	}
	if r.TTY.Name != "/dev/pts/0" || r.TTY.Foreground != 1 || r.Sid != 1 {
		t.Errorf("terminal %+v, session %d", r.TTY, r.Sid)
	}
	console, ok := deviceAt(r, "/dev/console")
	if !ok || console.Type != "c" || console.Major != 136 {
		t.Errorf("/dev/console is %+v", console)
	}
}

func TestTerminalBelongsToTheUser(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "do", "stat", "/dev/pts/0", ",", "stat", "/dev/console", ",", "openfd", "/dev/tty", ",", "write", "/dev/pts/0", "x")
	b.Spec.Process.Terminal = true
	b.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
	path, master := consoleSocket(t, b)
	b.create("--console-socket", path)
	tr := follow(master())
	b.start()
	tr.ended(t)
	r := b.results(tr.String()[strings.Index(tr.String(), "["):])
	if !strings.HasPrefix(r[0].Out, "c 620 1000 5") || r[2].Err != "" || r[3].Err != "" {
		t.Errorf("%v", r)
	}
}

func TestTerminalInUserNamespace(t *testing.T) {
	t.Parallel()
	needNamespace(t, "user")
	b := newBundle(t, "report").userNamespace(shiftedRoot, 65536)
	b.Spec.Process.Terminal = true
	path, master := consoleSocket(t, b)
	b.create("--console-socket", path)
	tr := follow(master())
	b.start()
	tr.ended(t)
	if r := b.decode(result{stdout: tr.String()}); !r.TTY.Controlling || r.TTY.Name != "/dev/pts/0" {
		t.Errorf("terminal %+v", r.TTY)
	}
}

func TestTerminalPassesInputAndSizeChanges(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "winsize")
	b.Spec.Process.Terminal = true
	path, master := consoleSocket(t, b)
	b.create("--console-socket", path)
	m := master()
	tr := follow(m)
	b.start()
	eventually(t, "told its size", func() bool { return strings.Contains(tr.String(), "size ") })
	must(t, unix.IoctlSetWinsize(int(m.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 11, Col: 22}))
	eventually(t, "told its new size", func() bool { return strings.Contains(tr.String(), "size 11 22") })
	b.destroy()
	echo := newBundle(t, "cat")
	echo.Spec.Process.Terminal = true
	path, master = consoleSocket(t, echo)
	echo.create("--console-socket", path)
	m = master()
	tr = follow(m)
	echo.start()
	_, err := m.WriteString("typed\n\x04")
	must(t, err)
	tr.ended(t)
	if got := tr.String(); strings.Count(got, "typed") != 2 { // the echo and the program
		t.Errorf("the terminal shows %q", got)
	}
}

func TestTerminalNeedsSomewhereToGo(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.Spec.Process.Terminal = true
	wantRefusal(t, b.tryCreate(), "console")                                    // detached without a socket
	wantRefusal(t, b.tryCreate("--console-socket", b.path("missing.sock")), "") // nobody listens
	b.Spec.Process.Terminal = false
	peerLacks(t, "crun 1.8 takes it", "crun")
	path, _ := consoleSocket(t, b)
	wantRefusal(t, b.tryCreate("--console-socket", path), "console")
}

func TestConsoleSizeWithoutTerminalIsIgnored(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 121}
	if r := b.report(); r.TTY.Terminals[0] {
		t.Errorf("%+v", r.TTY)
	}
}

// A runtime in the foreground of a terminal relays it: bytes, size and modes.
func TestForegroundRunRelaysTheCallersTerminal(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun 1.8 does not copy the size at once", "crun")
	b := newBundle(t, "winsize")
	b.Spec.Process.Terminal = true
	b.write()
	master, slave := openTerminal(t)
	must(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 44, Col: 99}))
	tr := follow(master)
	in := b.invocation("run", "--bundle", b.dir, b.id)
	in.stdin, in.out, in.err = slave, slave, slave
	in.terminal = true
	cmd, _, _ := begin(t, in)
	slave.Close()
	eventually(t, "told the size of the caller's terminal", func() bool { return strings.Contains(tr.String(), "size 44 99") })
	must(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 45, Col: 98}))
	eventually(t, "told the new size", func() bool { return strings.Contains(tr.String(), "size 45 98") })
	if strings.Contains(tr.String(), "\r\r\n") {
		t.Errorf("two carriage returns a line: ONLCR is set on the container's terminal too: %q", tr)
	}
	_, err := master.WriteString("\x03") // the runtime's side is raw: the interrupt is the container's
	must(t, err)
	must(t, err)
	if got := finish(t, cmd); got == 0 {
		t.Errorf("run ended with %d after an interrupt: %s", got, tr)
	}
}

// openTerminal makes a pseudo-terminal of the host's.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	must(t, err)
	master = os.NewFile(uintptr(fd), "master")
	t.Cleanup(func() { master.Close() })
	must(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	return master, slave
}

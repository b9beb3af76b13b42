package system

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A terminal is the person at the console: a program with a pseudo-terminal of its own.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	exited chan struct{} // closed when the program has ended

	mu    sync.Mutex
	seen  strings.Builder // all that was printed
	taken int             // how much of it expect has passed
}

// start runs a program on a new pseudo-terminal.
func start(t *testing.T, path string, args ...string) *terminal {
	t.Helper()
	master, slave := openPTY(t)
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	term := &terminal{t: t, cmd: cmd, master: master, exited: make(chan struct{})}
	go term.read()
	go func() {
		defer close(term.exited)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-term.exited
		master.Close()
		if t.Failed() {
			t.Logf("the console:\n%s", term.text())
		}
	})
	return term
}

// openPTY returns both ends of a new pseudo-terminal (pty(7)).
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("unlock the terminal: %v", err)
	}
	n, err := unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatalf("number of the terminal: %v", err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatalf("size of the terminal: %v", err)
	}
	return master, slave
}

// read collects what is printed until the last holder of the terminal is gone.
func (c *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := c.master.Read(buf)
		c.mu.Lock()
		c.seen.Write(buf[:n])
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *terminal) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.String()
}

// expect waits until the text appears after what was expected before, and returns what stood between.
func (c *terminal) expect(text string, limit time.Duration) string {
	c.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		rest := c.seen.String()[c.taken:]
		before, _, found := strings.Cut(rest, text)
		if found {
			c.taken += len(before) + len(text)
		}
		c.mu.Unlock()
		if found {
			return before
		}
		select {
		case <-c.exited:
			c.t.Fatalf("the program ended (%v) before it printed %q", c.cmd.ProcessState, text)
		default:
		}
		if time.Now().After(end) {
			c.t.Fatalf("after %v no %q on the console", limit, text)
		}
	}
}

// send types a line.
func (c *terminal) send(line string) {
	c.t.Helper()
	if _, err := c.master.WriteString(line + "\n"); err != nil {
		c.t.Fatal(err)
	}
}

// wait returns the exit status of the program.
func (c *terminal) wait(limit time.Duration) int {
	c.t.Helper()
	select {
	case <-c.exited:
		return c.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		c.t.Fatalf("still running after %v", limit)
	}
	return -1
}

package runtimecli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/console"
)

func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudoterminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

func TestSignalsAreForwarded(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGTSTP, unix.SIGWINCH, 37} {
		g := newStage()
		g.process.signals = make(chan unix.Signal, 1)
		g.process.wait = func() {
			// The process runs: whoever signals us now means it.
			if err := unix.Kill(os.Getpid(), sig); err != nil {
				t.Error(err)
			}
		}
		if status, _, errs := g.run("run", "web"); status != 128+int(sig) || errs != "" {
			t.Errorf("signal %d: status %d, stderr %q", sig, status, errs)
		}
	}
}

func TestSignalsAboutUsAreNotForwarded(t *testing.T) {
	list := map[os.Signal]bool{}
	for _, sig := range forwarded() {
		list[sig] = true
	}
	for _, sig := range []unix.Signal{unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, unix.SIGKILL, unix.SIGSTOP} {
		if list[sig] {
			t.Errorf("%v is forwarded", sig)
		}
	}
	if len(list) != 59 {
		t.Errorf("%d signals are forwarded, want 59", len(list))
	}
}

// TestTerminalJoinsTwo puts the caller's terminal and the container's together:
// what is typed at the one arrives in the other, in its size, and after the end
// the caller's terminal is as it was.
func TestTerminalJoinsTwo(t *testing.T) {
	keyboard, host := openPTY(t)
	master, slave := openPTY(t)
	if err := console.SetSize(host, console.Size{Rows: 30, Cols: 90}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(host.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{in: host, out: host}
	if err := term.attach(master); err != nil {
		t.Fatal(err)
	}
	if size, _ := console.GetSize(slave); size != (console.Size{Rows: 30, Cols: 90}) {
		t.Errorf("size %v", size)
	}
	if err := console.SetSize(host, console.Size{Rows: 5, Cols: 6}); err != nil {
		t.Fatal(err)
	}
	if !term.resize() {
		t.Error("resize: no terminal")
	}
	if size, _ := console.GetSize(slave); size != (console.Size{Rows: 5, Cols: 6}) {
		t.Errorf("size after a change %v", size)
	}
	if _, err := io.WriteString(keyboard, "date\r"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, err := slave.Read(buf)
	if err != nil || string(buf[:n]) != "date\n" {
		t.Errorf("the container read %q, %v", buf[:n], err)
	}
	if _, err := io.WriteString(slave, "today\n"); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	if err := term.drain(); err != nil {
		t.Fatal(err)
	}
	if err := term.restore(); err != nil {
		t.Fatal(err)
	}
	after, err := unix.IoctlGetTermios(int(host.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("settings after %+v, %v, want %+v", after, err, before)
	}
	shown := readUntil(t, keyboard, "today")
	if !strings.HasSuffix(shown, "today\r\n") {
		t.Errorf("the caller saw %q: the newline was turned %d times", shown, strings.Count(shown, "\r"))
	}
}

func readUntil(t *testing.T, f *os.File, want string) string {
	t.Helper()
	var all strings.Builder
	buf := make([]byte, 64)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		n, err := f.Read(buf)
		all.Write(buf[:n])
		if err != nil || strings.Contains(all.String(), want+"\r\n") {
			break
		}
	}
	return all.String()
}

func TestTerminalWithoutACallersTerminal(t *testing.T) {
	master, slave := openPTY(t)
	in, typed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	shown, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{in: in, out: out}
	if err := term.attach(master); err != nil {
		t.Fatal(err)
	}
	if term.resize() {
		t.Error("resize: there is no terminal to follow")
	}
	typed.Close()
	if text, err := io.ReadAll(slave); err != nil || len(text) != 0 {
		t.Errorf("the container read %q, %v, want the end", text, err)
	}
	if _, err := io.WriteString(slave, "x\n"); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	if err := term.drain(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if got, _ := io.ReadAll(shown); !strings.HasSuffix(string(got), "x\n") || strings.Contains(string(got), "\r") {
		t.Errorf("the caller got %q", got)
	}
	if err := term.restore(); err != nil {
		t.Error(err)
	}
}

func TestRunConnectsTheTerminal(t *testing.T) {
	master, slave := openPTY(t)
	g := newStage()
	g.process.master = master
	g.process.wait = func() { slave.Close() }
	if status, _, errs := g.run("run", "web"); status != 0 || errs != "" {
		t.Errorf("status %d, stderr %q", status, errs)
	}
}

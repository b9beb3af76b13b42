package console

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openPTY makes a real pseudoterminal.
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

func termios(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	v, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *v
}

func TestMakeRawPutsSettingsBack(t *testing.T) {
	_, slave := openPTY(t)
	before := termios(t, slave)
	restore, err := MakeRaw(slave)
	if err != nil {
		t.Fatal(err)
	}
	raw := termios(t, slave)
	if raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || raw.Iflag&unix.ICRNL != 0 {
		t.Errorf("still cooked: lflag %#x iflag %#x", raw.Lflag, raw.Iflag)
	}
	if raw.Oflag&unix.OPOST == 0 {
		t.Error("output processing is off, lines would run like stairs")
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if after := termios(t, slave); after != before {
		t.Errorf("settings after restore %+v, want %+v", after, before)
	}
}

func TestWhatIsNoTerminal(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Is(f) {
		t.Error("/dev/null is said to be a terminal")
	}
	if _, err := MakeRaw(f); err == nil || !strings.Contains(err.Error(), "/dev/null") {
		t.Errorf("MakeRaw(/dev/null) = %v", err)
	}
	if err := ClearONLCR(f); err == nil {
		t.Error("ClearONLCR(/dev/null) worked")
	}
	if _, err := GetSize(f); err == nil {
		t.Error("GetSize(/dev/null) worked")
	}
	if err := SetSize(f, Size{1, 1}); err == nil {
		t.Error("SetSize(/dev/null) worked")
	}
}

func TestSizeOfMasterIsSizeOfSlave(t *testing.T) {
	master, slave := openPTY(t)
	if err := SetSize(master, Size{Rows: 33, Cols: 101}); err != nil {
		t.Fatal(err)
	}
	if got, err := GetSize(slave); err != nil || got != (Size{33, 101}) {
		t.Errorf("GetSize = %v, %v", got, err)
	}
}

func TestRelayCopiesBothWaysAndDrains(t *testing.T) {
	master, slave := openPTY(t)
	if err := ClearONLCR(master); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r := Start(master, strings.NewReader("hello\n"), &out)
	line := make([]byte, 100)
	n, err := slave.Read(line)
	if err != nil || string(line[:n]) != "hello\n" {
		t.Fatalf("slave read %q, %v", line[:n], err)
	}
	// More than the kernel's buffer, so that the copying has to keep up.
	body := strings.Repeat("0123456789abcde\n", 64*1024/16)
	if _, err := io.WriteString(slave, body); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	if err := r.Drain(time.Second); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimPrefix(out.String(), "hello\n"); strings.TrimPrefix(got, "^D\b\b") != body {
		t.Errorf("copied %d bytes, want %d", len(got), len(body))
	}
}

func TestEndOfInputEndsTheReader(t *testing.T) {
	for _, input := range []string{"", "a line\n", "half a line"} {
		master, slave := openPTY(t)
		Start(master, strings.NewReader(input), io.Discard)
		got, err := io.ReadAll(slave) // a read of nothing is the end here
		if err != nil || string(got) != input {
			t.Errorf("program read %q, %v, want %q and the end", got, err, input)
		}
	}
}

func TestDrainDoesNotWaitForStrangers(t *testing.T) {
	master, slave := openPTY(t) // slave stays open, as a daemon would keep it
	pr, pw := io.Pipe()
	defer pw.Close()
	var out bytes.Buffer
	r := Start(master, pr, &out)
	if _, err := io.WriteString(slave, "last words"); err != nil {
		t.Fatal(err)
	}
	if err := r.Drain(50 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if out.String() != "last words" {
		t.Errorf("drained %q", out.String())
	}
}

func TestRelayTellsWhenOutputCannotBeWritten(t *testing.T) {
	master, slave := openPTY(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	pr, pw := io.Pipe()
	defer pw.Close()
	r := Start(master, pr, full)
	if _, err := io.WriteString(slave, "x"); err != nil {
		t.Fatal(err)
	}
	if err := r.Drain(time.Second); err == nil {
		t.Error("a full disk went unnoticed")
	}
}

// listen makes an AF_UNIX stream socket and hands over its first connection.
func listen(t *testing.T, path string) <-chan *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: short}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	c := make(chan *os.File, 1)
	go func() {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err == nil {
			c <- os.NewFile(uintptr(conn), "conn")
		}
		close(c)
	}()
	return c
}

func TestDescriptorPassesThroughASocket(t *testing.T) {
	for name, path := range map[string]string{
		"short path": filepath.Join(t.TempDir(), "s"),
		"long path":  filepath.Join(t.TempDir(), strings.Repeat("d", 100), "s"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			conns := listen(t, path)
			socket, err := Dial(path)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			master, slave := openPTY(t)
			if err := Send(socket, master); err != nil {
				t.Fatal(err)
			}
			conn := <-conns
			defer conn.Close()
			got, err := Receive(conn)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if got.Name() != "/dev/ptmx" {
				t.Errorf("name of the received file = %q", got.Name())
			}
			if err := SetSize(got, Size{7, 8}); err != nil {
				t.Fatal(err)
			}
			if s, _ := GetSize(slave); s != (Size{7, 8}) {
				t.Errorf("received another terminal: size %v", s)
			}
		})
	}
}

func TestReceiveRefusesOtherThanOneDescriptor(t *testing.T) {
	for _, count := range []int{0, 2} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		a, b := os.NewFile(uintptr(pair[0]), "a"), os.NewFile(uintptr(pair[1]), "b")
		fds := make([]int, count)
		for i := range fds {
			fds[i] = pair[0]
		}
		if err := unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(fds...), nil, 0); err != nil {
			t.Fatal(err)
		}
		before := openDescriptors(t)
		if f, err := Receive(b); err == nil {
			t.Errorf("took a message with %d descriptors: %v", count, f.Name())
		}
		if after := openDescriptors(t); after != before {
			t.Errorf("%d descriptors open after the refusal, %d before", after, before)
		}
		a.Close()
		b.Close()
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestDialNamesTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nobody")
	if _, err := Dial(path); err == nil || !strings.Contains(err.Error(), "connect to "+path) {
		t.Errorf("Dial = %v", err)
	}
}

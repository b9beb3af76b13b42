package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a client and a keeper that serves it, without processes.
func pair(t *testing.T) (*Client, *keeper) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper(Options{Log: &bytes.Buffer{}})
	k.engine.sock = fds[0]
	for n := range 3 * Window { // before the engine connects
		k.exits.add(Exit{Pid: 100 + n, Start: uint64(n), Status: unix.WaitStatus(n << 8), At: time.Unix(int64(n), 5)})
	}
	stop := make(chan struct{})
	var served sync.WaitGroup
	served.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(k.engine.sock), Events: unix.POLLIN}}, 10)
			k.serve()
			k.deliver()
		}
	})
	c, err := newClient(fds[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		close(stop)
		served.Wait()
		k.hangUp()
		for name := range k.held {
			k.held.drop(name)
		}
	})
	return c, k
}

func TestExitsComeInOrderAndNotTooFarAhead(t *testing.T) {
	c, _ := pair(t)
	for n := range 3 * Window {
		e := <-c.Exits()
		want := Exit{Seq: uint64(n + 1), Pid: 100 + n, Start: uint64(n), Status: unix.WaitStatus(n << 8), At: time.Unix(int64(n), 5)}
		if e != want {
			t.Fatalf("exit %+v, want %+v", e, want)
		}
		if n == Window-1 { // all that may be under way without an Ack
			if _, err := c.Names(); err != nil {
				t.Fatal(err)
			}
			if len(c.Exits()) > 0 {
				t.Errorf("more than %d exits come without an Ack", Window)
			}
			for seq := range n {
				if err := c.Ack(Exit{Seq: uint64(seq + 1)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n >= Window-1 {
			if err := c.Ack(e); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// file is a file in memory with contents.
func file(t *testing.T, text string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "test")
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func contents(t *testing.T, files []*os.File) (list []string) {
	t.Helper()
	for _, f := range files {
		b := make([]byte, 64)
		n, _ := f.ReadAt(b, 0)
		list = append(list, string(b[:n]))
		_ = f.Close()
	}
	return list
}

func open(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestFilesAreHeld(t *testing.T) {
	c, _ := pair(t)
	for range Window {
		_ = c.Ack(<-c.Exits())
	}
	if _, err := c.Get("a"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Get of nothing: %v, want os.ErrNotExist", err)
	}
	if err := c.Drop("a"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Drop of nothing: %v, want os.ErrNotExist", err)
	}
	one, two := file(t, "one"), file(t, "two")
	before := open(t)
	if err := errors.Join(c.Put("a", one, two), c.Put("b", two)); err != nil {
		t.Fatal(err)
	}
	files, err := c.Get("a")
	if got := contents(t, files); err != nil || !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("Get(a) = %q, %v", got, err)
	}
	if err := c.Put("a", two); err != nil { // replaces
		t.Fatal(err)
	}
	files, err = c.Get("a")
	if got := contents(t, files); err != nil || !slices.Equal(got, []string{"two"}) {
		t.Errorf("Get(a) = %q, %v", got, err)
	}
	if names, err := c.Names(); err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("Names() = %q, %v", names, err)
	}
	if err := errors.Join(c.Drop("a"), c.Drop("b")); err != nil {
		t.Fatal(err)
	}
	if n := open(t); n != before {
		t.Errorf("%d descriptors are open, %d were before", n, before)
	}
}

func TestBoundsOfWhatIsHeld(t *testing.T) {
	raiseFileLimit()
	c, _ := pair(t)
	f := file(t, "x")
	before := open(t)
	for what, try := range map[string]struct {
		name  string
		files int
		want  error
	}{
		"no name":        {"", 1, unix.EINVAL},
		"longest name":   {strings.Repeat("n", maxName), 1, nil},
		"too long":       {strings.Repeat("n", maxName+1), 1, unix.ENAMETOOLONG},
		"beyond a frame": {strings.Repeat("n", maxFrame), 1, unix.ENAMETOOLONG},
		"no file":        {"none", 0, unix.EINVAL},
		"most files":     {"most", maxFiles, nil},
		"too many files": {"many", maxFiles + 1, unix.EMSGSIZE},
	} {
		if err := c.Put(try.name, slices.Repeat([]*os.File{f}, try.files)...); !errors.Is(err, try.want) {
			t.Errorf("%s: %v, want %v", what, err, try.want)
		}
	}
	if n := open(t); n != before+1+maxFiles {
		t.Errorf("%d descriptors are open, want %d", n, before+1+maxFiles)
	}
	var err error
	for n := 0; err == nil; n++ {
		err = c.Put(fmt.Sprintf("%0200d", n), slices.Repeat([]*os.File{f}, maxFiles)...)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("beyond %d descriptors: %v, want ENOSPC", maxHeld, err)
	}
	names, err := c.Names() // in more than one frame
	if want := 2 + (maxHeld-1-maxFiles)/maxFiles; err != nil || len(names) != want || !slices.IsSorted(names) {
		t.Errorf("%d names, %v; want %d", len(names), err, want)
	}
}

// What breaks the rules is answered, and changes nothing.
func TestBadFrames(t *testing.T) {
	c, _ := pair(t)
	for _, frame := range []string{"?", "h", "h\x00", "hxx", "d", "g", "n" + strings.Repeat("x", maxName+1), "ux", "u", "u/", "pname"} {
		if _, _, err := c.ask(frame[0], frame[1:], nil); err == nil {
			t.Errorf("frame %.10q: it was accepted", frame)
		}
	}
	fd := int(file(t, "x").Fd())
	before := open(t)
	for _, frame := range []string{"h\x01", "gname", "n", "dname", "ux", "u", "u/\x00", "?"} {
		if _, _, err := c.ask(frame[0], frame[1:], []int{fd}); err == nil {
			t.Errorf("frame %.10q with a descriptor: it was accepted", frame)
		}
	}
	if n := open(t); n != before {
		t.Errorf("%d descriptors are open, %d were before", n, before)
	}
	if names, err := c.Names(); err != nil || len(names) > 0 {
		t.Errorf("Names() = %q, %v", names, err)
	}
}

// Many goroutines ask at once, and each gets its own answer.
func TestManyAskAtOnce(t *testing.T) {
	c, _ := pair(t)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			name := fmt.Sprint("file ", n)
			f := file(t, name)
			for range 50 {
				if err := c.Put(name, f); err != nil {
					t.Error(err)
				}
				files, err := c.Get(name)
				if got := contents(t, files); err != nil || len(got) != 1 || got[0] != name {
					t.Errorf("Get(%s) = %q, %v", name, got, err)
				}
				if err := c.Drop(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func TestConnectWithoutAKeeper(t *testing.T) {
	if _, err := Connect(); !errors.Is(err, ErrNone) {
		t.Errorf("Connect() = %v, want ErrNone", err)
	}
	for _, text := range []string{"", "x", "-1", "1000000", fmt.Sprint(file(t, "").Fd())} {
		t.Setenv(Env, text)
		if _, err := Connect(); err == nil || errors.Is(err, ErrNone) {
			t.Errorf("Connect() with %s=%q = %v, want why that is no keeper's", Env, text, err)
		}
		if _, ok := os.LookupEnv(Env); ok {
			t.Errorf("children would find %s", Env)
		}
	}
}

// With no room for more, what ends stays in the kernel until there is.
func TestFullTableLeavesZombies(t *testing.T) {
	r := startKeeper(t, "flood")
	lines := r.await("the flood's end", func(lines [][]string) bool { return len(lines) > 0 && lines[len(lines)-1][0] == "told" })
	if last := lines[len(lines)-1]; last[1] != fmt.Sprint(maxExits+floodBeyond) {
		t.Errorf("%s exits were told, want %d", last[1], maxExits+floodBeyond)
	}
	// What a keeper takes for itself: 1.3 MiB in the program, 0.5 of it for a flood.
	const most = 3 << 10
	kib := private(t, r.cmd.Process.Pid)
	t.Logf("the keeper has %d KiB for itself", kib)
	if kib > most && !raced() {
		t.Errorf("the keeper has %d KiB for itself, want %d at most", kib, most)
	}
}

// raced tells whether the race detector is in the program, and takes memory.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// private is the memory that a process shares with no other, in KiB.
func private(t *testing.T, pid int) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Skip("needs /proc/PID/smaps_rollup (Linux 4.14)")
	}
	for line := range strings.Lines(string(b)) {
		var n int
		if k, _ := fmt.Sscanf(line, "Private_Dirty: %d kB", &n); k == 1 {
			kib += n
		}
	}
	return kib
}

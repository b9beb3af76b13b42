package sysprog

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func load(t *testing.T, l *List) *Memory {
	t.Helper()
	m, err := Load(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Free() })
	return m
}

func TestResultFlowsIntoLaterCall(t *testing.T) {
	var l List
	fd, n := l.Slot("fd"), l.Slot("n")
	buf := l.Buf(make([]byte, 64))
	l.Do("", "openat", Int(unix.AT_FDCWD), Str("/proc/self/comm"), Int(unix.O_RDONLY|unix.O_CLOEXEC)).To(fd)
	l.Do("", "read", Val(fd), Ptr(buf, 1), Int(63)).To(n)
	l.Do("", "close", Val(fd))
	m := load(t, &l)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile("/proc/self/comm")
	if got := string(m.Bytes(buf)[1 : 1+m.Word(n)]); got != string(want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestFailureNamesTheCall(t *testing.T) {
	var l List
	l.Do("open the door", "openat", Int(unix.AT_FDCWD), Str("/nonexistent"), Int(unix.O_RDONLY))
	err := load(t, &l).Run()
	var f *Failure
	if !errors.As(err, &f) || !errors.Is(err, unix.ENOENT) || f.Index != 0 {
		t.Fatalf("Run = %v, want a Failure of op 0 with ENOENT", err)
	}
	if want := `open the door: openat(AT_FDCWD, "/nonexistent", 0): no such file or directory`; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestAlternativesAndJumps(t *testing.T) {
	var l List
	a, b, c := l.Label("a"), l.Label("b"), l.Label("c")
	got := l.Slot("got")
	one := func(v int) *Op { return l.Do("", Set, Int(v)).To(got) }
	l.Do("", "close", Int(-1)).On(unix.ENOENT, b).On(unix.EBADF, a)
	one(1)
	l.Here(b)
	l.Do("", Raise, Int(int(unix.EIO)))
	l.Here(a)
	l.Do("", Raise, Int(int(unix.EPERM))).OK(AnyErrno)
	l.Jump(c)
	one(2)
	l.Here(c)
	one(7)
	m := load(t, &l)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	if v := m.Word(got); v != 7 {
		t.Errorf("ended with %d, want 7", v)
	}
}

func TestFailureRunsTheTailAndKeepsTheFirstError(t *testing.T) {
	var l List
	tail := l.Label("tail")
	l.Fail = tail
	l.Do("", Raise, Int(int(unix.EIO)))
	l.Here(tail)
	l.Fail = nil
	l.Do("", Raise, Int(int(unix.EPERM)))
	if err := load(t, &l).Run(); !errors.Is(err, unix.EIO) {
		t.Errorf("Run = %v, want EIO", err)
	}
}

func TestCompare(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		n    int
		want error
	}{
		{"abc", "abd", 2, nil},
		{"abc", "abd", 3, unix.EINVAL},
		{"", "", 0, nil},
	} {
		var l List
		l.Do("", Compare, Str(tc.a), Str(tc.b), Int(tc.n))
		if err := load(t, &l).Run(); !errors.Is(err, tc.want) {
			t.Errorf("compare(%q, %q, %d) = %v, want %v", tc.a, tc.b, tc.n, err, tc.want)
		}
	}
}

// A forked child that shares the memory gets 0 where its parent stored the child's pid.
func TestZeroThatIsJumpedOnIsNotStored(t *testing.T) {
	var l List
	kept, stored := l.Slot("kept"), l.Slot("stored")
	zero := l.Label("zero")
	l.Do("", "getpid").To(kept)
	l.Do("", "getpid").To(stored)
	l.Do("", Compare, Str("a"), Str("a"), Int(1)).To(stored)
	l.Do("", Compare, Str("a"), Str("a"), Int(1)).To(kept).IfZero(zero)
	l.Do("", "exit_group", Int(1))
	l.Here(zero)
	m := load(t, &l)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	if int(m.Word(kept)) != unix.Getpid() || m.Word(stored) != 0 {
		t.Errorf("kept %d, stored %d, want %d and 0", m.Word(kept), m.Word(stored), unix.Getpid())
	}
}

func TestUnknownCallIsENOSYS(t *testing.T) {
	var l List
	l.Do("", "no_such_call", Int(3)).OK(unix.ENOSYS)
	if err := load(t, &l).Run(); err != nil {
		t.Error(err)
	}
}

// spawn is clone, child: exit_group(code); parent: wait4 -> exit code.
func spawn(l *List, flags uintptr, child func()) *Slot {
	pid, status, code := l.Slot("pid"), l.Slot("status"), l.Slot("code")
	old := l.Buf(make([]byte, 8))
	all := l.Buf([]byte(strings.Repeat("\xff", 8)))
	in, retry := l.Label("child"), l.Label("wait")
	l.Do("", "rt_sigprocmask", Int(unix.SIG_BLOCK), Ptr(all, 0), Ptr(old, 0), Int(8))
	l.Do("", "clone", Int(flags|uintptr(unix.SIGCHLD))).To(pid).IfZero(in)
	l.Do("", "rt_sigprocmask", Int(unix.SIG_SETMASK), Ptr(old, 0), Int(0), Int(8))
	l.Here(retry)
	l.Do("", "wait4", Val(pid), At(status), Int(0), Int(0)).On(unix.EINTR, retry)
	l.Do("", Status, Val(status)).To(code)
	l.Do("", Done)
	l.Here(in)
	child()
	return code
}

func TestSpawn(t *testing.T) {
	for name, flags := range map[string]uintptr{"fork": 0, "vfork": unix.CLONE_VM | unix.CLONE_VFORK} {
		t.Run(name, func(t *testing.T) {
			var l List
			code := spawn(&l, flags, func() {
				argv := l.Strings([]string{"sh", "-c", "exit $X"})
				env := l.Strings([]string{"X=42"})
				l.Do("", "execve", Str("/bin/sh"), Ptr(argv, 0), Ptr(env, 0))
			})
			m := load(t, &l)
			if err := m.Run(); err != nil {
				t.Fatal(err)
			}
			if v := m.Word(code); v != 42 {
				t.Errorf("exit code %d, want 42", v)
			}
		})
	}
}

func TestChildFailureIsSeenByTheParent(t *testing.T) {
	for name, flags := range map[string]uintptr{"fork": 0, "vfork": unix.CLONE_VM | unix.CLONE_VFORK} {
		t.Run(name, func(t *testing.T) {
			var l List
			code := spawn(&l, flags, func() {
				tail := l.Label("child failed")
				l.Fail = tail
				l.Do("start it", "execve", Str("/nonexistent"), Int(0), Int(0))
				l.Here(tail)
				l.Fail = nil
				l.Do("", "exit_group", Int(99))
			})
			m := load(t, &l)
			if err := m.Run(); !errors.Is(err, unix.ENOENT) {
				t.Errorf("Run = %v, want ENOENT from the child", err)
			}
			if v := m.Word(code); v != 99 {
				t.Errorf("exit code %d, want 99", v)
			}
		})
	}
}

// TestSpawnUnderGC starts many children while the collector and goroutine
// preemption are busy: the loop must not be disturbed by either.
func TestSpawnUnderGC(t *testing.T) {
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				_ = make([]byte, 1<<16)
				runtime.GC()
			}
		}
	}()
	for range 200 {
		var l List
		code := spawn(&l, unix.CLONE_VM|unix.CLONE_VFORK, func() { l.Do("", "exit_group", Int(3)) })
		m, err := Load(&l)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Run(); err != nil || m.Word(code) != 3 {
			t.Fatalf("Run = %v, code %d, want 3", err, m.Word(code))
		}
		_ = m.Free()
	}
	close(stop)
	<-ended
}

func TestRaiseWithoutErrnoIsAFailure(t *testing.T) {
	var l List
	reached := l.Slot("reached")
	l.Do("this cannot be", Raise, Int(0))
	l.Do("", Set, Int(1)).To(reached)
	m := load(t, &l)
	if err := m.Run(); err == nil || err.Error() != "this cannot be" {
		t.Errorf("Run = %v, want what the op says", err)
	}
	if m.Word(reached) != 0 {
		t.Error("went on after raise(0)")
	}
}

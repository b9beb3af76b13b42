package sysprog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A child that gives back all memory but the loop goes on in a list apart, also
// when the program that it comes from is gone.
func TestListApartNeedsNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	mine := &List{Private: true}
	file := mine.Slot("file")
	try := func(call string, args ...Arg) *Op { return mine.Do("", call, args...).OK(AnyErrno) }
	p := Programs()
	try("munmap", Int(p.From), Int(p.To-p.From))
	try("openat", Int(unix.AT_FDCWD), Str(path), Int(unix.O_WRONLY|unix.O_CREAT), Int(0o600)).To(file)
	maps, n := mine.Buf(make([]byte, 2048)), mine.Slot("n")
	in := mine.Slot("maps")
	try("openat", Int(unix.AT_FDCWD), Str("/proc/self/statm"), Int(unix.O_RDONLY)).To(in)
	try("read", Val(in), Ptr(maps, 0), Int(len(maps.Data))).To(n)
	try("write", Val(file), Ptr(maps, 0), Val(n))
	mine.Do("", "exit_group", Int(7))
	apart, err := LoadApart(mine)
	if err != nil {
		t.Fatal(err)
	}
	defer apart.Free()

	var l List
	child, done := l.Label("child"), l.Label("done")
	pid, status := l.Slot("pid"), l.Slot("status")
	block, old := l.Buf(binary.NativeEndian.AppendUint64(nil, ^uint64(0))), l.Buf(make([]byte, 8))
	l.Do("", "rt_sigprocmask", Int(unix.SIG_SETMASK), Ptr(block, 0), Ptr(old, 0), Int(8))
	l.Do("", "clone", Int(int(unix.SIGCHLD))).To(pid).IfZero(child)
	wait := l.Label(Again)
	l.Here(wait)
	l.Do("", "wait4", Val(pid), At(status), Int(0), Int(0)).On(unix.EINTR, wait)
	l.Do("", "rt_sigprocmask", Int(unix.SIG_SETMASK), Ptr(old, 0), Int(0), Int(8))
	l.Do("", Done)
	l.Here(child)
	spans, tails := Rest()
	if emulated64() {
		spans, tails = nil, nil // the emulator's own memory is there, too
	}
	for _, s := range spans {
		l.Do("", "munmap", Int(s.From), Int(s.To-s.From)).OK(AnyErrno)
	}
	for _, s := range tails {
		l.Do("", "munmap", Int(s.From), Int(s.To-s.From)).OK(AnyErrno).Next(done)
	}
	l.Here(done)
	l.Enter("apart", apart.Entry())
	m := load(t, &l)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	if ws := unix.WaitStatus(m.Word(status)); ws.ExitStatus() != 7 {
		t.Errorf("wait status %#x, want an exit with 7", uint32(ws))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("pages mapped, resident, ...: %s", text)
}

// emulated64 tells whether qemu-user runs us on a PC, as a 64-bit program that
// shares its addresses.
func emulated64() bool {
	cpu, err := os.ReadFile("/proc/cpuinfo")
	return err == nil && runtime.GOARCH == "arm64" && bytes.Contains(cpu, []byte("vendor_id"))
}

func TestPlacesApartAreFewAndBehindAllPrograms(t *testing.T) {
	l := &List{Private: true}
	l.Do("", Done)
	var made []*Memory
	defer func() {
		for _, m := range made {
			_ = m.Free()
		}
	}()
	for range aparts + 1 {
		m, err := LoadApart(l)
		if err != nil {
			if !errors.Is(err, unix.EEXIST) || len(made) < aparts/2 {
				t.Errorf("place %d: %v", len(made), err)
			}
			return
		}
		if p := Programs(); m.Entry() < p.To || m.Entry() >= p.To+aparts*step {
			t.Errorf("entry %#x, want one behind %#x", m.Entry(), p.To)
		}
		made = append(made, m)
	}
	t.Errorf("%d lists found a place", len(made))
}

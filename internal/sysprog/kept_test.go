package sysprog

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// counting is a list that adds the descriptor it gets to what it finds.
func counting() (l *List, buf *Buf, fd *Slot) {
	l = &List{Private: true}
	buf, fd = l.Buf([]byte("first")), l.Slot("fd")
	fd.Preset(7)
	l.Do("", "getcwd", Ptr(buf, 0), Int(5)).OK(unix.ERANGE) // writes into buf where the directory is short
	l.Do("is it a descriptor", "fcntl", Val(fd), Int(unix.F_GETFD))
	l.Do("", Set, Int(0)).To(fd)
	return l, buf, fd
}

func TestKeptListsRunAgain(t *testing.T) {
	t.Chdir("/")
	l, buf, fd := counting()
	m, err := LoadKept(l)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	var f *Failure
	m.SetWord(fd, 1<<20)
	if err := m.Run(); !errors.As(err, &f) || f.Op.What != "is it a descriptor" {
		t.Errorf("the first run with a bad descriptor: %v", err)
	}
	for range 3 {
		m.Rewind()
		if got := string(m.Bytes(buf)); got != "first" || m.Word(fd) != 7 {
			t.Errorf("after Rewind: %q, %d", got, m.Word(fd))
		}
		m.SetWord(fd, 0)
		if err := m.Run(); err != nil {
			t.Error(err)
		}
		if got := string(m.Bytes(buf)); got == "first" {
			t.Error("getcwd(2) wrote nothing")
		}
	}
	m.Rewind()
	m.SetWord(fd, 1<<20)
	if err := m.Run(); !errors.As(err, &f) || f.Errno != unix.EBADF {
		t.Errorf("a later run with a bad descriptor: %v", err)
	}
}

func TestKeptListsAreBounded(t *testing.T) {
	var kept []*Memory
	for range kepts {
		l, _, _ := counting()
		m, err := LoadKept(l)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, m)
	}
	l, _, _ := counting()
	if _, err := LoadKept(l); !errors.Is(err, unix.EEXIST) {
		t.Errorf("one more: %v, want EEXIST", err)
	}
	if m, err := Load(l); err != nil {
		t.Errorf("one that does not stay: %v", err)
	} else {
		_ = m.Free()
	}
	for _, m := range kept {
		if err := m.Free(); err != nil {
			t.Error(err)
		}
	}
}

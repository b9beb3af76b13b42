package sysprog

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Memory is a mapping that holds an Image at its address, outside the Go heap:
// no collector, no write barrier. Unless the list is Private it is shared with
// children that copy the parent's memory, so what they record is seen here.
type Memory struct {
	img   *Image
	base  unsafe.Pointer
	size  uintptr
	first []byte // of one from LoadKept: what its buffers held at first
}

// step is the distance of the places that Load tries, and at the same time
// more than a program takes.
const step = 1 << 20

// Load assembles l for the first free place from Base on and maps it there.
func Load(l *List) (*Memory, error) { return loadAt(l, Base, places-kepts) }

func loadAt(l *List, base uintptr, places int) (*Memory, error) {
	size := bound(l)
	if size > step {
		return nil, fmt.Errorf("program of %d bytes: at most %d are possible", size, step)
	}
	for i := 0; ; i++ {
		at := base + uintptr(i)*step
		m, err := claim(at, size, l.Private)
		if errors.Is(err, unix.EEXIST) && i < places-1 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("map program at %#x: %w", at, err)
		}
		if m.img, err = assemble(l, at, m.bytes()[:0]); err != nil {
			_ = m.Free()
			return nil, err
		}
		return m, nil
	}
}

// claim maps memory for size bytes at address at, if nothing is there.
func claim(at uintptr, size int, private bool) (*Memory, error) {
	page := uintptr(unix.Getpagesize())
	m := &Memory{size: (uintptr(size) + page - 1) &^ (page - 1)}
	flags := unix.MAP_SHARED
	if private {
		flags = unix.MAP_PRIVATE
	}
	var err error
	m.base, err = unix.MmapPtr(-1, 0, unsafe.Add(unsafe.Pointer(nil), at), m.size,
		unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE|unix.MAP_POPULATE)
	if err != nil {
		return nil, err
	}
	if uintptr(m.base) != at { // Linux < 4.17 takes the flag as a hint
		_ = m.Free()
		return nil, unix.EEXIST
	}
	return m, nil
}

func (m *Memory) bytes() []byte { return unsafe.Slice((*byte)(m.base), int(m.size)) }

// Free unmaps the program. A child that still runs it keeps its own mapping.
func (m *Memory) Free() error { return unix.MunmapPtr(m.base, m.size) }

// Run executes the program on the calling thread until it is done or fails.
// An error is a *Failure.
func (m *Memory) Run() error {
	run(m.img.entry, m.img.Base)
	return m.Failure()
}

// Failure returns what the program, or a child of it, has recorded so far.
func (m *Memory) Failure() error {
	at := getWord(m.bytes()[resOp*WordSize:])
	if at == 0 {
		return nil
	}
	i := int(at-m.img.entry) / (opWords * WordSize)
	f := &Failure{Index: i, Op: &Op{}, Errno: unix.Errno(getWord(m.bytes()[resErrno*WordSize:]))}
	if m.img.ops != nil {
		f.Op = m.img.ops[i]
	}
	return f
}

// Word returns what slot s holds.
func (m *Memory) Word(s *Slot) uintptr {
	return getWord(m.bytes()[s.buf.addr-m.img.Base+uintptr(s.off):])
}

// Bytes returns the memory of b in the loaded program.
func (m *Memory) Bytes(b *Buf) []byte {
	at := b.addr - m.img.Base
	return m.bytes()[at : at+uintptr(len(b.Data))]
}

// Failure is the first call of a program that failed.
type Failure struct {
	Index int
	Op    *Op
	Errno unix.Errno
}

// Error says what was done to what, by which call, and why it failed.
func (f *Failure) Error() string {
	switch {
	case f.Op.What == "":
		return f.Op.text() + ": " + f.Errno.Error()
	case f.Op.Call == Raise && f.Op.Args[0].kind == argInt && f.Op.Args[0].n == 0:
		return f.Op.What
	case f.Op.Plain || f.Op.Call == Raise || f.Op.Call == "execve":
		return f.Op.What + ": " + f.Errno.Error()
	}
	return f.Op.What + ": " + f.Op.text() + ": " + f.Errno.Error()
}

// Unwrap gives the errno to errors.Is.
func (f *Failure) Unwrap() error { return f.Errno }

// run is interp as one long system call: the collector and other goroutines do
// not wait for it. Nothing between the two calls may grow the stack.
//
//go:nosplit
func run(pc, res uintptr) {
	entersyscall()
	interp(pc, res)
	exitsyscall()
}

// The runtime lets packages that make system calls of their own use these two
// (gVisor does).
//
//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// interp runs the ops from pc on; res is the header that a failure is recorded in.
//
//go:noescape
func interp(pc, res uintptr)

// ReadFailure reads the two words that a program wrote of its header: the
// index of the op that failed, and its errno.
func ReadFailure(b []byte) (index int, errno unix.Errno) {
	at := getWord(b) & (step - 1)
	return (int(at) - resWords*WordSize) / (opWords * WordSize), unix.Errno(getWord(b[WordSize:]))
}

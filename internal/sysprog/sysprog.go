// Package sysprog holds a program as a flat array of system calls and runs it
// with one short assembly loop per CPU.
// Nothing but that loop ever executes in a forked child: no Go code, no stack,
// no heap; so the child may share the parent's memory (vfork) or copy it.
// What the calls mean is the business of package program.
//
// A List is the symbolic form that a compiler builds and people read (Text);
// Assemble lays it out as bytes at a fixed address; Run hands it to the loop.
package sysprog

import "golang.org/x/sys/unix"

// List is a program in symbolic form. The zero value is empty and ready.
type List struct {
	Ops []*Op

	// Private says that every child shares the caller's memory (CLONE_VM with
	// CLONE_VFORK), so that the program need not lie in memory that is shared
	// with copies; that is made and freed faster.
	Private bool

	// Fail is given to every op added from now on (see Op.Fail).
	Fail *Label

	slab   []Op
	bufs   []*Buf
	labels []*Label
}

// Op is one system call, or one of the pseudo calls below.
type Op struct {
	Call string // name as in syscalls(2), or a pseudo call
	Args [6]Arg
	NArg int

	// Out receives the raw result when the call succeeds.
	Out *Slot

	// Alt lists up to two errnos that are no failure, and where to go on then
	// (nil: at the next op). AnyErrno tolerates everything.
	Alt [2]Alt

	Zero *Label // go on here when the result is 0 (the child's side of clone)
	Then *Label // go on here after success
	Fail *Label // go on here after recording a failure; nil: leave the loop

	What  string // for people: "mount tmpfs on /dev/shm"
	Plain bool   // What and the errno say all: leave the call out of the message
	Mark  string // comment in the text form, above the op
}

// Alt says that errno Err is tolerated and continues at To.
type Alt struct {
	Err unix.Errno
	To  *Label
}

// AnyErrno in Alt.Err stands for every errno.
const AnyErrno = unix.Errno(0xffff)

// Pseudo calls, executed by the loop itself.
const (
	Done    = "done"    // leave the loop
	Goto    = "goto"    // continue at Then
	Compare = "compare" // compare(a, b, n): n bytes equal, else EINVAL
	Status  = "status"  // status(s): wait status s -> exit code, 128+signal when killed
	Raise   = "raise"   // raise(errno): fail with errno
	Set     = "set"     // set(v): the result is v
)

// Again is the name of a label that an op places before itself, to be repeated.
const Again = "again"

// Label is a place in a List.
type Label struct {
	name  string
	index int     // of the op that follows; -1 until marked
	addr  uintptr // of an op of another list; see Enter
}

// Slot is a machine word in the program's memory that a result is stored in
// and that later calls read.
type Slot struct {
	name string
	buf  *Buf
	off  int
}

// Buf is memory of the program: bytes, with pointers to other parts in it.
type Buf struct {
	Data []byte
	ptrs []ptr
	addr uintptr
}

type ptr struct {
	off int
	arg Arg
}

type argKind uint8

const (
	argInt argKind = iota
	argStr
	argPtr
	argVal
	argHeader
)

// Arg is an argument of a call.
type Arg struct {
	kind argKind
	n    uint64
	s    string
	buf  *Buf
	slot *Slot
}

// Int is a number: a flag word, a size, a descriptor.
func Int[T ~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64 | ~uintptr](v T) Arg {
	return Arg{kind: argInt, n: uint64(v)}
}

// Str is the address of a NUL-terminated copy of s.
func Str(s string) Arg { return Arg{kind: argStr, s: s} }

// Ptr is the address of byte off of b.
func Ptr(b *Buf, off int) Arg { return Arg{kind: argPtr, buf: b, n: uint64(off)} }

// Val is the value that s holds when the call is made.
func Val(s *Slot) Arg { return Arg{kind: argVal, slot: s} }

// Slot returns the slot that a Val reads, or nil.
func (a Arg) Slot() *Slot { return a.slot }

// Header is the address of the program's header: two words, the address of the
// op that failed (0: none) and its errno.
func Header() Arg { return Arg{kind: argHeader} }

// At is the address of s.
func At(s *Slot) Arg { return Arg{kind: argPtr, buf: s.buf, n: uint64(s.off)} }

// Do adds a call.
func (l *List) Do(what, call string, args ...Arg) *Op {
	if len(l.slab) == 0 {
		l.slab = make([]Op, 64)
	}
	op := &l.slab[0]
	l.slab = l.slab[1:]
	op.What, op.Call, op.Fail, op.NArg = what, call, l.Fail, len(args)
	if copy(op.Args[:], args) != len(args) {
		panic("sysprog: " + call + ": more than six arguments")
	}
	l.Ops = append(l.Ops, op)
	return op
}

// OK tolerates errno err and goes on at the next op.
func (op *Op) OK(err unix.Errno) *Op { return op.On(err, nil) }

// On tolerates errno err and goes on at to.
//
//go:noinline
func (op *Op) On(err unix.Errno, to *Label) *Op {
	for i := range op.Alt {
		if op.Alt[i].Err == 0 {
			op.Alt[i] = Alt{err, to}
			return op
		}
	}
	panic("sysprog: " + op.Call + ": more than two tolerated errnos")
}

// To stores the result in s.
//
//go:noinline
func (op *Op) To(s *Slot) *Op { op.Out = s; return op }

// IfZero goes on at to when the result is 0, which is then not stored: a forked
// child that shares the list's memory would overwrite its parent's result.
//
//go:noinline
func (op *Op) IfZero(to *Label) *Op { op.Zero = to; return op }

// Next goes on at to after success.
//
//go:noinline
func (op *Op) Next(to *Label) *Op { op.Then = to; return op }

// Else sets where a failure continues; nil leaves the loop.
//
//go:noinline
func (op *Op) Else(to *Label) *Op { op.Fail = to; return op }

// Note puts a comment above the op in the text form.
//
//go:noinline
func (op *Op) Note(s string) *Op { op.Mark = s; return op }

// Jump continues at to.
//
//go:noinline
func (l *List) Jump(to *Label) { l.Do("", Goto).Then = to }

// Label makes a label that Here gives its place later.
//
//go:noinline
func (l *List) Label(name string) *Label {
	b := &Label{name: name, index: -1}
	l.labels = append(l.labels, b)
	return b
}

// Here places b before the op that is added next.
//
//go:noinline
func (l *List) Here(b *Label) { b.index = len(l.Ops) }

// Slot makes a word that holds v until a call stores its result in it.
//
//go:noinline
func (l *List) Slot(name string) *Slot {
	return &Slot{name: name, buf: l.Buf(make([]byte, WordSize))}
}

// SlotIn makes a slot of the word at byte off of b: a result that a structure
// in memory needs, for example a descriptor in a control message.
func (l *List) SlotIn(name string, b *Buf, off int) *Slot {
	return &Slot{name: name, buf: b, off: off}
}

// Preset makes s hold v until a call stores its result in it.
func (s *Slot) Preset(v uintptr) { s.buf.SetWord(s.off, v) }

// Buf adds memory with the given first content.
func (l *List) Buf(data []byte) *Buf {
	b := &Buf{Data: data}
	l.bufs = append(l.bufs, b)
	return b
}

// SetPtr makes the word at byte off of b the address that a (Str, Ptr or At) stands for.
func (b *Buf) SetPtr(off int, a Arg) { b.ptrs = append(b.ptrs, ptr{off, a}) }

// SetWord makes the word at byte off of b the number v.
func (b *Buf) SetWord(off int, v uintptr) { putWord(b.Data[off:], v) }

// Strings adds a NULL-terminated vector of strings, as execve(2) takes it.
func (l *List) Strings(ss []string) *Buf {
	b := l.Buf(make([]byte, (len(ss)+1)*WordSize))
	for i, s := range ss {
		b.SetPtr(i*WordSize, Str(s))
	}
	return b
}

// Target returns the buffer that the pointer at byte off of b points to, or nil.
func (b *Buf) Target(off int) *Buf {
	for _, p := range b.ptrs {
		if p.off == off {
			return p.arg.buf
		}
	}
	return nil
}

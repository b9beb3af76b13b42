package sysprog

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// WordSize is the size of a machine word in bytes.
const WordSize = int(unsafe.Sizeof(uintptr(0)))

// Layout of an op in memory, in words. The assembly files use the same numbers.
const (
	opNR       = 0
	opArgs     = 1 // six words
	opIndirect = 7 // bit i: argument i is the address of its value
	opOut      = 8 // address for the result, or 0
	opErr1     = 9
	opTo1      = 10 // address of an op, or 0 for the next one
	opErr2     = 11
	opTo2      = 12
	opZero     = 13
	opThen     = 14
	opFail     = 15
	opWords    = 16
)

// Layout of the header, in words: what the loop reports.
const (
	resOp    = 0 // address of the first op that failed, or 0
	resErrno = 1

	// Of a stored program, for the code in entry_*.s.
	resMagic = 2
	resBase  = 3
	resSize  = 4
	resEntry = 5
	resArgs  = 6 // set at the start: address of the command line's bytes
	resWords = 8
)

// anyErrno is AnyErrno as the loop tests it.
const anyErrno = uintptr(AnyErrno)

// Numbers of the pseudo calls. The assembly files use the same numbers.
const (
	nrDone    = ^uintptr(0) // -1
	nrGoto    = ^uintptr(1) // -2
	nrCompare = ^uintptr(2) // -3
	nrStatus  = ^uintptr(3) // -4
	nrRaise   = ^uintptr(4) // -5
	nrSet     = ^uintptr(5) // -6
)

// Image is an assembled program: bytes that must lie at address Base.
type Image struct {
	Base  uintptr
	Bytes []byte

	entry uintptr
	ops   []*Op
	vars  [2]int // from where to where in Bytes lie the buffers, which calls write to
}

// Assemble lays l out for address base (a multiple of the page size).
// A call that this CPU does not have becomes one that fails with ENOSYS, so
// that its alternatives work as on an old kernel.
func Assemble(l *List, base uintptr) (*Image, error) {
	return assemble(l, base, make([]byte, 0, bound(l)))
}

// bound is the most bytes that l can take; less when strings are the same.
func bound(l *List) int {
	size := resWords*WordSize + (len(l.Ops)+1)*opWords*WordSize
	for _, b := range l.bufs {
		size += len(b.Data) + WordSize
		for _, p := range b.ptrs {
			size += len(p.arg.s) + 1
		}
	}
	for _, op := range l.Ops {
		for i := range op.NArg {
			if a := &op.Args[i]; a.kind == argStr {
				size += len(a.s) + 1
			}
		}
	}
	return size
}

// assemble is Assemble into mem, which is empty, zeroed, and has room for
// bound(l).
func assemble(l *List, base uintptr, mem []byte) (*Image, error) {
	a := assembler{list: l.Ops, base: base, strs: make(map[string]uintptr, len(l.Ops)/2)}
	first := resWords * WordSize
	a.mem = mem[:first+(len(l.Ops)+1)*opWords*WordSize]
	a.opBase = base + uintptr(first)
	img := &Image{Base: base, entry: a.opBase, ops: l.Ops}
	img.vars[0] = len(a.mem)
	for _, b := range l.bufs {
		a.align()
		b.addr = base + uintptr(len(a.mem))
		a.mem = append(a.mem, b.Data...)
	}
	img.vars[1] = len(a.mem)
	for _, b := range l.bufs {
		for _, p := range b.ptrs {
			v, err := a.value(p.arg)
			if err != nil {
				return nil, err
			}
			putWord(a.mem[int(b.addr-base)+p.off:], v)
		}
	}
	for i, op := range l.Ops {
		if err := a.op(i, op); err != nil {
			return nil, fmt.Errorf("assemble op %d %s: %w", i, op.Call, err)
		}
	}
	end := Op{Call: Done}
	if err := a.op(len(l.Ops), &end); err != nil {
		return nil, err
	}
	if &a.mem[0] != &mem[:1][0] {
		panic("sysprog: a list takes more than its bound")
	}
	img.Bytes = a.mem
	return img, nil
}

type assembler struct {
	list         []*Op
	base, opBase uintptr
	mem          []byte
	strs         map[string]uintptr
}

func (a *assembler) align() {
	for len(a.mem)%WordSize != 0 {
		a.mem = append(a.mem, 0)
	}
}

func (a *assembler) op(i int, op *Op) error {
	nr, ok := number(op.Call)
	var w [opWords]uintptr
	w[opNR] = nr
	missing := enosys
	if errno, hit := fault(a.list, i); hit {
		ok, missing = false, uintptr(errno)
	}
	if !ok {
		w[opNR], w[opArgs] = nrRaise, missing
	}
	for j := range op.NArg {
		if !ok {
			break
		}
		v, err := a.value(op.Args[j])
		if err != nil {
			return err
		}
		if op.Args[j].kind == argVal {
			w[opIndirect] |= 1 << j
		}
		w[opArgs+j] = v
	}
	if op.Out != nil {
		w[opOut] = a.slot(op.Out)
	}
	w[opErr1], w[opErr2] = tolerated(op.Alt[0]), tolerated(op.Alt[1])
	for _, to := range []struct {
		word  int
		label *Label
	}{{opTo1, op.Alt[0].To}, {opTo2, op.Alt[1].To}, {opZero, op.Zero}, {opThen, op.Then}, {opFail, op.Fail}} {
		if to.label == nil {
			continue
		}
		if to.label.addr != 0 {
			w[to.word] = to.label.addr
			continue
		}
		if to.label.index < 0 {
			return fmt.Errorf("label %s is nowhere", to.label.name)
		}
		w[to.word] = a.opAddr(to.label.index)
	}
	at := int(a.opAddr(i) - a.base)
	for j, v := range w {
		putWord(a.mem[at+j*WordSize:], v)
	}
	return nil
}

// slot returns the address of s; one without a buffer lies in the header.
func (a *assembler) slot(s *Slot) uintptr {
	if s.buf == nil {
		return a.base + uintptr(s.off)
	}
	return s.buf.addr + uintptr(s.off)
}

// tolerated is the errno that the loop compares with; without one, a number
// that no call returns, since raise(0) does fail.
func tolerated(a Alt) uintptr {
	if a.Err == 0 {
		return anyErrno + 1
	}
	return uintptr(a.Err)
}

func (a *assembler) opAddr(i int) uintptr { return a.opBase + uintptr(i*opWords*WordSize) }

func (a *assembler) value(x Arg) (uintptr, error) {
	switch x.kind {
	case argInt:
		return uintptr(x.n), nil
	case argPtr:
		return x.buf.addr + uintptr(x.n), nil
	case argHeader:
		return a.base, nil
	case argVal:
		return a.slot(x.slot), nil
	}
	if v, ok := a.strs[x.s]; ok {
		return v, nil
	}
	for i := range len(x.s) {
		if x.s[i] == 0 {
			return 0, fmt.Errorf("string %q holds a NUL byte", x.s)
		}
	}
	v := a.base + uintptr(len(a.mem))
	a.mem = append(a.mem, x.s...)
	a.mem = append(a.mem, 0)
	a.strs[x.s] = v
	return v, nil
}

func putWord(b []byte, v uintptr) {
	if WordSize == 8 {
		binary.NativeEndian.PutUint64(b, uint64(v))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(v))
	}
}

func getWord(b []byte) uintptr {
	if WordSize == 8 {
		return uintptr(binary.NativeEndian.Uint64(b))
	}
	return uintptr(binary.NativeEndian.Uint32(b))
}

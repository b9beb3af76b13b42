package sysprog

import "golang.org/x/sys/unix"

// A process that will never run Go again, but only a list, needs next to
// nothing of the memory it was forked with: the loop's code, and the list.

// apart is where lists lie that outlive the program they are entered from:
// behind all places for programs, which can so be given back by one call.
const (
	places = 256
	apart  = Base + places*step
	aparts = 16
)

// Span is a range of addresses, without its end.
type Span struct{ From, To uintptr }

// Programs is where Load puts programs.
func Programs() Span { return Span{Base, apart} }

// Rest is the memory of a process without the loop's code and without what
// Load and LoadApart have mapped. How far the address space reaches only the
// kernel knows: of tails, the first that munmap(2) takes is the right one.
// There is none with a C library, which may have told the kernel of memory to
// be written when a thread is interrupted (rseq(2)).
func Rest() (spans, tails []Span) {
	if withC {
		return nil, nil
	}
	page := uintptr(unix.Getpagesize())
	const longest = 4096 // the loop has less than 1 KiB on each CPU
	from, to := code()&^(page-1), (code()+longest)&^(page-1)+page
	const end = apart + aparts*step
	if from > Base { // position-independent: the program lies high
		spans, from = []Span{{0, Base}, {end, from}}, to
	} else {
		spans, from = []Span{{0, from}, {to, Base}}, end
	}
	for _, top := range tops() {
		if top > from {
			tails = append(tails, Span{from, top})
		}
	}
	return spans, tails
}

// tops are ends of address spaces, the largest first, but for a few pages that
// may be beyond them.
func tops() []uintptr {
	if WordSize == 4 { // on a 64-bit kernel, and the splits that a 32-bit one can have
		return []uintptr{0xffff0000, 0xbf000000, 0xaf000000, 0x7f000000}
	}
	var list []uintptr
	for _, bits := range []uint{56, 52, 48, 47, 42, 39, 38} {
		list = append(list, uintptr(uint64(1)<<bits-64<<10))
	}
	return list
}

// code is the address of the loop.
func code() uintptr

// LoadApart is Load for a list that other programs enter (see List.Enter) and
// that goes on when the memory of programs is given back.
func LoadApart(l *List) (*Memory, error) { return loadAt(l, apart, aparts) }

// Entry is the address of the first op.
func (m *Memory) Entry() uintptr { return m.img.entry }

// Enter goes on in another loaded list, at its entry. The header stays this
// list's: the other one must tolerate every errno.
func (l *List) Enter(what string, entry uintptr) {
	l.Do("", Goto).Then = &Label{name: what, index: -1, addr: entry}
}

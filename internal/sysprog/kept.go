package sysprog

import "bytes"

// kepts is how many lists may stay at a time, however many would: what they
// take is bounded. Their places are the last ones for programs.
const kepts = 16

// LoadKept is Load for a list that stays to be run again. It must be Private:
// then no child runs it any more when Run returns. unix.EEXIST says that enough
// lists stay already.
func LoadKept(l *List) (*Memory, error) {
	if !l.Private {
		panic("sysprog: a list that is not private is kept")
	}
	m, err := loadAt(l, Base+(places-kepts)*step, kepts)
	if err == nil {
		m.first = bytes.Clone(m.bytes()[m.img.vars[0]:m.img.vars[1]])
	}
	return m, err
}

// Rewind gives all that a run of a kept list has written its first value again,
// and forgets the list itself, which takes more than twice as much as its
// program: a Failure from now on does not know its Op.
func (m *Memory) Rewind() {
	m.img.ops = nil
	clear(m.bytes()[:resWords*WordSize])
	copy(m.bytes()[m.img.vars[0]:], m.first)
}

// SetWord makes slot s hold v.
func (m *Memory) SetWord(s *Slot, v uintptr) {
	putWord(m.bytes()[s.buf.addr-m.img.Base+uintptr(s.off):], v)
}

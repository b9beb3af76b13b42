package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"unsafe"
)

// memory is zeros that a ring can lie in.
func memory(size int) []byte {
	words := make([]uint64, size/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size)
}

// write appends as a source does.
func (r *ring) write(p *packer, stream byte, now int64, text []byte) {
	for len(text) > 0 {
		if r.room() == 0 || !r.expect(stream, now) {
			p.seal(r, math.MaxUint64)
			r.expect(stream, now)
		}
		n := copy(r.data[r.used():], text)
		r.head.tail.Add(int64(n))
		text = text[n:]
	}
}

// readAll reads a ring with nobody else there, and says how many bytes it could not read.
func readAll(r *ring) (all []byte, lost int64, err error) {
	l := &Log{ring: r, c: &Collector{closed: true}}
	rd := l.read(r.oldest(), r.total(), false, false)
	for range 1 << 20 { // a damaged ring must not be read for ever
		v, err := rd.step()
		gap := (*LostError)(nil)
		switch {
		case err == io.EOF:
			return all, lost, nil
		case errors.As(err, &gap):
			lost += gap.Bytes
		case err != nil:
			return all, lost, err
		case v.data == nil:
			return all, lost, errors.New("nothing comes, and no end")
		}
		all = append(all, v.data...)
	}
	return all, lost, errors.New("no end")
}

// filled is a ring that has gone round.
func filled(p *packer, mem []byte) *ring {
	r := makeRing(mem)
	for i := range 4000 {
		r.write(p, byte(i%2)+1, int64(i)*1e9, fmt.Appendf(nil, "line %d of the ring, %x\n", i, uint32(i)*2654435761))
	}
	return r
}

func TestRingIsTakenOverAtEachStepOfASeal(t *testing.T) {
	var p packer
	mem := memory(MinBudget)
	r := filled(&p, mem)
	for r.used() < 2000 {
		r.write(&p, 1, 5e12, []byte("more\n"))
	}
	want, _, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(mem[:areaStart(r.head.block)])
	oldest := r.oldest()
	if !p.seal(r, math.MaxUint64) {
		t.Fatal("not sealed")
	}
	want = want[r.oldest()-oldest:]
	// What settle has done before the kill: nothing, the slots, the tail, the base.
	for step := range 4 {
		next := memory(MinBudget)
		copy(next, mem)
		old := (*head)(unsafe.Pointer(&before[0]))
		h := (*head)(unsafe.Pointer(&next[0]))
		copy(next[headSize:], before[headSize:])
		if step < 1 {
			h.slots.Store(old.slots.Load())
		}
		if step < 2 {
			h.tail.Store(old.tail.Load())
		}
		if step < 3 {
			h.base.Store(old.base.Load())
		}
		r, err := openRing(next)
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if got, lost, err := readAll(r); err != nil || lost > 0 || !bytes.Equal(got, want) {
			t.Errorf("step %d: %d bytes, %v, want %d", step, len(got), err, len(want))
		}
	}
}

func TestRingHoldsWhatDoesNotCompress(t *testing.T) {
	for _, budget := range []int{MinBudget, 64 << 10, 100 << 10, DefaultBudget, 1 << 20} {
		var p packer
		r := makeRing(memory(budget))
		data := noise(3 * budget)
		for i := 0; i < len(data); i += 61 { // all slots, all bytes
			r.write(&p, byte(i%2)+1, int64(i), data[i:min(i+61, len(data))])
			if i%7 == 0 {
				p.seal(r, math.MaxUint64)
			}
		}
		got, lost, err := readAll(r)
		if err != nil || lost > 0 || !bytes.HasSuffix(data, got) || len(got) < budget/4 {
			t.Errorf("budget %d: %d bytes of the end, %v", budget, len(got), err)
		}
		if next, err := openRing(r.mem); err != nil || next.oldest() != r.oldest() {
			t.Errorf("budget %d: %v", budget, err)
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	var p packer
	for name, damage := range map[string]func(r *ring){
		"magic":     func(r *ring) { r.head.magic++ },
		"size":      func(r *ring) { r.head.size *= 2 },
		"block":     func(r *ring) { r.head.block = 1 << 40 },
		"tail":      func(r *ring) { r.head.tail.Store(1 << 40) },
		"tail back": func(r *ring) { r.head.tail.Store(-1) },
		"slots":     func(r *ring) { r.head.slots.Store(slots + 1) },
		"slot":      func(r *ring) { r.near[0].start = 77 },
		"stream":    func(r *ring) { r.near[0].from = 3 },
		"base":      func(r *ring) { r.head.base.Add(1) },
		"first":     func(r *ring) { r.head.first.Add(8) },
		"end":       func(r *ring) { r.head.end.Add(8) },
		"far end":   func(r *ring) { r.head.end.Store(math.MaxUint64 &^ 7) },
		"payload":   func(r *ring) { r.area[(r.head.first.Load()+100)%uint64(len(r.area))]++ },
	} {
		r := filled(&p, memory(MinBudget))
		r.write(&p, 1, 1, []byte("x"))
		damage(r)
		if _, err := openRing(r.mem); !errors.Is(err, errDamaged) {
			t.Errorf("%s: openRing = %v, want errDamaged", name, err)
		}
	}
}

func TestDamagedRingIsReplaced(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	c.print(t, c.out, "1\n")
	kept := keeperFiles(t, c.Files())
	c.c.Close()
	mem, err := mapMemory(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	mem[0]++
	next := newContainer(t, Options{Files: kept})
	if next.Damage() == nil {
		t.Error("nothing is damaged")
	}
	next.out = c.out
	next.print(t, next.out, "2\n")
	if got := next.lines(t, all); got != "1:2\n" {
		t.Errorf("Read = %q", got)
	}
}

// mend makes the checksums of all blocks right, so that what is fuzzed gets past them.
func mend(r *ring) {
	size := uint64(len(r.area))
	for at, n := r.head.first.Load(), 0; at < r.head.end.Load() && n < 1000; n++ {
		p := r.area[at%size&^7:]
		if len(p) < blockHead || binary.LittleEndian.Uint32(p) != blockMark {
			return
		}
		length := binary.LittleEndian.Uint32(p[4:])
		if length < blockHead || uint64(length) > uint64(len(p)) {
			return
		}
		binary.LittleEndian.PutUint32(p[8:], checksum(p[12:length]))
		at += uint64(length)
	}
}

// FuzzOpen changes words of a ring. What openRing takes is then read, and written to.
func FuzzOpen(f *testing.F) {
	var p packer
	f.Add([]byte{})
	f.Add([]byte{0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{0x20, 0xc4, 9, 0, 0, 0, 0, 0, 0, 0})
	whole := bytes.Clone(filled(&p, memory(MinBudget)).mem)
	f.Fuzz(func(t *testing.T, changes []byte) {
		mem := memory(MinBudget)
		copy(mem, whole)
		for ; len(changes) >= 10; changes = changes[10:] {
			// A place, mostly in the head, the table or a block, and eight bytes for it.
			at := int(binary.LittleEndian.Uint16(changes)) % (MinBudget - 8)
			copy(mem[at:], changes[2:10])
		}
		mend(&ring{head: (*head)(unsafe.Pointer(&mem[0])), area: mem[areaStart(minBlock):]})
		r, err := openRing(mem)
		if err != nil {
			return
		}
		check := func() {
			all, lost, err := readAll(r)
			if have := r.total() - r.oldest(); err != nil || uint64(len(all))+uint64(lost) != have {
				t.Fatalf("%d bytes and %d lost of %d, %v", len(all), lost, have, err)
			}
		}
		check()
		l := &Log{ring: r, c: &Collector{closed: true}}
		for _, n := range []int{0, 1, 100, -1} {
			l.find(ReadOptions{Tail: n})
		}
		for i := range 3000 {
			r.write(&p, 1, int64(i), []byte("after the damage\n"))
		}
		check()
	})
}

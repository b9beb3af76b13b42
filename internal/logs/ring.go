package logs

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// The file of a ring, all numbers in the machine's order and below as offsets in bytes:
//
//	0            head
//	256          table: what is in the current block, one slot for each read
//	1024         the current block, as it came: who prints little needs one page for all
//	block+1024   the other slots of the table
//	block+8192   area: older blocks, compressed, each as a whole, oldest at head.first (area.go)
//
// Positions in the area and of bytes of output only grow; a position in the area modulo its
// size is where it lies.
//
// A killed writer leaves a ring that is whole, because each step ends with one store:
//
//   - A slot is written before it is counted, and counted before its bytes are read.
//   - The bytes of a read and head.tail, which counts them, are written by one system call,
//     and a process is killed before or after a system call, not in it: the kernel looks for
//     SIGKILL where it waits, and splice(2) with SPLICE_F_NONBLOCK waits nowhere between the
//     first byte and the offset it hands back.
//   - A block is freed (head.first) before anything is written over it, and written before
//     it is counted (head.end). Until head.base says that the current block begins after it,
//     what is in the current block is known to be the same, and is thrown away (settle).
const (
	headSize  = 256
	dataStart = 1024
	near      = (dataStart - headSize) / slotSize // slots before the current block
	far       = (8192 - dataStart) / slotSize     // and after it
	slots     = near + far
	slotSize  = 16

	minBlock, maxBlock = 4 << 10, 32 << 10

	// DefaultBudget is the memory of one container's output, in bytes.
	DefaultBudget = 256 << 10
	// MinBudget is the least of it. The area of its ring takes a block that does not compress.
	MinBudget = 32 << 10
	// MaxBudget is the most.
	MaxBudget = 1 << 30
)

const magic = 0x3167_6f4c_6572_6154 // "TareLog1" where the low byte comes first

// errDamaged is a ring that no writer of ours left.
var errDamaged = errors.New("ring is damaged")

// head is the beginning of the file. What is not atomic never changes.
type head struct {
	magic uint64
	size  uint64 // of the file
	block uint64 // size of the current block
	_     uint64
	tail  atomic.Int64  // where in the file the next byte goes; the kernel writes it too
	slots atomic.Uint64 // slots of the table that are in use
	base  atomic.Uint64 // position of the current block's first byte among all there ever were
	first atomic.Uint64 // position in the area of the oldest block
	end   atomic.Uint64 // position in the area after the newest

	spilled atomic.Uint64 // position after the last byte that need not be spilled any more
}

// slot is one read: where its bytes begin in the current block, whose they are, and when.
// They go on to the next slot or to the tail. The last slot may be empty.
type slot struct {
	time  int64 // ns since 1970, whole microseconds
	start uint32
	from  uint32
}

// ring is one container's output in memory that may be shared with the dead and the unborn.
type ring struct {
	mem  []byte
	head *head
	near *[near]slot
	far  *[far]slot
	data []byte
	area []byte
	open [2]uint64 // where the line began that each stream had not ended at head.base; noLine: none
}

const noLine = ^uint64(0)

// blockFor is the size of the current block within a budget.
func blockFor(budget int64) uint64 {
	return uint64(min(max(budget/8, minBlock), maxBlock)) &^ 4095
}

// areaStart is where the area begins in the file.
func areaStart(block uint64) uint64 { return dataStart + block + far*slotSize }

// slot is one of the table.
func (r *ring) slot(i uint64) *slot {
	if i < near {
		return &r.near[i]
	}
	return &r.far[i-near]
}

// makeRing lays an empty ring over memory that is zero.
func makeRing(mem []byte) *ring {
	r := &ring{open: [2]uint64{noLine, noLine}}
	h := (*head)(unsafe.Pointer(&mem[0]))
	h.size, h.block = uint64(len(mem)), blockFor(int64(len(mem)))
	h.tail.Store(dataStart)
	r.lay(mem)
	h.magic = magic
	return r
}

func (r *ring) lay(mem []byte) {
	r.mem, r.head = mem, (*head)(unsafe.Pointer(&mem[0]))
	r.near = (*[near]slot)(unsafe.Pointer(&mem[headSize]))
	r.far = (*[far]slot)(unsafe.Pointer(&mem[dataStart+r.head.block]))
	r.data = mem[dataStart : dataStart+r.head.block]
	r.area = mem[areaStart(r.head.block):]
	r.area = r.area[:len(r.area)&^7]
}

// openRing takes over what another process left. Memory that no such process can have left
// is errDamaged; reading what passed here panics nowhere.
func openRing(mem []byte) (*ring, error) {
	if len(mem) < MinBudget {
		return nil, fmt.Errorf("%w: %d bytes", errDamaged, len(mem))
	}
	h := (*head)(unsafe.Pointer(&mem[0]))
	if h.magic != magic || h.size != uint64(len(mem)) || h.block != blockFor(int64(len(mem))) {
		return nil, fmt.Errorf("%w: magic %#x size %d block %d", errDamaged, h.magic, h.size, h.block)
	}
	r := &ring{open: [2]uint64{noLine, noLine}}
	r.lay(mem)
	last, err := r.checkArea()
	if err != nil {
		return nil, err
	}
	if last.raw > 0 && last.base == h.base.Load() {
		r.settle(last)
	}
	if last.raw > 0 {
		r.open = last.open
		if last.base+uint64(last.raw) != h.base.Load() {
			return nil, fmt.Errorf("%w: the current block begins at %d, the newest before it ends at %d", errDamaged, h.base.Load(), last.base+uint64(last.raw))
		}
	}
	return r, r.checkCurrent()
}

func (r *ring) checkCurrent() error {
	tail, n := r.head.tail.Load(), r.head.slots.Load()
	if tail < dataStart || tail > dataStart+int64(len(r.data)) || n > slots || n == 0 && tail != dataStart {
		return fmt.Errorf("%w: current block: tail %d, %d slots", errDamaged, tail, n)
	}
	if r.head.base.Load() > 1<<62 {
		return fmt.Errorf("%w: current block: base %d", errDamaged, r.head.base.Load())
	}
	before := uint32(0)
	for i := range n {
		s := *r.slot(i)
		if s.start < before || i == 0 && s.start != 0 || s.start > uint32(r.used()) || s.from != 1 && s.from != 2 {
			return fmt.Errorf("%w: current block: slot %d is %+v", errDamaged, i, s)
		}
		before = s.start
	}
	return nil
}

// used is the number of bytes in the current block.
func (r *ring) used() int { return int(r.head.tail.Load() - dataStart) }

// room is how many bytes the current block can still take.
func (r *ring) room() int { return len(r.data) - r.used() }

// total is the position after the last byte.
func (r *ring) total() uint64 { return r.head.base.Load() + uint64(r.used()) }

// expect makes the bytes that come next those of a stream, read at a time. It is false when
// the current block has no slot for them.
func (r *ring) expect(stream byte, now int64) bool {
	n, used := r.head.slots.Load(), uint32(r.used())
	if n > 0 && r.slot(n-1).start == used {
		n-- // nothing came: the slot is free
	}
	if n == slots {
		return false
	}
	*r.slot(n) = slot{time: now - now%1000, start: used, from: uint32(stream)}
	r.head.slots.Store(n + 1)
	return true
}

// tail is what splice(2) takes as its offset.
func (r *ring) tail() *int64 { return (*int64)(unsafe.Pointer(&r.head.tail)) }

// put appends a byte, for which expect has made a place.
func (r *ring) put(c byte) {
	r.data[r.used()] = c
	r.head.tail.Add(1)
}

// run is bytes that were read at once.
type run struct {
	time   int64
	stream byte
	data   []byte
}

// runs calls f with what the current block holds from an offset on, until f is false. The
// data are the ring's own.
func (r *ring) runs(from int, f func(run) bool) {
	n, end := r.head.slots.Load(), r.used()
	for i := range n {
		s, stop := *r.slot(i), end
		if i+1 < n {
			stop = int(r.slot(i + 1).start)
		}
		if start := max(int(s.start), from); start < stop {
			if !f(run{s.time, byte(s.from), r.data[start:stop]}) {
				return
			}
		}
	}
}

// settle empties the current block once it stands in the area as b. It is done again when a
// process was killed in it.
func (r *ring) settle(b block) {
	r.head.slots.Store(0)
	r.head.tail.Store(dataStart)
	r.head.base.Store(b.base + uint64(b.raw))
	r.open = b.open
}

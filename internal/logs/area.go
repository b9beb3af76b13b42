package logs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// A block in the area is a header and, compressed as one, the table of its reads and their
// bytes. It begins at a multiple of 8 and does not wrap: where it would, padMark fills the
// rest of the area.
//
//	0  mark    8  CRC-32C of all after it   16 table  24 base   40 last   56 open[1]
//	4  size   12  payload                   20 raw    32 first  48 lines  64 open[2]
//
// A read in the table is two varints: its length * 2 + (stream-1), and the microseconds
// since the one before, the first's since 1970.
const (
	blockHead = 72
	blockMark = 0x6b6c4272
	padMark   = 0x64615072
	// maxRead is the longest a read's two varints can be.
	maxRead = binary.MaxVarintLen32 + binary.MaxVarintLen64
)

// block is the header of one.
type block struct {
	at          uint64 // position in the area
	size        uint32 // with header and what fills it up to a multiple of 8
	payload     uint32 // bytes of the payload; table+raw if it is not compressed
	table, raw  uint32 // bytes of table and output, unpacked
	base        uint64 // position of the first byte among all there ever were
	first, last int64  // the earliest and the latest read, µs since 1970
	lines       [2]uint32
	open        [2]uint64 // where the line began that a stream had not ended at the block's end
	packed      []byte    // the payload of a block that is not in the area
}

func (b *block) end() uint64 { return b.base + uint64(b.raw) }

func (b *block) put(p []byte, sum uint32) {
	le := binary.LittleEndian
	for i, v := range []uint32{blockMark, b.size, sum, b.payload, b.table, b.raw} {
		le.PutUint32(p[4*i:], v)
	}
	le.PutUint64(p[24:], b.base)
	le.PutUint64(p[32:], uint64(b.first))
	le.PutUint64(p[40:], uint64(b.last))
	le.PutUint32(p[48:], b.lines[0])
	le.PutUint32(p[52:], b.lines[1])
	le.PutUint64(p[56:], b.open[0])
	le.PutUint64(p[64:], b.open[1])
}

func getBlock(p []byte, at uint64) (b block, sum uint32) {
	le := binary.LittleEndian
	return block{
		at: at, size: le.Uint32(p[4:]), payload: le.Uint32(p[12:]), table: le.Uint32(p[16:]), raw: le.Uint32(p[20:]),
		base: le.Uint64(p[24:]), first: int64(le.Uint64(p[32:])), last: int64(le.Uint64(p[40:])),
		lines: [2]uint32{le.Uint32(p[48:]), le.Uint32(p[52:])},
		open:  [2]uint64{le.Uint64(p[56:]), le.Uint64(p[64:])},
	}, le.Uint32(p[8:])
}

func checksum(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

// checkArea goes through all blocks that another process left and returns the newest, which
// is empty where there is none.
func (r *ring) checkArea() (last block, err error) {
	first, end, size := r.head.first.Load(), r.head.end.Load(), uint64(len(r.area))
	if first%8 != 0 || end%8 != 0 || end < first || end-first > size || end > 1<<62 {
		return last, fmt.Errorf("%w: blocks from %d to %d", errDamaged, first, end)
	}
	for at := first; at < end; {
		in := at % size
		rest := r.area[in:min(size, in+end-at)]
		if binary.LittleEndian.Uint32(rest) == padMark && in+end-at >= size {
			at += size - in
			continue
		}
		b, err := r.checkBlock(rest, at, last)
		if err != nil {
			return block{}, err
		}
		last, at = b, at+uint64(b.size)
	}
	return last, nil
}

func (r *ring) checkBlock(p []byte, at uint64, before block) (block, error) {
	if len(p) < blockHead || binary.LittleEndian.Uint32(p) != blockMark {
		return block{}, fmt.Errorf("%w: no block at %d", errDamaged, at)
	}
	b, sum := getBlock(p, at)
	switch {
	case b.size%8 != 0, uint64(b.size) > uint64(len(p)), b.size < blockHead, b.payload > b.size-blockHead:
		return block{}, fmt.Errorf("%w: block at %d: size %d, payload %d", errDamaged, at, b.size, b.payload)
	case sum != checksum(p[12:b.size]):
		return block{}, fmt.Errorf("%w: block at %d: checksum", errDamaged, at)
	case b.raw == 0, uint64(b.raw) > uint64(len(r.data)), b.table > slots*maxRead, b.base > 1<<62, before.raw > 0 && before.end() != b.base:
		return block{}, fmt.Errorf("%w: block at %d: table %d, raw %d, base %d after %d", errDamaged, at, b.table, b.raw, b.base, before.end())
	}
	return b, nil
}

// blocks calls f with each block, oldest first, until it returns false.
func (r *ring) blocks(f func(block) bool) {
	size := uint64(len(r.area))
	for at, end := r.head.first.Load(), r.head.end.Load(); at < end; {
		p := r.area[at%size:]
		if binary.LittleEndian.Uint32(p) == padMark {
			at += uint64(len(p))
			continue
		}
		b, _ := getBlock(p, at)
		if !f(b) {
			return
		}
		at += uint64(b.size)
	}
}

// oldest is the position of the first byte the ring still has.
func (r *ring) oldest() uint64 {
	at := r.head.base.Load()
	r.blocks(func(b block) bool { at = b.base; return false })
	return at
}

// holding is the block that a byte is in; false if it is in the current block, or gone.
func (r *ring) holding(at uint64) (found block, ok bool) {
	r.blocks(func(b block) bool {
		found, ok = b, b.base <= at && at < b.end()
		return !ok && b.base <= at
	})
	return found, ok
}

// current is the header that the current block would have in the area, but for sizes there.
func (r *ring) current() block {
	b := block{base: r.head.base.Load(), raw: uint32(r.used()), open: r.open, first: math.MaxInt64, last: math.MinInt64}
	at := b.base
	r.runs(0, func(v run) bool {
		b.first, b.last = min(b.first, v.time/1000), max(b.last, v.time/1000)
		b.count(v, at)
		at += uint64(len(v.data))
		return true
	})
	return b
}

// describe makes the header of the current block, and appends to p what its payload is before
// it is compressed.
func (r *ring) describe(p []byte) (block, []byte) {
	b := r.current()
	before, n := int64(0), len(p)
	r.runs(0, func(v run) bool {
		p = binary.AppendUvarint(p, uint64(len(v.data))<<1|uint64(v.stream-1))
		p = binary.AppendVarint(p, v.time/1000-before)
		before = v.time / 1000
		return true
	})
	b.table = uint32(len(p) - n)
	return b, append(p, r.data[:b.raw]...)
}

// count adds a run that begins at a position to the lines of the block.
func (b *block) count(v run, at uint64) {
	s := v.stream - 1
	b.lines[s] += uint32(bytes.Count(v.data, newline))
	end := bytes.LastIndexByte(v.data, '\n') + 1
	switch {
	case end == len(v.data):
		b.open[s] = noLine
	case end > 0 || b.open[s] == noLine:
		b.open[s] = at + uint64(end)
	}
}

// sealed is the size of a block in the area.
func sealed(payload int) uint64 { return uint64(blockHead+payload+7) &^ 7 }

// after is the position of the oldest byte that is left once a block of a size has its place.
func (r *ring) after(size uint64) uint64 {
	cap, end := uint64(len(r.area)), r.head.end.Load()
	if rest := cap - end%cap; rest < size {
		end += rest
	}
	at := r.head.base.Load()
	r.blocks(func(b block) bool {
		if end+size-b.at > cap {
			return true
		}
		at = b.base
		return false
	})
	return at
}

// add puts the current block, described and perhaps compressed, into the area, and empties it.
func (r *ring) add(b block, payload []byte) {
	size, cap := sealed(len(payload)), uint64(len(r.area))
	if rest := cap - r.head.end.Load()%cap; rest < size {
		r.makeRoom(rest)
		binary.LittleEndian.PutUint32(r.area[r.head.end.Load()%cap:], padMark)
		r.head.end.Add(rest)
	}
	r.makeRoom(size)
	b.at, b.size, b.payload = r.head.end.Load(), uint32(size), uint32(len(payload))
	p := r.area[b.at%cap:][:size]
	clear(p[blockHead+copy(p[blockHead:], payload):])
	b.put(p, 0)
	b.put(p, checksum(p[12:]))
	r.head.end.Add(size)
	r.settle(b)
}

// makeRoom drops the oldest blocks until so many bytes of the area are free.
func (r *ring) makeRoom(size uint64) {
	cap := uint64(len(r.area))
	for r.head.end.Load()-r.head.first.Load()+size > cap {
		r.drop()
	}
}

// drop frees the oldest block, or what fills the end of the area.
func (r *ring) drop() {
	at := r.head.first.Load()
	p := r.area[at%uint64(len(r.area)):]
	n := uint64(len(p))
	if binary.LittleEndian.Uint32(p) == blockMark {
		n = uint64(binary.LittleEndian.Uint32(p[4:]))
	}
	r.head.first.Store(at + n)
}

package logs

import (
	"encoding/binary"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// newline is what ends a line.
var newline = []byte{'\n'}

// A packer compresses the blocks of all logs, one at a time. What it needs for that, 0.5 MiB,
// it takes when it is first asked and gives back when it is told to rest.
type packer struct {
	mu       sync.Mutex // taken with the mutex of a log held
	enc      *zstd.Encoder
	raw, out []byte
}

// seal moves what is in the current block of the ring to its area, unless that would drop a
// byte from position keep on; then it is false.
func (p *packer) seal(r *ring, keep uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.enc == nil {
		// The level and window: 5.5 : 1 and 420 MB/s on logs in blocks of 32 KiB, where s2 has
		// 3.9 : 1 and 950 MB/s. Memory is scarcer than time here.
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(maxBlock), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic("logs: make zstd encoder: " + err.Error()) // options that it does not know
		}
		p.enc = enc
	}
	b, raw := r.describe(p.raw[:0])
	p.raw = raw
	p.out = p.enc.EncodeAll(raw, p.out[:0])
	payload := p.out
	if len(payload) >= len(raw) {
		payload = raw
	}
	if keep < r.after(sealed(len(payload))) {
		return false
	}
	r.add(b, payload)
	return true
}

// rest gives memory back.
func (p *packer) rest() {
	p.mu.Lock()
	p.enc, p.raw, p.out = nil, nil, nil
	p.mu.Unlock()
}

// unpacked is a block of the area as it came. It is used again and again.
type unpacked struct {
	head   block
	limit  uint64 // where its reader ends
	packed []byte
	plain  []byte // packed, decompressed
	dec    *zstd.Decoder
	table  []byte // what next has not read of both
	data   []byte
	at     uint64 // position of data
	time   int64  // of the run before, µs
	lost   int64  // bytes that next cannot return, as the block is damaged
}

// load copies a block out of the ring. It is the part of unpacking that needs the ring.
func (u *unpacked) load(r *ring, b block) {
	p := r.area[b.at%uint64(len(r.area)):]
	u.packed = append(u.packed[:0], p[blockHead:blockHead+b.payload]...)
	u.head, u.table, u.data = b, nil, nil
	u.at, u.time, u.lost = b.base, 0, 0
}

// unpack decompresses what was loaded. Its checksum was right when the ring was opened, so a
// block that is damaged is somebody's doing, and what it held is lost.
func (u *unpacked) unpack() {
	n, p := int(u.head.table+u.head.raw), u.packed
	if len(p) != n {
		u.decompress()
		p = u.plain
	}
	if len(p) != n {
		u.lost = int64(u.head.raw)
		return
	}
	u.table, u.data = p[:u.head.table], p[u.head.table:]
}

// decompress leaves plain empty where packed cannot be decompressed.
func (u *unpacked) decompress() {
	if u.dec == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxBlock+slots*maxRead), zstd.WithDecoderMaxWindow(2*maxBlock))
		if err != nil {
			panic("logs: make zstd decoder: " + err.Error()) // options that it does not know
		}
		u.dec = dec
	}
	p, err := u.dec.DecodeAll(u.packed, u.plain[:0])
	if err != nil {
		p = p[:0]
	}
	u.plain = p
}

// next is the next run of the block; false after the last.
func (u *unpacked) next() (run, bool) {
	if len(u.data) == 0 {
		return run{}, false
	}
	length, n := binary.Uvarint(u.table)
	µs, m := binary.Varint(u.table[max(n, 0):])
	if n <= 0 || m <= 0 || length>>1 > uint64(len(u.data)) || length < 2 {
		u.lost, u.data = int64(len(u.data)), nil
		return run{}, false
	}
	u.time += µs
	v := run{u.time * 1000, byte(length&1) + 1, u.data[:length>>1]}
	u.table, u.data = u.table[n+m:], u.data[length>>1:]
	u.at += length >> 1
	return v, true
}

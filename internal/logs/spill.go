package logs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Spill is where output goes that shall outlive a boot: compressed, in batches, and no more in
// a day than flash can bear. Its zero value is nowhere. A new log begins with what is there.
type Spill struct {
	// Dir is a directory of this log alone. It is made when there is something to write. Empty:
	// nothing is written.
	Dir string
	// PerDay is how many bytes are written in a day (UTC) at most; what is printed after that is
	// left out until the next. 0 means 1 MiB.
	PerDay int64
	// Keep is how many bytes the directory may have. 0, and less than twice PerDay, mean that.
	Keep int64
}

// batch is how many compressed bytes wait in memory to be written together. The end of a run
// writes what there is: it tells why the container died.
const batch = 64 << 10

// The directory has two files of blocks as they are in the area: `new` grows, and takes the
// place of `old` when it has half of what is kept. Nothing is synced, which would double what
// the medium writes; a block that a loss of power has torn does not have its checksum.
const newFile, oldFile = "new", "old"

// spiller writes the blocks of one log.
type spiller struct {
	Spill

	// Log.mu guards these.
	busy    bool  // writeSpill is running
	least   int   // it ends when no more than that waits, in bytes
	written int64 // bytes written by this process
	failed  error // why the last were not; nil if they were

	// Only write uses these, and open before it.
	size  int64 // of the file `new`
	day   int64 // days since 1970
	today int64 // bytes written on that day
}

func (s Spill) open() (*spiller, []block, error) {
	if s.PerDay == 0 {
		s.PerDay = 1 << 20
	}
	s.Keep = max(s.Keep, 2*s.PerDay)
	w := &spiller{Spill: s, day: today()}
	var all []block
	for _, name := range []string{oldFile, newFile} {
		data, err := os.ReadFile(filepath.Join(s.Dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("read spilled log: %w", err)
		}
		all = append(all, parseSpilled(data)...)
		w.size = int64(len(data))
	}
	for _, b := range all {
		if b.last/(24*time.Hour).Microseconds() == w.day {
			w.today += int64(b.size)
		}
	}
	return w, all, nil
}

func today() int64 { return time.Now().Unix() / (24 * 60 * 60) }

// parseSpilled finds the blocks of a file. Where one is torn it looks for the next: what was
// written after the loss of power is whole.
func parseSpilled(p []byte) []block {
	var all []block
	for len(p) >= blockHead {
		b, sum := getBlock(p, 0)
		if binary.LittleEndian.Uint32(p) != blockMark || b.size < blockHead || uint64(b.size) > uint64(len(p)) ||
			b.size > blockHead+maxBlock+slots*maxRead+8 || b.payload > b.size-blockHead || b.raw == 0 || b.raw > maxBlock || b.table > slots*maxRead || sum != checksum(p[12:b.size]) {
			p = p[8:]
			continue
		}
		b.packed = p[blockHead : blockHead+b.payload]
		all, p = append(all, b), p[b.size:]
	}
	return all
}

// restore puts the newest spilled blocks into an empty ring, up to half of it.
func (r *ring) restore(all []block) {
	seen := map[[2]uint64]bool{} // a kill between a write and its note has the block written twice
	space, from := len(r.area)/2, len(all)
	for ; from > 0; from-- {
		b := all[from-1]
		if space -= int(b.size); space < 0 {
			break
		}
	}
	end := uint64(0)
	for _, b := range all[from:] {
		key := [2]uint64{b.base, uint64(b.last)}
		if int(b.raw) > len(r.data) || seen[key] {
			continue
		}
		seen[key] = true
		next := b.end()
		b.move(r.head.base.Load(), b.base == end)
		r.add(b, b.packed)
		end = next
	}
	r.head.spilled.Store(r.head.base.Load())
}

// move gives the block another position. Lines that began before it still do, if what was
// before it still is.
func (b *block) move(base uint64, goesOn bool) {
	for i, at := range b.open {
		switch {
		case at == noLine:
		case at >= b.base:
			b.open[i] = base + min(at-b.base, uint64(b.raw))
		case goesOn:
			b.open[i] = base - min(b.base-at, base)
		default:
			b.open[i] = base
		}
	}
	b.base = base
}

// startSpill has written what is sealed and not written yet, when it is a batch, or always at an end.
// The mutex is held.
func (l *Log) startSpill(least int) {
	w := l.spill
	if w == nil || l.closed {
		return
	}
	if w.busy {
		w.least = min(w.least, least)
		return
	}
	waiting := 0
	l.ring.blocks(func(b block) bool {
		if b.base >= l.ring.head.spilled.Load() {
			waiting += int(b.size)
		}
		return true
	})
	if waiting >= least {
		w.least = least
		w.busy = l.c.work(l.writeSpill)
	}
}

// writeSpill writes until less waits than is asked for.
func (l *Log) writeSpill() {
	w := l.spill
	for {
		l.mu.Lock()
		var data []byte
		to := uint64(0)
		if !l.closed {
			data, to = l.ring.unspilled(2 * batch)
		}
		if len(data) < w.least || len(data) == 0 {
			w.busy = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		n, err := w.write(data)
		l.mu.Lock()
		w.written, w.failed = w.written+n, err
		if !l.closed {
			l.ring.head.spilled.Store(to)
		}
		l.mu.Unlock()
	}
}

// unspilled copies blocks that are to be written, up to a size, and says where they end.
func (r *ring) unspilled(size int) (data []byte, to uint64) {
	to = r.head.spilled.Load()
	r.blocks(func(b block) bool {
		if b.base < to {
			return true
		}
		if len(data) > 0 && len(data)+int(b.size) > size {
			return false
		}
		data = append(data, r.area[b.at%uint64(len(r.area)):][:b.size]...)
		to = b.end()
		return true
	})
	return data, to
}

// write appends data that are within the day's budget, and leaves out others.
func (w *spiller) write(data []byte) (int64, error) {
	if day := today(); day != w.day {
		w.day, w.today = day, 0
	}
	if w.today+int64(len(data)) > w.PerDay {
		return 0, nil
	}
	if err := os.MkdirAll(w.Dir, 0o700); err != nil {
		return 0, fmt.Errorf("spill log: %w", err)
	}
	path := filepath.Join(w.Dir, newFile)
	if w.size > 0 && w.size+int64(len(data)) > w.Keep/2 {
		if err := os.Rename(path, filepath.Join(w.Dir, oldFile)); err != nil {
			return 0, fmt.Errorf("spill log: %w", err)
		}
		w.size = 0
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("spill log: %w", err)
	}
	n, err := f.Write(data)
	if e := f.Close(); err == nil {
		err = e
	}
	w.size, w.today = w.size+int64(n), w.today+int64(n)
	if err != nil {
		return int64(n), fmt.Errorf("spill log: %w", err)
	}
	return int64(n), nil
}

// spillEnd has the end of a run written.
func (l *Log) spillEnd() {
	if l.spill == nil {
		return
	}
	if l.ring.used() > 0 {
		l.c.packer.seal(l.ring, l.keep())
	}
	l.startSpill(1)
}

package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"

	digest "github.com/opencontainers/go-digest"
)

// A cut is what may be on a disk after the power went.
type cut struct {
	place int // in the log
	kind  string
	disk  *content
	lucky bool // verify, too, and try how it goes on
}

// cuts calls visit for about count states of the disk after a cut, evenly over the log. Of what was
// written since the last flush any part may be there. Three ways: all before the cut and nothing
// after it; the same with a torn last write; a random part of the writes, some torn.
func cuts(base *content, log []logged, count int, seed uint64, visit func(cut)) {
	r := rand.New(rand.NewPCG(seed, 2))
	writes := 0
	for _, e := range log {
		if e.data != nil {
			writes++
		}
	}
	share := float64(count) / float64(max(1, writes))
	durable, window := base.clone(), []logged(nil)
	owed := 0.0
	defer func() { visit(cut{place: len(log), kind: "end", disk: durable, lucky: true}) }()
	for place, e := range log {
		if e.data == nil {
			for _, w := range window {
				durable.writeAt(w.data, w.offset)
			}
			if len(window) > 0 {
				visit(cut{place: place + 1, kind: "flush", disk: durable.clone(), lucky: r.IntN(4) == 0})
			}
			window = nil
			continue
		}
		window = append(window, e)
		for owed += share; owed >= 1; owed-- {
			c := cut{place: place + 1, disk: durable.clone(), lucky: r.IntN(4) == 0}
			c.lose(window, r)
			visit(c)
		}
	}
}

// lose writes to the disk what is left of a window.
func (c *cut) lose(window []logged, r *rand.Rand) {
	switch r.IntN(4) {
	case 0:
		c.kind = "prefix"
		for _, w := range window {
			c.disk.writeAt(w.data, w.offset)
		}
	case 1:
		c.kind = "torn"
		last := len(window) - 1
		for _, w := range window[:last] {
			c.disk.writeAt(w.data, w.offset)
		}
		c.torn(window[last], r)
	default:
		chance := []float64{0.1, 0.5, 0.9}[r.IntN(3)]
		c.kind = fmt.Sprintf("random %g", chance)
		for _, w := range window {
			switch {
			case r.Float64() > chance:
			case r.IntN(8) == 0:
				c.torn(w, r)
			default:
				c.disk.writeAt(w.data, w.offset)
			}
		}
	}
}

// torn writes some of the pieces of a write.
func (c *cut) torn(w logged, r *rand.Rand) {
	for at := 0; at < len(w.data); at += page {
		if r.IntN(2) == 0 {
			c.disk.writeAt(w.data[at:min(len(w.data), at+page)], w.offset+int64(at))
		}
	}
}

// verdict counts what the states were.
type verdict struct {
	mu     sync.Mutex
	states int
	kinds  map[string]int
	doing  map[string]int
	bad    []string
}

// judgeCuts mounts each state and judges the store in it. It returns what it found.
func judgeCuts(t *testing.T, k filesystem, rec *recording, count int, seed uint64) *verdict {
	t.Helper()
	v := &verdict{kinds: map[string]int{}, doing: map[string]int{}}
	states := make(chan cut)
	var all sync.WaitGroup
	workers := runtime.NumCPU() + 1
	if k.name == "btrfs" {
		workers = 1 // Linux < 6.7 takes a second device of the same UUID for the first
	}
	for range min(4, workers) {
		at := t.TempDir()
		all.Go(func() {
			for c := range states {
				m, doing := rec.history.at(c.place)
				err := rec.judge.cut(k, at, c, m)
				v.add(c, doing, err)
			}
		})
	}
	cuts(rec.base, rec.log, count, seed, func(c cut) { states <- c })
	close(states)
	all.Wait()
	return v
}

func (v *verdict) add(c cut, doing string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.states++
	v.kinds[c.kind]++
	v.doing[doing]++
	if err != nil {
		v.bad = append(v.bad, fmt.Sprintf("entry %d (%s), %s: %v", c.place, c.kind, doing, err))
	}
}

// cut judges one state.
func (j *judge) cut(k filesystem, at string, c cut, m *model) (err error) {
	f, err := c.disk.file()
	if err != nil {
		return err
	}
	defer f.Close()
	fs, err := k.mount(f, at, k.replay)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fs.unmount()) }()
	dir := at + "/store"
	if _, missing := os.Stat(dir); missing != nil && len(m.must()) == 0 {
		return nil // before the first command's directories were on the disk
	}
	if err := j.store(dir, m); err != nil || !c.lucky {
		return err
	}
	if err := verify(dir, m.hurt); err != nil {
		return err
	}
	var all []digest.Digest
	for d := range m.images {
		all = append(all, d)
	}
	return j.goesOn(dir, all, m.hurt...)
}

// must are the images that are certain to be there.
func (m *model) must() []digest.Digest {
	var all []digest.Digest
	for d, may := range m.images {
		if len(may) == 1 && may[0] {
			all = append(all, d)
		}
	}
	return all
}

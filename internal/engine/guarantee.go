package engine

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/order"
)

// minReserve is the least memory that is kept for the device's own programs, in bytes.
const minReserve = 32 << 20

// guarantees keep the sum of what containers are promised (--memory-reservation) within what the device has.
type guarantees struct {
	mu       sync.Mutex
	starting map[string]bool // ids whose starts have been let through and are under way
	written  int64           // what the group above all containers is protected with
	group    string          // of one of them, on version 2
	shared   string          // the CPUs of those that have no list of their own; "": all
}

// A promise is what one container is guaranteed.
type promise struct {
	name  string
	bytes int64
}

// reserve is what is kept for the system: a tenth, and 32 MiB at least.
func reserve(wished, total int64) int64 {
	if wished > 0 {
		return wished
	}
	return max(total/10, minReserve)
}

// fits tells whether a container can be promised what it asks for beside the others; the error says who has what.
func fits(name string, bytes, total, reserve int64, others []promise) error {
	left := total - reserve
	for _, p := range others {
		left -= p.bytes
	}
	if bytes <= left {
		return nil
	}
	order.By(others, func(a, b promise) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), strings.Compare(a.name, b.name))
	})
	text := ""
	for _, p := range others {
		text += fmt.Sprintf(", %s %s", p.name, mebi(p.bytes))
	}
	return Errorf(Conflict, "%s asks for %s of guaranteed memory, and %s are left: of %s the system keeps %s%s",
		name, mebi(bytes), mebi(max(left, 0)), mebi(total), mebi(reserve), text)
}

func mebi(n int64) string {
	if n%(1<<20) != 0 && n < 100<<20 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// promised are the guarantees of all other containers that run, are being started, or will be by their policy. g.mu
// is held.
func (e *Engine) promised(but string) (all []promise) {
	for _, c := range e.Containers() {
		v := c.View()
		if n := v.Host.MemoryReservation; c.id != but && n > 0 && e.holds(&v) {
			all = append(all, promise{v.Name, n})
		}
	}
	return all
}

// holds tells whether what the container was promised is taken. g.mu is held.
func (e *Engine) holds(v *View) bool {
	return v.Running() || v.State == container.StateRestarting || e.guarantees.starting[v.ID]
}

// guarantee promises the container the memory and the CPUs that the record says, or refuses it. done is called when its
// state tells that it runs, or that it does not.
func (c *Container) guarantee(r *Record) (done func(), err error) {
	g := &c.e.guarantees
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := r.Host.MemoryReservation; n > 0 {
		total := int64(totalMemory())
		if err := fits(r.Name, n, total, reserve(c.e.o.Reserve, total), c.e.promised(c.id)); err != nil {
			return func() {}, err
		}
	}
	own := useOf(r)
	if others := c.e.cpuUses(c.id); own.exclusive || anyExclusive(others) {
		if _, err := apart(own, onlineCPUs(), others); err != nil {
			return func() {}, err
		}
	}
	if r.Host.MemoryReservation <= 0 && own.cpus == "" {
		return func() {}, nil
	}
	if g.starting == nil {
		g.starting = map[string]bool{}
	}
	g.starting[c.id] = true
	if own.exclusive {
		c.e.shareCPUs(false)
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.starting, c.id)
		if own.exclusive {
			c.e.shareCPUs(false)
		}
	}, nil
}

// protect lets the containers' guarantees count. Version 2 caps what a group is protected with (memory.low) by what
// the group above it is: that must have the sum. Version 1 has a soft limit, which needs nothing above it.
func (c *Container) protect() {
	g := &c.e.guarantees
	g.mu.Lock()
	defer g.mu.Unlock()
	sum := int64(0)
	for _, p := range c.e.promised("") {
		sum += p.bytes
	}
	if sum == g.written {
		return
	}
	if g.group == "" {
		g.group = c.unifiedGroup()
	}
	if err := protectAbove(g.group, sum); err != nil {
		c.e.log.Warn("protect the containers' memory", "error", err)
		return
	}
	g.written = sum
}

// groupAbove is the name of the group that holds all containers', and is ours; one of a person's is left alone.
const groupAbove = "tare"

// protectAbove writes what the group above a container's is protected with.
func protectAbove(dir string, bytes int64) error {
	above := filepath.Dir(dir)
	if dir == "" || filepath.Base(above) != groupAbove {
		return nil
	}
	return writeExisting(filepath.Join(above, "memory.low"), strconv.FormatInt(bytes, 10)) // version 1 may have the memory
}

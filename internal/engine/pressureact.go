package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/resident"
)

const (
	// logKept is what of a container's output stays when memory is short, in bytes of it.
	logKept = 16 << 10
	// sharesLeast is the least weight that a group can have on the CPU, and sharesUsual what it has: cgroups(7).
	sharesLeast, sharesUsual = 2, 1024
)

// whyShort is why containers give way.
func whyShort(r *Record) string {
	return fmt.Sprintf("the device's memory is short, and its importance is %d, the least of those that run", importance(r))
}

// slowed tells whether the container's run is slowed down.
func (v *View) slowed() bool { return v.Running() && v.SlowedRun > 0 && v.SlowedRun == v.Runs }

// comes tells whether the restart policy starts the container again after a failure.
func comes(v *View) bool {
	return v.Host.RestartPolicy.Name != "" && !v.Host.RestartPolicy.IsNone()
}

// memoryUsed is what the container has, in bytes; 0: nobody knows.
func (c *Container) memoryUsed() uint64 {
	r, err := c.e.runtime.Load(c.id)
	if err != nil {
		return 0
	}
	s, err := r.Stats()
	if err != nil {
		return 0
	}
	return s.Memory.Usage.Usage
}

// reclaim gives memory back that nobody misses at once: old lines of logs, what the engine need not hold, and on
// version 2 what the kernel finds in the containers that may give way.
func (e *Engine) reclaim() {
	for _, c := range e.Containers() {
		v := c.View()
		if importance(v.Record) == importanceMost {
			continue
		}
		c.post(c.trimLog)
		if v.Running() {
			c.reclaimGroup()
		}
	}
	resident.Trim()
	e.Publish("daemon", "pressure", "", map[string]string{"measure": string(doReclaim)})
}

// trimLog drops old lines. Only own calls it.
func (c *Container) trimLog() {
	if c.io == nil {
		return
	}
	held := c.io.log.Stats().Held
	if err := c.io.log.Trim(logKept); err != nil {
		c.e.log.Error("trim a log", "container", c.id, "error", err)
		return
	}
	now := c.io.log.Stats().Held
	if now >= held {
		return
	}
	err := c.edit(func(m *Memory) {
		m.because(fmt.Sprintf("has lost the oldest %d KiB of its log", (held-now)>>10), "the device's memory is short")
	})
	if err != nil {
		c.e.log.Error("write a container's state", "container", c.id, "error", err)
	}
}

// reclaimGroup has the kernel take an eighth of what the container has: memory.reclaim, since Linux 5.19.
func (c *Container) reclaimGroup() {
	if dir := c.unifiedGroup(); dir != "" {
		want := strconv.FormatUint(c.memoryUsed()/8, 10)
		// What the kernel does not find it does not give (EAGAIN).
		_ = writeExisting(filepath.Join(dir, "memory.reclaim"), want)
	}
}

// unifiedGroup is the directory of the container's group of version 2; "": it has none.
func (c *Container) unifiedGroup() string {
	r, err := c.e.runtime.Load(c.id)
	if err != nil {
		return ""
	}
	st, err := r.State()
	if err != nil {
		return ""
	}
	return st.CgroupPaths[""]
}

// slow leaves the container the CPU time that nobody else wants; on version 2 more memory than it has costs it
// waiting, too (memory.high). It is not frozen: who waits for it would wait for ever.
func (c *Container) slow() error {
	return c.do(func() error {
		v := c.View()
		if !v.Running() || v.slowed() {
			return nil
		}
		if err := c.weigh(sharesLeast); err != nil {
			return err
		}
		if dir := c.unifiedGroup(); dir != "" {
			high := max(c.memoryUsed(), uint64(v.Host.MemoryReservation))
			if err := writeExisting(filepath.Join(dir, "memory.high"), strconv.FormatUint(high, 10)); err != nil {
				return err
			}
		}
		c.publish("pressure", "measure", string(doSlow))
		return c.edit(func(m *Memory) {
			m.SlowedRun = m.Runs
			m.because("is slowed down", whyShort(v.Record))
		})
	})
}

// release undoes slow.
func (c *Container) release() error {
	return c.do(func() error {
		v := c.View()
		if !v.slowed() {
			return nil
		}
		shares := uint64(sharesUsual)
		if v.Host.CPUShares > 0 {
			shares = uint64(v.Host.CPUShares)
		}
		err := c.weigh(shares)
		if dir := c.unifiedGroup(); dir != "" {
			err = errors.Join(err, writeExisting(filepath.Join(dir, "memory.high"), "max"))
		}
		c.publish("pressure", "measure", string(doRelease))
		return errors.Join(err, c.edit(func(m *Memory) {
			m.SlowedRun = 0
			m.because("is slowed down no longer", "the device has enough memory again")
		}))
	})
}

func (c *Container) weigh(shares uint64) error {
	r, err := c.e.runtime.Load(c.id)
	if err != nil {
		return err
	}
	return r.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}})
}

// giveWay restarts the container, or stops it where nothing would start it again.
func (c *Container) giveWay(ctx context.Context, again bool) error {
	v := c.View()
	why := whyShort(v.Record) + ", and to slow it down has not helped"
	do := doStop
	if again {
		do = doRestart
	}
	c.publish("pressure", "measure", string(do))
	if again {
		return c.Restart(ctx, StopOptions{Why: why})
	}
	if v.State != container.StateRunning {
		return nil
	}
	if err := c.end(ctx, StopOptions{Why: why}, false); err != nil {
		return err
	}
	c.publish("stop")
	return nil
}

// writeExisting writes a setting of a group, where the kernel has it. An *os.File would not do: such files can be polled, and
// who is told to try again later (EAGAIN), as by memory.reclaim, would be waited for without end.
func writeExisting(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		return fmt.Errorf("write %s to %s: %w", text, path, err)
	}
	return nil
}

package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	runtime "tare.dev/tare/internal/container"
	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/keeper"
	"tare.dev/tare/internal/order"
)

// exitPatience is how long an end that the keeper should tell of is waited for, when the process is gone.
const exitPatience = 2 * time.Second

// recover takes over what the engine before left, or what a boot left on flash.
func (e *Engine) recover() error {
	records, err := e.loadRecords()
	if err != nil {
		return err
	}
	order.By(records, func(a, b *Record) int { return a.Created.Compare(b.Created) })
	var running, start []*Container
	for _, r := range records {
		c, err := e.adopt(r)
		if err != nil {
			e.log.Error("take over a container", "container", r.ID, "error", err)
			continue
		}
		v := c.View()
		switch {
		case v.Running():
			running = append(running, c)
		case v.Due && v.Runs == 0:
			start = append(start, c)
		}
	}
	e.nets.recover(running)
	for _, c := range e.Containers() {
		go c.own()
		c.post(c.resume)
	}
	e.sweep()
	if len(start) > 0 {
		e.work.Go(func() { e.startAll(start) })
	}
	return nil
}

// wantedAtBoot tells whether a boot starts the container.
func wantedAtBoot(r *Record) bool {
	switch r.Host.RestartPolicy.Name {
	case container.RestartPolicyAlways:
		return true
	case container.RestartPolicyUnlessStopped:
		return !r.Stopped
	}
	return false
}

// adopt makes the container of a record. What is not in memory a boot has ended.
func (e *Engine) adopt(r *Record) (*Container, error) {
	booted := false
	m := Memory{State: container.StateCreated}
	switch err := readJSON(filepath.Join(e.dir(r.ID), memoryFile), &m); {
	case errors.Is(err, fs.ErrNotExist):
		booted, m.Due = true, wantedAtBoot(r)
	case err != nil:
		return nil, err
	}
	c := e.newContainer(r, m)
	if err := e.register(c, r.Name); err != nil {
		return nil, err
	}
	if err := c.hold(); err != nil {
		return c, err
	}
	if booted {
		return c, c.saveMemory()
	}
	return c, c.reconcile()
}

// hold keeps the image from being removed.
func (c *Container) hold() (err error) {
	if c.in, err = c.e.place(c.id); err != nil {
		return err
	}
	v := c.View()
	d, err := digest.Parse(v.Image)
	if err != nil {
		return fmt.Errorf("image of container %s: %w", c.id, err)
	}
	image, err := c.e.store.Image(d)
	if err != nil {
		c.e.log.Warn("the image of a container is gone", "container", c.id, "image", v.Config.Image, "error", err)
		return nil
	}
	return c.in.Use(image)
}

// reconcile makes what is written of the container and what the runtime finds agree: the engine may have
// died between any two steps of a start or of an end.
func (c *Container) reconcile() error {
	v := c.View()
	r, err := c.e.runtime.Load(c.id)
	if err != nil { // deleted, or never made
		if v.Running() {
			c.awaitExit(v.Pid, v.Runs)
			c.endSoon(v.Runs)
		}
		return nil
	}
	st, err := r.State()
	if err != nil {
		return err
	}
	alive := st.Status != specs.StateStopped
	switch {
	case v.Running():
		c.awaitExit(v.Pid, v.Runs)
		if !alive {
			c.endSoon(v.Runs)
		} else if !ourChild(v.Pid) {
			c.watch(v.Pid, v.Runs)
		}
		return nil
	case alive && st.Pid > 0: // made, and not written down
		started := startTime(st.Pid)
		err := c.change(evStart, func(m *Memory) {
			m.Pid, m.Started, m.StartedAt = st.Pid, started, time.Now().UTC()
			m.Runs++
		})
		c.awaitExit(st.Pid, c.View().Runs)
		return err
	}
	return r.Delete(true)
}

// awaitExit asks for the end of a process that an engine before has made.
func (c *Container) awaitExit(pid, run int) {
	c.e.exits.begin()
	c.e.exits.made(pid, func(x keeper.Exit) { c.ends(run, x.Status, x.At) })
}

// endSoon is for a process that has ended: when nobody tells how, the container says so after a while.
func (c *Container) endSoon(run int) {
	time.AfterFunc(exitPatience, func() { c.ends(run, c.foundStatus(), time.Now()) })
}

// unknownStatus is docker's 255 for an end that nobody has seen, as wait(2) has it.
const unknownStatus = unix.WaitStatus(255 << 8)

// foundStatus is what the runtime knows of the end.
func (c *Container) foundStatus() unix.WaitStatus {
	r, err := c.e.runtime.Load(c.id)
	if err != nil {
		return unknownStatus
	}
	st, err := r.State()
	if err != nil || st.ExitStatus == nil {
		return unknownStatus
	}
	if n := *st.ExitStatus; n > 128 && n < 128+65 {
		return unix.WaitStatus(n - 128)
	}
	return unix.WaitStatus(*st.ExitStatus << 8)
}

// ourChild tells whether the keeper is the process's parent: not when that is a later one.
func ourChild(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	return len(f) > 1 && f[1] == fmt.Sprint(os.Getppid())
}

// watch waits for the end of a process of which the keeper will not hear.
func (c *Container) watch(pid, run int) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		c.e.log.Warn("watch a process", "container", c.id, "pid", pid, "error", err)
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd") // the poller of the Go runtime waits for it
	context := c.e.ctx
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		raw, err := f.SyscallConn()
		if err != nil {
			return
		}
		err = raw.Read(func(fd uintptr) bool {
			n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n == 1
		})
		if err != nil {
			return // the engine ends
		}
		status := unknownStatus
		if code, known := runtime.ExitStatus(int(f.Fd())); known {
			status = unix.WaitStatus(code << 8)
			if code > 128 {
				status = unix.WaitStatus(code - 128)
			}
		}
		c.ends(run, status, time.Now())
	}()
	go func() {
		select {
		case <-context.Done():
		case <-stop:
		}
		f.Close()
	}()
}

// resume goes on where the engine before was.
func (c *Container) resume() {
	v := c.View()
	switch v.State {
	case container.StateRunning, container.StatePaused:
		if err := c.edit(func(m *Memory) { m.because("has a new engine", "the one before ended") }); err != nil {
			c.e.log.Error("write a container's state", "container", c.id, "error", err)
		}
		if err := c.needStreams(); err != nil {
			c.e.log.Error("take over a log", "container", c.id, "error", err)
		}
		c.startHealth()
	case container.StateRestarting, container.StateExited:
		c.takeLast()
		c.finish(v.State == container.StateRestarting, backoffFirst)
	case container.StateRemoving:
		if err := c.change(evStay, nil); err != nil {
			c.e.log.Error("remove a container", "container", c.id, "error", err)
			return
		}
		if err := c.remove(true); err != nil {
			c.e.log.Error("remove a container", "container", c.id, "error", err)
		}
	}
}

// takeLast opens the log of a run that is over, if its last output may not have been taken yet.
func (c *Container) takeLast() {
	files, err := c.e.keep.Get(c.keptLog())
	if err != nil {
		return // there is none
	}
	last := len(files) > 1
	for _, f := range files {
		f.Close()
	}
	if !last {
		return
	}
	if err := c.needStreams(); err != nil {
		c.e.log.Error("take over a log", "container", c.id, "error", err)
	}
}

// sweep removes what an engine has made and died before it was whole: directories of containers without a
// record, and records without their name.
func (e *Engine) sweep() {
	e.sweepParts()
	halves, _ := filepath.Glob(filepath.Join(e.o.Root, "engine", "*", "*.json.new")) // the pattern is good
	for _, half := range halves {
		if err := os.Remove(half); err != nil {
			e.log.Error("remove half a record", "path", half, "error", err)
		}
	}
	marks, err := filepath.Glob(filepath.Join(e.o.Run, "containers", "*", instance.Kept))
	if err != nil {
		return // the pattern is good
	}
	for _, mark := range marks {
		dir := filepath.Dir(mark)
		id := filepath.Base(dir)
		e.mu.Lock()
		known := e.all[id] != nil
		e.mu.Unlock()
		if known {
			continue
		}
		if err := instance.Clear(dir); err != nil {
			e.log.Error("remove what is left of a container", "container", id, "error", err)
		}
	}
	names, err := e.keep.Names()
	if err != nil {
		return // the engine ends with the keeper
	}
	for _, name := range names {
		id, _, _ := strings.Cut(name, "/")
		if len(id) != 64 {
			continue
		}
		if _, err := e.Find(id); err != nil {
			_ = e.keep.Drop(name) // it is there: it was listed
		}
	}
}

package engine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	runtime "tare.dev/tare/internal/container"
	"tare.dev/tare/internal/keeper"
)

// Start starts a container that does not run.
func (c *Container) Start() error {
	c.settle()
	return c.do(func() error {
		v := c.View()
		switch v.State {
		case container.StateRunning:
			return Errorf(NotModified, "container %s is running", c.id)
		case container.StatePaused:
			return Errorf(Conflict, "cannot start a paused container, try unpause instead")
		}
		c.backoff = 0
		if err := c.wanted(true); err != nil {
			return err
		}
		err := c.start(0, byClient)
		if err != nil && v.Host.AutoRemove {
			return errors.Join(err, c.remove(true))
		}
		return err
	})
}

// byClient is why things happen that people ask for.
const byClient = "a client asked for it"

// start makes the process. restarts is how many times the policy has started it again; why is for people. Only own
// calls it.
func (c *Container) start(restarts int, why string) error {
	v := c.View()
	if _, ok := next(v.State, evStart); !ok {
		return Errorf(Conflict, "container %s cannot be started: it is %s", c.id, v.State)
	}
	c.stopTimer()
	done, err := c.guarantee(v.Record)
	defer done()
	var pid int
	var started uint64
	if err == nil {
		pid, started, err = c.launch()
	}
	if err != nil {
		err = launchError(err, v.Record)
		code := exitCodeOf(err)
		c.endStreams() // who is attached has nothing to wait for
		return errors.Join(err, c.change(evFail, func(m *Memory) {
			m.ExitCode, m.Error, m.Due = code, err.Error(), false
			m.because("could not be started ("+why+")", err.Error())
		}))
	}
	err = c.change(evStart, func(m *Memory) {
		m.Pid, m.Started, m.ExitCode, m.Error, m.OOMKilled, m.Asked, m.Reset = pid, started, 0, "", false, false, false
		m.StartedAt, m.Restarts = time.Now().UTC(), restarts
		m.Runs++
		m.Health, m.AskedWhy, m.Due = nil, "", false
		m.because("started", why)
	})
	if err != nil {
		c.e.log.Error("write a container's state", "container", c.id, "error", err)
	}
	c.protect()
	c.publish("start")
	c.startHealth()
	return nil
}

// launch does the work of a start, and takes it back when a part fails.
func (c *Container) launch() (pid int, started uint64, err error) {
	c.e.starts <- struct{}{}
	defer func() { <-c.e.starts }()
	if err := c.ensurePlace(); err != nil {
		return 0, 0, err
	}
	netns, done, err := c.e.nets.attach(c)
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		done()
		if err != nil {
			c.e.nets.detach(c)
		}
	}()
	if err := c.writeFiles(); err != nil {
		return 0, 0, err
	}
	defer c.dropParts()
	spec, err := c.spec(netns)
	if err != nil {
		return 0, 0, err
	}
	if err := c.in.WriteSpec(spec); err != nil {
		return 0, 0, err
	}
	files, err := c.openStreams()
	if err != nil {
		return 0, 0, err
	}
	defer closeFiles(files)
	return c.makeProcess(files)
}

func (c *Container) makeProcess(files [3]*os.File) (pid int, started uint64, err error) {
	if old, err := c.e.runtime.Load(c.id); err == nil {
		if err := old.Delete(true); err != nil { // of a run that an engine did not see the end of
			return 0, 0, err
		}
	}
	c.e.exits.begin()
	_, p, err := c.e.runtime.Run(c.id, runtime.CreateOptions{
		Bundle: c.in.Dir, Stdio: files, Console: c.takeTerminal, Keep: true, Adopted: true, Parent: true,
		Warn: func(format string, args ...any) { c.e.log.Warn(fmt.Sprintf(format, args...), "container", c.id) },
	})
	if err != nil {
		c.e.exits.none()
		return 0, 0, err
	}
	p.Release()
	run := c.View().Runs + 1
	c.e.exits.made(p.Pid, func(x keeper.Exit) { c.ends(run, x.Status, x.At) })
	started = startTime(p.Pid)
	return p.Pid, started, nil
}

// ensurePlace makes the container's directory and mounts, where a boot or a failure took them away.
func (c *Container) ensurePlace() error {
	if c.in != nil && c.in.Mounted() {
		return nil
	}
	v := c.View()
	d, err := digest.Parse(v.Image)
	if err != nil {
		return fmt.Errorf("image of container %s: %w", c.id, err)
	}
	image, err := c.e.store.Image(d)
	if err != nil {
		return fmt.Errorf("image %s: %w", v.Config.Image, err)
	}
	if c.in == nil {
		if c.in, err = c.e.place(c.id); err != nil {
			return err
		}
	}
	if err := c.in.Use(image); err != nil {
		return err
	}
	upper, work, err := c.in.WriteMemory(c.e.o.WriteLimit)
	if err != nil {
		return err
	}
	return c.in.Mount(c.e.store, upper, work)
}

// notFoundInPath are docker's words, by which its client knows what to exit with, for a program that is
// in none of the directories of PATH. They are in package container's error, too.
const notFoundInPath = "executable file not found in $PATH"

// launchError puts docker's words before ours: its clients look for them.
func launchError(err error, r *Record) error {
	if KindOf(err) != Internal {
		return err
	}
	text := err.Error()
	args := append(append([]string{}, r.Config.Entrypoint...), r.Config.Cmd...)
	if strings.Contains(text, notFoundInPath) {
		return &Error{Invalid, err}
	}
	if errors.Is(err, unix.ENOENT) && len(args) > 0 && strings.Contains(text, "exec") {
		return Errorf(Invalid, "exec: %q: stat %s: no such file or directory: %w", args[0], args[0], err)
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOEXEC) || errors.Is(err, unix.ENOENT) {
		return Errorf(Invalid, "%w", err)
	}
	return err
}

// exitCodeOf is what a shell says of such a start.
func exitCodeOf(err error) int {
	switch {
	case errors.Is(err, unix.ENOENT), strings.Contains(err.Error(), notFoundInPath):
		return 127
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOEXEC):
		return 126
	}
	return 128
}

// startTime is a process's start time in ticks, which with its number names it for ever: proc_pid_stat(5).
func startTime(pid int) uint64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	f := strings.Fields(rest)
	if len(f) < 20 {
		return 0
	}
	var n uint64
	_, _ = fmt.Sscan(f[19], &n)
	return n
}

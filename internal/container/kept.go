package container

import (
	"errors"
	"reflect"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/sysprog"
)

// In a program that stays, such as an engine, what is executed in a container
// is often what was executed there last: a health check. Then its program is
// still in memory, with what it needs opened, and runs once more.

// keptFor is how long it stays for the next time: longer than health checks
// usually are apart.
const keptFor = 2 * time.Minute

// kept is the loaded program of an exec, and what it depends on. It holds
// nothing that keeps the container's mounts busy.
type kept struct {
	process *specs.Process // our own copy
	parent  bool
	chown   [3]bool
	dir     string // the v2 control group
	frozen  int    // the file that tells whether the container is paused; -1: none can
	files   pipes  // that, and what the program refers to
	prog    program.Program
	mem     *sysprog.Memory
	timer   *time.Timer
}

func (t *kept) free() {
	t.timer.Stop()
	_ = t.mem.Free()
	t.files.closeAll()
}

// keepable tells whether the exec may be one that comes again: nothing is
// opened or sent for it alone.
func (c *Container) keepable(o *ExecOptions) bool {
	return len(c.replay) == 0 && !sysprog.Faults && !o.Process.Terminal && o.ConsoleSocket == "" && o.PidfdSocket == "" &&
		o.PidFile == "" && o.PreserveFDs == 0 && o.SubCgroup == ""
}

// execAgain starts the process by the program that is kept, if that is for the
// same. A nil without an error says that it has to be started in full, which
// says why it cannot be, too.
func (c *Container) execAgain(o *ExecOptions, w *warm) *Process {
	if !c.keepable(o) {
		return nil
	}
	addHome(o.Process, rootOf(w.init))
	fds := numbers(o.Stdio)
	t := c.takeKept(o, fds)
	if t == nil {
		return nil
	}
	if t.isFrozen() && !o.IgnorePaused || c.moved(t, w) {
		c.keep(t)
		return nil
	}
	k := creation{c: c, o: CreateOptions{Before: o.Before, Parent: o.Parent}, prog: &t.prog, pidfd: -1}
	k.in.Facts = w.facts
	t.mem.Rewind()
	for n, s := range t.prog.Stdio {
		t.mem.SetWord(s, uintptr(fds[n]))
	}
	o.Before = nil // is called once
	if undumpable() != nil || k.run(t.mem) != nil {
		k.abort()
		t.free()
		return nil
	}
	c.keep(t)
	return &Process{Pid: k.pid, pidfd: k.pidfd}
}

// isFrozen tells whether the container is paused.
func (t *kept) isFrozen() bool {
	var b [1]byte
	if t.frozen < 0 {
		return false
	}
	n, err := unix.Pread(t.frozen, b[:], 0)
	return err == nil && n == 1 && b[0] == '1'
}

// moved tells whether the container's first process is in another v2 control
// group than last time.
func (c *Container) moved(t *kept, w *warm) bool {
	if t.dir == "" {
		return false
	}
	join, err := c.rec.Cgroup.Join("", w.init.pid)
	return err != nil || join.Dir != t.dir
}

// launchExec starts the process, and keeps its program if it may come again.
func (k *creation) launchExec(o *ExecOptions, in *program.ExecInput) (err error) {
	t := &kept{frozen: -1}
	if !k.c.keepable(o) || !lasting(in) || k.openKept(t, in) != nil {
		in.Open = nil // the program opens them itself, and says what fails
	}
	defer func() {
		if t.mem == nil {
			t.files.closeAll()
		}
	}()
	if k.prog, err = program.CompileExec(in); err != nil {
		return err
	}
	for _, w := range k.prog.Warnings {
		k.o.Warn("%s", w)
	}
	if in.Open == nil || len(k.prog.Warnings) > 0 { // which are to be given each time
		return k.launch()
	}
	if err := undumpable(); err != nil {
		return err
	}
	mem, err := sysprog.LoadKept(k.prog.List)
	if errors.Is(err, unix.EEXIST) {
		return k.launch()
	}
	if err != nil {
		return err
	}
	if err := k.run(mem); err != nil {
		_ = mem.Free()
		return err
	}
	k.pipes.give(&t.files, in.InitFD)
	t.mem, t.prog = mem, program.Program{Pid: k.prog.Pid, Pidfd: k.prog.Pidfd, Stdio: k.prog.Stdio}
	t.process = copyOf(reflect.ValueOf(o.Process)).Interface().(*specs.Process) // the caller may change its own
	t.parent, t.dir = o.Parent, in.Join.Dir
	if o.Process.User.UID != 0 {
		t.chown = in.ChownStdio
	}
	k.c.keep(t)
	return nil
}

// openKept opens what the program needs each time.
func (k *creation) openKept(t *kept, in *program.ExecInput) error {
	open := func(path string, flags int) (int, error) {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		return t.files.add(fd), nil
	}
	path, err := k.c.rec.Cgroup.FrozenFile()
	if err == nil && path != "" {
		if t.frozen, err = open(path, unix.O_RDONLY); err != nil {
			return err
		}
	}
	files := &program.ExecFiles{}
	if files.PIDNamespace, err = open("/proc/self/ns/pid", unix.O_RDONLY); err != nil {
		return err
	}
	for _, path := range in.Join.Tasks {
		fd, err := open(path, unix.O_WRONLY)
		if err != nil {
			return err
		}
		files.Tasks = append(files.Tasks, fd)
	}
	in.Open = files
	return nil
}

// lasting tells whether in's program may run a second time: its child shares
// our memory, so that none is left that runs it; and it joins namespaces by the
// pidfd, so that it fails when the container has ended.
func lasting(in *program.ExecInput) bool {
	if in.Fork || in.User || in.InitFD < 0 || in.Namespaces == 0 || !in.Facts.PidfdSetns || in.ListenerFD >= 0 {
		return false
	}
	for n, fd := range in.Stdio {
		if fd <= n {
			return false
		}
	}
	return true
}

// takeKept hands out what is kept, if that is for the same exec.
func (c *Container) takeKept(o *ExecOptions, fds [3]int) *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.kept
	if t == nil || o.Parent != t.parent || fds[0] <= 0 || fds[1] <= 1 || fds[2] <= 2 || !reflect.DeepEqual(o.Process, t.process) {
		return nil
	}
	if o.Process.User.UID != 0 && ownable(fds) != t.chown {
		return nil
	}
	c.kept = nil
	return t
}

// keep keeps t in place of what was kept before.
func (c *Container) keep(t *kept) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropKept()
	c.kept = t
	if t.timer != nil {
		t.timer.Reset(keptFor)
		return
	}
	t.timer = time.AfterFunc(keptFor, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.kept == t {
			c.dropKept()
		}
	})
}

// dropKept gives back what is kept. The caller holds mu.
func (c *Container) dropKept() {
	if c.kept != nil {
		c.kept.free()
		c.kept = nil
	}
}

// copyOf copies all that v refers to. It knows the kinds of fields that a spec
// has.
func copyOf(v reflect.Value) reflect.Value {
	to := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			to.Set(reflect.New(v.Type().Elem()))
			to.Elem().Set(copyOf(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			to.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				to.Index(i).Set(copyOf(v.Index(i)))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			to.Field(i).Set(copyOf(v.Field(i)))
		}
	case reflect.Map, reflect.Interface, reflect.Chan, reflect.Func, reflect.Array, reflect.UnsafePointer:
		panic("container: a " + v.Kind().String() + " in a process of a spec")
	default:
		to.Set(v)
	}
	return to
}

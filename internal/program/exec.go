package program

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/host"
	"tare.dev/tare/internal/seccomp"
	"tare.dev/tare/internal/sysprog"
)

// ExecInput is all that starting a process in a running container depends on.
type ExecInput struct {
	ID      string // of the container
	Process *specs.Process
	Linux   *specs.Linux // of the container's spec: personality, memory policy
	Facts   host.Facts
	Seccomp *seccomp.Filter

	Join cgroup.Join // where in the container's control groups
	Open *ExecFiles  // nil: the program opens them itself

	Root string // /proc/PID/root of the container's first process; "": its mount namespace's root

	// InitFD is a pidfd of the container's first process, -1 on old kernels;
	// then NamespaceFDs are its namespaces by their clone flag.
	InitFD       int
	Namespaces   uintptr // clone flags of those that are not the caller's
	NamespaceFDs map[uintptr]int

	User          bool // the container has a user namespace of its own
	DenySetgroups bool
	PreserveFDs   int
	Inherited     []int // see Input
	Stdio         [3]int
	ChownStdio    [3]bool
	Fork          bool
	Parent        bool // see Input
	GateFD        int
	GateParentFD  int
	ConsoleFD     int
	ListenerFD    int
}

// ExecFiles are the descriptors of what a program that runs again need not open
// each time.
type ExecFiles struct {
	PIDNamespace int   // the caller's own
	Tasks        []int // those of Join.Tasks
}

// CompileExec turns in into a program that starts the process.
//
// The calling thread makes its next child one of the container's pid namespace,
// and takes that back at once; the child joins the other namespaces. Only what
// belongs to a user namespace needs two children: the first joins it, and can
// join the pid namespace only then, which is for children; so it makes the
// process as its sibling and ends.
func CompileExec(in *ExecInput) (*Program, error) {
	c, err := compileExec(in, nil)
	if err != nil {
		return nil, err
	}
	return c.Program, nil
}

func compileExec(in *ExecInput, r *ReplayExec) (*compiler, error) {
	if err := ValidateProcess(in.Process); err != nil {
		return nil, err
	}
	linux := &specs.Linux{}
	if in.Linux != nil {
		linux.Personality, linux.MemoryPolicy = in.Linux.Personality, in.Linux.MemoryPolicy
	}
	spec := &specs.Spec{Process: in.Process, Linux: linux}
	c := &compiler{
		Program: &Program{List: &sysprog.List{}}, spec: spec, linux: linux, facts: in.Facts, hows: map[howKey]*sysprog.Buf{},
		in: &Input{
			ID:   in.ID,
			Spec: spec, Facts: in.Facts, Seccomp: in.Seccomp, Fork: in.Fork, PreserveFDs: in.PreserveFDs, Stdio: in.Stdio,
			ChownStdio: in.ChownStdio, GateFD: in.GateFD, GateParentFD: in.GateParentFD, ConsoleFD: in.ConsoleFD,
			ListenerFD: in.ListenerFD, DenySetgroups: in.DenySetgroups, Inherited: in.Inherited, execInUserNS: in.User,
			Parent: in.Parent,
		},
	}
	c.Private = !in.Fork
	c.descriptors()
	for n, fd := range in.Stdio {
		if fd != n {
			c.Stdio[n] = c.Slot([...]string{"stdin", "stdout", "stderr"}[n])
			c.Stdio[n].Preset(uintptr(fd))
			c.stdioFD[n] = sysprog.Val(c.Stdio[n])
		}
	}
	if r != nil {
		c.replay = &r.Replay
		c.execReplay = r
	}
	c.died = c.Label("child failed")
	if err := c.execParent(in); err != nil {
		return nil, err
	}
	c.Here(c.died)
	c.Fail = nil
	c.Do("", "exit_group", sysprog.Int(1))
	return c, nil
}

func (c *compiler) execParent(in *ExecInput) error {
	c.Pid, c.Pidfd = c.Slot("pid"), c.Slot("pidfd")
	old := c.Buf(make([]byte, 8))
	all := c.Buf([]byte{255, 255, 255, 255, 255, 255, 255, 255})
	failed, child := c.Label("parent failed"), c.Label("child")
	var giveUp *sysprog.Label
	if c.replay != nil {
		giveUp = c.execReplayBegin()
		failed = giveUp
	}
	c.inParent = c.replay == nil
	cgroupFD := c.execCgroup(in)
	if c.replay == nil {
		c.Do("block signals", "rt_sigprocmask", sysprog.Int(unix.SIG_BLOCK), sysprog.Ptr(all, 0), sysprog.Ptr(old, 0), sysprog.Int(8))
	}
	c.Fail = failed
	c.openExecRoot(in)
	if in.User {
		first := c.joinFirst(cgroupFD)
		if err := c.execJoin(in, in.Namespaces); err != nil {
			return err
		}
		c.clone("start the process", unix.CLONE_PARENT|c.wantPidfd(), nil, child).To(c.Pid)
		c.endFirst(first)
	} else {
		c.cloneInside(in, cgroupFD, child, failed)
	}
	if c.replay != nil {
		dead := c.Label("child died")
		c.Fail = dead
		c.foreground(nil)
		c.Here(dead)
		c.endChild()
		c.Here(giveUp)
		c.returnToGo()
	} else {
		c.Here(failed)
		c.endParent(old)
	}
	return c.execChild(in, child)
}

// cloneInside emits the clone of a process that is born in the container's pid
// namespace. What the thread's next children are born in is set for that and
// set back, whether it succeeds or not.
func (c *compiler) cloneInside(in *ExecInput, cgroupFD *sysprog.Slot, child, failed *sysprog.Label) {
	flags := c.whoseChild() | c.wantPidfd()
	if in.Namespaces&unix.CLONE_NEWPID == 0 {
		c.clone("start the process", flags, cgroupFD, child).To(c.Pid)
		return
	}
	own, back := c.ownPIDNamespace(in), c.Label("back in own pid namespace")
	setBack := func() {
		c.Do("go back to own pid namespace", "setns", own, sysprog.Int(unix.CLONE_NEWPID)).OK(sysprog.AnyErrno)
	}
	c.setnsAll(in, unix.CLONE_NEWPID)
	made := c.Label("made the process")
	c.clone("start the process", flags, cgroupFD, child).To(c.Pid).Else(back).Next(made)
	c.Here(back)
	setBack()
	c.Jump(failed)
	c.Here(made)
	setBack()
}

func (c *compiler) ownPIDNamespace(in *ExecInput) sysprog.Arg {
	if in.Open != nil {
		return sysprog.Int(in.Open.PIDNamespace)
	}
	own := c.openSlot("own pid namespace")
	c.openPath("open own pid namespace", "/proc/self/ns/pid", unix.O_RDONLY).To(own)
	return sysprog.Val(own)
}

// execChild emits the process itself.
func (c *compiler) execChild(in *ExecInput, child *sysprog.Label) error {
	c.Here(child)
	c.Fail = c.died
	c.childBegin()
	if in.User {
		c.becomeRoot()
	} else if err := c.execJoin(in, in.Namespaces&^unix.CLONE_NEWPID); err != nil {
		return err
	}
	c.session()
	if a := c.proc().ExecCPUAffinity; a != nil {
		c.affinity("set CPU affinity", a.Final)
	}
	if c.in.terminal() {
		c.root = c.Slot("root")
		c.openPath("open /", "/", unix.O_PATH|unix.O_DIRECTORY).To(c.root)
		c.openTerminal()
	}
	return c.process()
}

// openExecRoot opens the container's root, which need not be the root of its
// mount namespace: that is the host's where the runtime itself ran in a chroot,
// or the container has no mount namespace of its own.
func (c *compiler) openExecRoot(in *ExecInput) {
	if in.Root == "" {
		return
	}
	c.execRoot = c.openSlot("container's root")
	c.openPath("open "+in.Root, in.Root, unix.O_PATH|unix.O_DIRECTORY).To(c.execRoot)
}

func (c *compiler) enterExecRoot() {
	if c.execRoot == nil {
		return
	}
	c.Do("go to the container's root", "fchdir", sysprog.Val(c.execRoot))
	c.Do("go to the container's root", "chroot", sysprog.Str("."))
}

// execCgroup opens the v2 directory that the process is born in.
func (c *compiler) execCgroup(in *ExecInput) *sysprog.Slot {
	if in.Join.Dir == "" || !c.facts.IntoCgroup {
		return nil
	}
	fd := c.openSlot("cgroup")
	c.cgroupOp = c.openPath("open cgroup "+in.Join.Dir, in.Join.Dir, unix.O_RDONLY|unix.O_DIRECTORY).To(fd)
	return fd
}

// execJoin emits, in a child, the control groups (which need the host's files)
// and the namespaces in flags. What is set through the caller's /proc is set
// here too; a further clone inherits it.
func (c *compiler) execJoin(in *ExecInput, flags uintptr) error {
	for i, tasks := range in.Join.Tasks {
		if in.Open != nil {
			c.Do("join cgroup "+tasks, "write", sysprog.Int(in.Open.Tasks[i]), sysprog.Str("0"), sysprog.Int(1))
			continue
		}
		c.writeFile("join cgroup "+tasks, tasks, "0", false)
	}
	if in.Join.Dir != "" && !c.facts.IntoCgroup {
		c.writeFile("join cgroup "+in.Join.Dir, in.Join.Dir+"/cgroup.procs", "0", false)
	}
	if a := c.proc().ExecCPUAffinity; a != nil {
		c.affinity("set initial CPU affinity", a.Initial)
	}
	if v := c.proc().OOMScoreAdj; v != nil {
		c.oomScore(*v)
	}
	if in.User { // raising takes the host's root
		c.limits()
	}
	if err := c.labels(); err != nil {
		return err
	}
	c.setnsAll(in, flags)
	c.enterExecRoot()
	return nil
}

// setnsAll emits joining those of the container's namespaces that are in flags.
func (c *compiler) setnsAll(in *ExecInput, flags uintptr) {
	pidfd := sysprog.Int(in.InitFD)
	if c.execReplay != nil {
		pidfd = sysprog.Val(c.initFD)
	}
	switch {
	case flags == 0:
		return
	case c.execReplay != nil, in.InitFD >= 0 && c.facts.PidfdSetns:
		c.Do("join the container's namespaces", "setns", pidfd, sysprog.Int(flags))
		return
	}
	for _, n := range namespaces {
		if fd, ok := in.NamespaceFDs[n.flag]; ok && flags&n.flag != 0 {
			c.Do("join the container's "+string(n.kind)+" namespace", "setns", sysprog.Int(fd), sysprog.Int(n.flag))
		}
	}
}

func (c *compiler) affinity(what, list string) {
	mask, _ := cpuMask(list) // ValidateProcess has seen that it is one
	if len(mask) == 0 {
		return
	}
	c.Do(what, "sched_setaffinity", sysprog.Int(0), sysprog.Int(len(mask)), sysprog.Ptr(c.Buf(mask), 0))
}

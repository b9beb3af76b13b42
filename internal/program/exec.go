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
	GateFD        int
	GateParentFD  int
	ConsoleFD     int
	ListenerFD    int
}

// CompileExec turns in into a program that starts the process.
//
// The first child joins the namespaces; since a pid namespace is only joined
// by children, it then makes the process as its sibling and ends.
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
		},
	}
	c.descriptors()
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
	failed, second := c.Label("parent failed"), c.Label("second child")
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
	first := c.joinFirst(cgroupFD)
	if err := c.execJoin(in); err != nil {
		return err
	}
	c.enterExecRoot()
	c.clone("start the process", unix.CLONE_PARENT, nil, second).To(c.Pid)
	c.Do("", "exit_group", sysprog.Int(0))
	c.Here(c.afterFirst)
	c.Fail = failed
	c.waitFor(first)
	if c.replay != nil {
		c.Do("", "pidfd_open", sysprog.Val(c.Pid), sysprog.Int(0)).To(c.Pidfd)
		c.foreground()
		c.Here(giveUp)
		c.returnToGo()
		return c.execChild(in, second)
	}
	c.Here(failed)
	c.endParent(old)
	return c.execChild(in, second)
}

// execChild emits the process itself, the second child.
func (c *compiler) execChild(in *ExecInput, second *sysprog.Label) error {
	c.Here(second)
	c.Fail = c.died
	c.childBegin()
	if in.User {
		c.becomeRoot()
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
	c.execRoot = c.Slot("container's root")
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

// execJoin emits, in the first child, the control groups (which need the
// host's files) and the namespaces. What is set through the caller's /proc is
// set here too; a clone inherits it.
func (c *compiler) execJoin(in *ExecInput) error {
	for _, tasks := range in.Join.Tasks {
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
	if in.Namespaces == 0 {
		return nil
	}
	if c.execReplay != nil {
		c.Do("join the container's namespaces", "setns", sysprog.Val(c.initFD), sysprog.Int(in.Namespaces))
		return nil
	}
	if in.InitFD >= 0 && c.facts.PidfdSetns {
		c.Do("join the container's namespaces", "setns", sysprog.Int(in.InitFD), sysprog.Int(in.Namespaces))
		return nil
	}
	for _, n := range namespaces {
		if fd, ok := in.NamespaceFDs[n.flag]; ok && in.Namespaces&n.flag != 0 {
			c.Do("join the container's "+string(n.kind)+" namespace", "setns", sysprog.Int(fd), sysprog.Int(n.flag))
		}
	}
	return nil
}

func (c *compiler) affinity(what, list string) {
	mask, _ := cpuMask(list) // ValidateProcess has seen that it is one
	if len(mask) == 0 {
		return
	}
	c.Do(what, "sched_setaffinity", sysprog.Int(0), sysprog.Int(len(mask)), sysprog.Ptr(c.Buf(mask), 0))
}

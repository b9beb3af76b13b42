package program

import (
	"encoding/binary"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/sysprog"
)

// namespace flags of clone(2), in the order they are joined.
var namespaces = [...]struct {
	kind specs.LinuxNamespaceType
	flag uintptr
}{
	{specs.UserNamespace, unix.CLONE_NEWUSER},
	{specs.PIDNamespace, unix.CLONE_NEWPID},
	{specs.IPCNamespace, unix.CLONE_NEWIPC},
	{specs.UTSNamespace, unix.CLONE_NEWUTS},
	{specs.NetworkNamespace, unix.CLONE_NEWNET},
	{specs.CgroupNamespace, unix.CLONE_NEWCGROUP},
	{specs.TimeNamespace, unix.CLONE_NEWTIME},
	{specs.MountNamespace, unix.CLONE_NEWNS},
}

// Namespaces lists the namespace types that a spec may name.
func Namespaces() []string {
	var s []string
	for _, n := range namespaces {
		s = append(s, string(n.kind))
	}
	return s
}

// parent emits what the calling thread does: control groups, then the clone.
// Signals are blocked around it, or a handler could run in the child on the
// parent's goroutine.
func (c *compiler) parent() {
	c.Pid, c.Pidfd = c.Slot("pid"), c.Slot("pidfd")
	old := c.Buf(make([]byte, 8))
	all := c.Buf([]byte{255, 255, 255, 255, 255, 255, 255, 255})
	restore := c.Label("parent failed")

	// First of all: loading a device filter ends with EAGAIN when a signal waits.
	c.Do("block signals", "rt_sigprocmask", sysprog.Int(unix.SIG_BLOCK), sysprog.Ptr(all, 0), sysprog.Ptr(old, 0), sysprog.Int(8))
	c.Fail = restore
	c.inParent = true
	var cgroupFD *sysprog.Slot
	if p := c.in.Cgroup; p != nil && p.Unit == nil {
		c.steps(p.Steps)
		cgroupFD = c.cgroupDir(p)
	}
	c.openNamespaces()
	if c.parentOpensSources() {
		c.openSources()
	}

	child := c.Label("child")
	if c.in.Monitor != nil {
		c.beginMonitor(restore)
	}
	var flags uintptr
	for _, n := range namespaces[:2] { // the others are made by unshare, after the cgroup is joined
		if c.in.newNS(n.kind) {
			flags |= n.flag
		}
	}
	var first *firstChild
	if c.in.joins(specs.PIDNamespace) || c.in.joins(specs.UserNamespace) {
		first = c.joinFirst(cgroupFD)
		flags |= unix.CLONE_PARENT // which is now the first child's
		cgroupFD = nil
	} else {
		flags |= c.whoseChild()
	}
	flags |= c.wantPidfd()
	if c.in.Monitor != nil {
		flags |= unix.CLONE_PARENT_SETTID // so the caller knows it before the process says anything
	}
	c.clone("start the process", flags, cgroupFD, child).To(c.Pid)
	if first != nil {
		c.endFirst(first)
	}
	if c.in.Monitor != nil {
		c.endMonitor()
	}
	c.Here(restore)
	c.endParent(old)
	c.Here(child)
	c.Fail = c.died
}

// openSlot makes the slot for a descriptor. The parent's are closed when it is
// done, whether it failed on the way or not: it may be a program that stays.
func (c *compiler) openSlot(name string) *sysprog.Slot {
	if !c.inParent {
		return c.Slot(name)
	}
	return c.closeLater(c.SlotIn(name, c.Buf(make([]byte, sysprog.WordSize)), 0))
}

// closeLater has the parent close what it stores in s. Until then s is -1.
func (c *compiler) closeLater(s *sysprog.Slot) *sysprog.Slot {
	s.Preset(^uintptr(0))
	c.parents = append(c.parents, s)
	return s
}

// close emits the closing of a descriptor from openSlot.
func (c *compiler) close(fd *sysprog.Slot) {
	c.Do("", "close", sysprog.Val(fd))
	if c.inParent {
		c.Do("", sysprog.Set, sysprog.Int(-1)).To(fd)
	}
}

// fileSlot is the slot for a file that is closed at once: in the parent, one for all.
func (c *compiler) fileSlot() *sysprog.Slot {
	if !c.inParent {
		return c.Slot("fd")
	}
	if c.file == nil {
		c.file = c.openSlot("fd")
	}
	return c.file
}

// endParent emits what the parent does last.
func (c *compiler) endParent(old *sysprog.Buf) {
	c.inParent = false
	c.Fail = nil
	for _, fd := range c.parents {
		c.Do("", "close", sysprog.Val(fd)).OK(sysprog.AnyErrno)
	}
	c.Do("restore signals", "rt_sigprocmask", sysprog.Int(unix.SIG_SETMASK), sysprog.Ptr(old, 0), sysprog.Int(0), sysprog.Int(8))
	c.Do("", sysprog.Done)
}

// joinFirst emits a first child that joins the pid and user namespaces and
// then makes the container's process as its sibling: setns(2) into a pid
// namespace works only for children.
//
// It is the one that is born in the control group: with nsdelegate a process
// that has joined a cgroup namespace could not be. It shares the parent's
// descriptors, so that the pidfd it gets is one there; what it opens is closed
// as the parent's is.
func (c *compiler) joinFirst(cgroupFD *sysprog.Slot) *firstChild {
	f := &firstChild{pid: c.Slot("first pid"), after: c.Label("after first child"), fail: c.Fail}
	in := c.Label("first child")
	flags := c.whoseChild() | unix.CLONE_FILES
	if c.in.Parent {
		flags |= unix.CLONE_VFORK // to wait for what is not our child
	}
	c.clone("start a process", flags, cgroupFD, in).To(f.pid).Next(f.after)
	c.Here(in)
	c.Fail = c.died
	if c.in.joins(specs.UserNamespace) { // what takes the host's root
		c.limits()
		if v := c.proc().OOMScoreAdj; v != nil {
			c.oomScore(*v)
		}
	}
	for _, n := range namespaces[:2] {
		if c.in.joins(n.kind) {
			c.setns(n.kind, n.flag)
		}
	}
	return f
}

// firstChild is what endFirst needs to know of joinFirst.
type firstChild struct {
	pid         *sysprog.Slot
	after, fail *sysprog.Label // where the parent goes on, and where when that fails
}

// endFirst emits the end of the first child. The second one is then there, or
// has failed.
func (c *compiler) endFirst(f *firstChild) {
	c.Do("", "exit_group", sysprog.Int(0))
	c.Here(f.after)
	c.Fail = f.fail
	if !c.in.Parent {
		c.waitFor(f.pid)
	}
}

// whoseChild is the clone flag that makes a process our parent's child, if it
// is to be: Input.Parent.
func (c *compiler) whoseChild() uintptr {
	if c.in.Parent {
		return unix.CLONE_PARENT
	}
	return 0
}

// wantPidfd is the clone flag for a pidfd, where there is one. A monitor has
// no use for it.
func (c *compiler) wantPidfd() uintptr {
	if c.facts.Pidfd && c.in.Monitor == nil {
		return unix.CLONE_PIDFD
	}
	return 0
}

// cloneArgs is struct clone_args of clone3(2), in 64-bit words.
const (
	argFlags, argPidfd, argTID, argSignal, argCgroup = 0, 1, 3, 4, 10
	cloneArgsSize                                    = 11 * 8
)

// clone emits the clone of a process that goes on at child. With CLONE_PIDFD
// in flags its pidfd goes to c.Pidfd, with CLONE_PARENT_SETTID its number to
// c.Pid before it runs; not both, which clone(2) has one argument for.
func (c *compiler) clone(what string, flags uintptr, cgroupFD *sysprog.Slot, child *sysprog.Label) *sysprog.Op {
	if !c.in.Fork {
		flags |= unix.CLONE_VM | unix.CLONE_VFORK
	}
	out := c.Pidfd
	if flags&unix.CLONE_PARENT_SETTID != 0 {
		out = c.Pid
	}
	if !c.facts.Clone3 {
		return c.Do(what, "clone", sysprog.Int(flags|uintptr(unix.SIGCHLD)), sysprog.Int(0), sysprog.At(out)).IfZero(child)
	}
	wide := uint64(flags) // some flags do not fit a 32-bit word
	if c.facts.ClearSighand {
		wide |= unix.CLONE_CLEAR_SIGHAND
	}
	if cgroupFD != nil && c.facts.IntoCgroup {
		wide |= unix.CLONE_INTO_CGROUP
	}
	args := make([]byte, cloneArgsSize)
	binary.NativeEndian.PutUint64(args[argFlags*8:], wide)
	if flags&unix.CLONE_PARENT == 0 { // else it is the caller's own, and clone3 wants 0
		binary.NativeEndian.PutUint64(args[argSignal*8:], uint64(unix.SIGCHLD))
	}
	b := c.Buf(args)
	b.SetPtr(argPidfd*8, sysprog.At(c.Pidfd))
	if out == c.Pid {
		b.SetPtr(argTID*8, sysprog.At(out))
	}
	if cgroupFD != nil && c.facts.IntoCgroup {
		into := c.SlotIn("cgroup fd", b, argCgroup*8)
		if c.inParent || c.in.Monitor != nil { // opened before the monitor was made
			c.closeLater(into)
		}
		c.cgroupOp.To(into)
	}
	return c.Do(what, "clone3", sysprog.Ptr(b, 0), sysprog.Int(cloneArgsSize)).IfZero(child)
}

// waitFor reaps a child.
func (c *compiler) waitFor(pid *sysprog.Slot) {
	again := c.Label("reap first child")
	c.Here(again)
	c.Do("wait for the first child", "wait4", sysprog.Val(pid), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0)).On(unix.EINTR, again)
}

// steps emits the making of control groups.
func (c *compiler) steps(steps []cgroup.Step) {
	for _, s := range steps {
		switch s.Kind {
		case cgroup.Mkdir:
			op := c.Do("make cgroup", "mkdirat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(s.Path), sysprog.Int(0o755))
			if s.Optional {
				op.OK(sysprog.AnyErrno)
			} else if !s.MustBeNew {
				op.OK(unix.EEXIST)
			}
		case cgroup.Write:
			c.writeSetting(s)
		case cgroup.Chown:
			op := c.Do("give cgroup "+s.Path+" to the container's root", "fchownat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(s.Path),
				sysprog.Int(s.UID), sysprog.Int(-1), sysprog.Int(0))
			if s.Optional {
				op.OK(sysprog.AnyErrno)
			}
		}
	}
}

// writeSetting emits a write to a cgroup file, or to the one that has its place
// in other kernels.
func (c *compiler) writeSetting(s cgroup.Step) {
	if s.Else == nil {
		c.writeFile("set "+s.Path+" to "+s.Value, s.Path, s.Value, s.Optional)
		return
	}
	other, done := c.Label("other "+s.Path), c.Label("set "+s.Path)
	fd := c.fileSlot()
	what := "set " + s.Path + " to " + s.Value
	open := c.Do(what, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(s.Path), sysprog.Int(unix.O_WRONLY|unix.O_CLOEXEC)).To(fd).On(unix.ENOENT, other)
	write := c.Do(what, "write", sysprog.Val(fd), sysprog.Str(s.Value), sysprog.Int(len(s.Value)))
	if s.Optional {
		open.On(sysprog.AnyErrno, done)
		write.OK(sysprog.AnyErrno)
	}
	c.close(fd)
	c.Jump(done)
	c.Here(other)
	c.writeSetting(*s.Else)
	c.Here(done)
}

// writeFile emits open, write, close of a file that exists.
func (c *compiler) writeFile(what, path, value string, optional bool) {
	fd := c.fileSlot()
	done := c.Label("written " + path)
	open := c.Do(what, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(unix.O_WRONLY|unix.O_CLOEXEC)).To(fd)
	write := c.Do(what, "write", sysprog.Val(fd), sysprog.Str(value), sysprog.Int(len(value)))
	if optional {
		open.On(sysprog.AnyErrno, done)
		write.OK(sysprog.AnyErrno)
	}
	c.close(fd)
	c.Here(done)
}

// cgroupDir emits the open of the v2 directory that the child is born in, and
// the device program on it.
func (c *compiler) cgroupDir(p *cgroup.Plan) *sysprog.Slot {
	if p.Dir == "" {
		return nil
	}
	fd := c.openSlot("cgroup")
	open := func() *sysprog.Op {
		return c.Do("open cgroup "+p.Dir, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(p.Dir),
			sysprog.Int(unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC))
	}
	open().To(fd)
	if p.Devices != nil {
		c.deviceProgram(p, fd)
	}
	if c.facts.IntoCgroup {
		c.cgroupOp = open() // a second descriptor, stored straight into clone_args
	}
	return fd
}

// deviceProgram emits the load and attachment of the eBPF device filter.
func (c *compiler) deviceProgram(p *cgroup.Plan, dir *sysprog.Slot) {
	const bpfProgLoad, bpfProgAttach, attrSize = 5, 8, 128
	const typeCgroupDevice, attachCgroupDevice, allowMulti = 15, 6, 2
	load := c.Buf(make([]byte, attrSize))
	binary.NativeEndian.PutUint32(load.Data[0:], typeCgroupDevice)
	binary.NativeEndian.PutUint32(load.Data[4:], uint32(len(p.Devices)/8))
	load.SetPtr(8, sysprog.Ptr(c.Buf(p.Devices), 0))
	load.SetPtr(16, sysprog.Str("GPL"))
	copy(load.Data[48:], cgroup.BPFProgramName) // an update finds it by this name
	prog := c.openSlot("device program")
	c.Do("load the device filter", "bpf", sysprog.Int(bpfProgLoad), sysprog.Ptr(load, 0), sysprog.Int(attrSize)).To(prog)

	// struct: target_fd, attach_bpf_fd, attach_type, attach_flags (u32 each).
	attach := c.Buf(make([]byte, attrSize))
	c.Do("", sysprog.Set, sysprog.Val(dir)).To(c.SlotIn("", attach, 0))
	// Storing a word at 4 also clears what follows on 64-bit CPUs, so the
	// type and flags are stored after it.
	c.Do("", sysprog.Set, sysprog.Val(prog)).To(c.SlotIn("", attach, 4))
	if sysprog.WordSize == 8 {
		c.Do("", sysprog.Set, sysprog.Int(uint64(attachCgroupDevice|allowMulti<<32))).To(c.SlotIn("", attach, 8))
	} else {
		c.Do("", sysprog.Set, sysprog.Int(attachCgroupDevice)).To(c.SlotIn("", attach, 8))
		c.Do("", sysprog.Set, sysprog.Int(allowMulti)).To(c.SlotIn("", attach, 12))
	}
	c.Do("attach the device filter to "+p.Dir, "bpf", sysprog.Int(bpfProgAttach), sysprog.Ptr(attach, 0), sysprog.Int(attrSize))
	c.close(prog)
}

const lastSignal = 64

// childBegin drops what the child has inherited and must not keep.
func (c *compiler) childBegin() {
	if c.in.Fork && c.in.GateParentFD >= 0 && c.replay == nil {
		// Else the child would not notice the parent's death at a gate.
		c.Do("close the parent's end of the gate", "close", sysprog.Int(c.in.GateParentFD))
	}
	if c.in.Monitor != nil {
		c.Do("close the exit status", "close", sysprog.Int(c.in.Monitor.FD))
	} else if c.in.Wait && c.in.Heap != 0 && c.replay == nil {
		c.Do("give memory back", "munmap", sysprog.Int(c.in.Heap), sysprog.Int(c.in.HeapSize))
	}
	dfl := c.Buf(make([]byte, 32))
	if c.facts.ClearSighand {
		// What the caller ignores stays ignored through the clone. Go handles all
		// signals, and so resets them, but for the first two.
		last := unix.SIGINT
		if c.replay != nil {
			last = lastSignal
		}
		for sig := unix.SIGHUP; sig <= last; sig++ {
			c.Do("", "rt_sigaction", sysprog.Int(sig), sysprog.Ptr(dfl, 0), sysprog.Int(0), sysprog.Int(8)).OK(sysprog.AnyErrno)
		}
		return
	}
	for sig := 1; sig <= lastSignal; sig++ {
		if unix.Signal(sig) != unix.SIGKILL && unix.Signal(sig) != unix.SIGSTOP {
			c.Do("", "rt_sigaction", sysprog.Int(sig), sysprog.Ptr(dfl, 0), sysprog.Int(0), sysprog.Int(8)).OK(sysprog.AnyErrno)
		}
	}
}

// joinCgroups emits the child's own move into v1 hierarchies. Writing 0 to
// `tasks` moves only the calling thread and so skips the lock, and the grace
// period, that a write to cgroup.procs waits for.
func (c *compiler) joinCgroups() {
	p := c.in.Cgroup
	if p == nil || p.Unit != nil {
		return
	}
	for i, tasks := range p.Tasks {
		fd := c.Slot("tasks")
		c.Do("open cgroup "+tasks, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(tasks), sysprog.Int(unix.O_WRONLY|unix.O_CLOEXEC)).To(fd)
		if i == len(p.Tasks)-1 && c.facts.CgroupNS {
			// Joined last, so that what the kernel allocates for namespaces
			// is not charged to a small memory limit.
			c.late = append(c.late, fd)
			continue
		}
		c.Do("join cgroup "+tasks, "write", sysprog.Val(fd), sysprog.Str("0"), sysprog.Int(1))
		c.Do("", "close", sysprog.Val(fd))
	}
	for _, s := range p.Late {
		fd := c.Slot("limit")
		c.Do("open "+s.Path, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(s.Path), sysprog.Int(unix.O_WRONLY|unix.O_CLOEXEC)).To(fd)
		c.lateLimits = append(c.lateLimits, lateLimit{fd, s})
	}
	if p.Dir != "" && !(c.facts.IntoCgroup && c.facts.Clone3) {
		c.writeFile("join cgroup "+p.Dir, p.Dir+"/cgroup.procs", "0", false)
	}
}

// recordProcess leaves the child's line of /proc/PID/stat, as the host's /proc
// shows it, in the state directory: its pid and start time.
func (c *compiler) recordProcess() {
	if c.in.StateDir == "" {
		return
	}
	fd, out, n := c.Slot("stat"), c.Slot("process file"), c.Slot("length")
	buf := c.Buf(make([]byte, 512))
	path := c.in.StateDir + "/" + ProcessFile
	c.Do("read /proc/self/stat", "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str("/proc/self/stat"), sysprog.Int(unix.O_RDONLY|unix.O_CLOEXEC)).To(fd)
	c.Do("read /proc/self/stat", "read", sysprog.Val(fd), sysprog.Ptr(buf, 0), sysprog.Int(len(buf.Data))).To(n)
	c.Do("", "close", sysprog.Val(fd))
	c.Do("write "+path, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path),
		sysprog.Int(unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC), sysprog.Int(0o600)).To(out)
	c.Do("write "+path, "write", sysprog.Val(out), sysprog.Ptr(buf, 0), sysprog.Val(n))
	c.Do("", "close", sysprog.Val(out))
	c.writePidFile()
}

func (c *compiler) openFifos() {
	if !c.in.Wait {
		return
	}
	open := func(name string) sysprog.Arg {
		fd := c.Slot(name)
		path := c.in.StateDir + "/" + name
		// Read and write: the open does not block, and the read later waits
		// for a byte instead of seeing the end of the file.
		c.Do("open "+path, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(unix.O_RDWR|unix.O_CLOEXEC)).To(fd)
		return sysprog.Val(fd)
	}
	c.execFD, c.startFD = open(ExecFifo), open(StartFifo)
}

// lateLimit is a limit whose file the child opens while it sees the host's
// tree and writes when it is set up.
type lateLimit struct {
	fd   *sysprog.Slot
	step cgroup.Step
}

func (c *compiler) setLateLimits() {
	for _, l := range c.lateLimits {
		c.Do("set "+l.step.Path+" to "+l.step.Value, "write", sysprog.Val(l.fd), sysprog.Str(l.step.Value), sysprog.Int(len(l.step.Value)))
	}
}

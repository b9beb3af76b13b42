package program

import (
	"encoding/binary"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/sysprog"
)

// Replay is what a stored program does beside the start itself: see that
// nothing it was compiled from has changed, and all that package container
// does in Go around a start. A program that cannot go on takes back what it
// did and returns; then Go starts and does the whole in its own way.
type Replay struct {
	Args    []string // the command line
	Cwd     string   // the working directory, which paths in it may start at; "": any
	Watches []Watch
	Links   []Link // symbolic links that must be as they were

	// Stdio are descriptors 0 to 2, where what is done with one depends on the
	// kind of file it is; nil: any kind will do.
	Stdio [3]*unix.Statx_t

	// Contents are files, by their path, that must hold what they held. Files
	// of /proc and of control groups have no times to watch.
	Contents []File
	Files    []File // made in the state directory
	PidFile  string // gets the process's number; "": nobody asked

	// Drop are files that are removed once the program cannot give up any more:
	// its own, if it is for one time.
	Drop []string
}

// Watch is a file that must be as it was.
type Watch struct {
	Path string
	Stat *unix.Statx_t // nil: it must be missing
}

// Link is a symbolic link and where it must lead.
type Link struct{ Path, Target string }

// File is a file of the state directory.
type File struct {
	Name string
	Data []byte
	Fifo bool

	// Later: what it holds depends on the program; see Program.SetFile.
	Later bool
}

// CompileReplay compiles the same start as Compile into a program to be stored.
// It must need no gate: see Replayable.
func CompileReplay(in *Input, r *Replay) (*Program, error) {
	c, err := newCompiler(in)
	if err != nil {
		return nil, err
	}
	c.replay = r
	if err := c.compile(); err != nil {
		return nil, err
	}
	return c.Program, nil
}

// Replayable tells whether a start can be stored: it needs nothing of Go while
// it runs, and ends completely when its first process does.
func Replayable(in *Input) bool {
	if in.Monitor != nil || len(in.gates()) > 0 || in.terminal() || in.Spec.Hooks != nil || len(in.timeOffsets()) > 0 || in.newNS(specs.TimeNamespace) {
		return false
	}
	if !in.newNS(specs.PIDNamespace) || in.inUserNS() || in.Facts.UID != 0 || in.Facts.InUserNS || !in.Facts.Pidfd {
		return false
	}
	for _, n := range in.Spec.Linux.Namespaces {
		switch n.Type {
		case specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace: // opened anew each time
		default:
			if n.Path != "" {
				return false
			}
		}
	}
	for n, chown := range in.ChownStdio {
		if chown && in.Spec.Process.User.UID != 0 || in.Stdio[n] != n {
			return false
		}
	}
	return len(in.Trees) == 0 && in.PreserveFDs == 0
}

// replayParent stands in for parent in a stored program. Whatever fails goes to
// the place that takes back just what has been made until then.
func (c *compiler) replayParent() {
	c.Pid, c.Pidfd = c.Slot("pid"), c.Slot("pidfd")
	undo, child, giveUp, unmake := c.Label("undo"), c.Label("child"), c.Label("give up"), c.Label("remove state")
	c.blockSignals()
	c.Fail = giveUp
	c.checks(c.replay, giveUp)
	c.undumpable()
	c.Do("make state directory", "mkdirat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(c.in.StateDir), sysprog.Int(0o700)).Note("state")
	c.Fail = unmake
	// The others wait with what they do to the container, until all is there.
	state := c.openState(c.in.StateDir, unix.O_RDONLY|unix.O_DIRECTORY)
	c.Do("", "flock", sysprog.Val(state), sysprog.Int(unix.LOCK_EX))
	c.stateFiles()
	made := c.replayGroups()
	p := c.in.Cgroup
	cgroupFD := c.cgroupDir(p)
	c.openNamespaces()
	ready := c.Buf(make([]byte, 16)) // two descriptors of 32 bits
	if c.in.Wait {
		c.Do("make pipe", "pipe2", sysprog.Ptr(ready, 0), sysprog.Int(unix.O_CLOEXEC))
		c.readyFD = sysprog.Val(c.SlotIn("ready", ready, 4))
	}
	// A parent may have left us SIGCHLD ignored: then there would be nothing to wait for.
	c.Do("", "rt_sigaction", sysprog.Int(unix.SIGCHLD), sysprog.Ptr(c.Buf(make([]byte, 32)), 0), sysprog.Int(0), sysprog.Int(8))
	c.clone("start the process", unix.CLONE_NEWPID|unix.CLONE_PIDFD, cgroupFD, child).To(c.Pid)
	c.Fail = undo
	if c.in.Wait {
		c.awaitReady(c.SlotIn("from child", ready, 0), undo)
	} else {
		c.foreground(state)
	}
	c.Here(undo)
	c.endChild()
	for i := len(made) - 1; i >= 0; i-- {
		c.Here(made[i].failed)
		c.removeGroup(made[i].path, nil)
	}
	c.Here(unmake)
	c.removeState()
	c.Here(giveUp)
	c.returnToGo()
	c.Here(child)
	c.Fail = c.died
}

// endChild takes back the process: one that nobody waits for would keep its
// namespaces from ending.
func (c *compiler) endChild() {
	c.Fail = nil
	c.Do("", "pidfd_send_signal", sysprog.Val(c.Pidfd), sysprog.Int(unix.SIGKILL), sysprog.Int(0), sysprog.Int(0)).OK(sysprog.AnyErrno)
	c.Do("", "wait4", sysprog.Val(c.Pid), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0)).OK(sysprog.AnyErrno)
}

// madeGroup is a control group directory, and where a failure after its making
// goes on.
type madeGroup struct {
	path   string
	failed *sysprog.Label
}

func (c *compiler) replayGroups() (made []madeGroup) {
	for _, s := range c.in.Cgroup.Steps {
		c.steps([]cgroup.Step{s})
		if s.Kind == cgroup.Mkdir && s.MustBeNew {
			m := madeGroup{s.Path, c.Label("remove " + s.Path)}
			made = append(made, m)
			c.Fail = m.failed
		}
	}
	return made
}

// blockSignals keeps all signals waiting, until the program has a process to
// pass them on to, or for Go.
func (c *compiler) blockSignals() {
	all := c.Buf([]byte{255, 255, 255, 255, 255, 255, 255, 255})
	c.oldMask = c.Buf(make([]byte, 8))
	c.Do("block signals", "rt_sigprocmask", sysprog.Int(unix.SIG_BLOCK), sysprog.Ptr(all, 0), sysprog.Ptr(c.oldMask, 0), sysprog.Int(8))
}

// undumpable keeps processes inside from tracing a child that shares our
// memory; package container does it before it runs a program.
func (c *compiler) undumpable() {
	c.Do("", "prctl", sysprog.Int(unix.PR_SET_DUMPABLE), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0))
}

// checks emits the comparison of what the program was compiled from with what
// is there now.
func (c *compiler) checks(r *Replay, giveUp *sysprog.Label) {
	var line []byte
	for _, a := range r.Args {
		line = append(append(line, a...), 0)
	}
	c.Do("", sysprog.Compare, sysprog.Val(sysprog.Arguments()), sysprog.Ptr(c.Buf(line), 0), sysprog.Int(len(line))).Note("checks")
	for n := range 3 {
		// A closed one would be the next that is opened here, and then the
		// process's. Go opens /dev/null in its place.
		c.Do("", "fcntl", sysprog.Int(n), sysprog.Int(unix.F_GETFD))
		if st := r.Stdio[n]; st != nil {
			now, was := c.Buf(make([]byte, 256)), c.Buf(statxBytes(st))
			c.Do("", "statx", sysprog.Int(n), sysprog.Str(""), sysprog.Int(unix.AT_EMPTY_PATH), sysprog.Int(unix.STATX_BASIC_STATS), sysprog.Ptr(now, 0))
			for _, part := range [...]struct{ at, n int }{{28, 2}, {128, 8}} { // mode; number of a device
				c.Do("", sysprog.Compare, sysprog.Ptr(now, part.at), sysprog.Ptr(was, part.at), sysprog.Int(part.n))
			}
		}
	}
	for _, l := range r.Links {
		now := c.Buf(make([]byte, len(l.Target)+16))
		c.Do("", "readlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(l.Path), sysprog.Ptr(now, 0), sysprog.Int(len(now.Data)))
		c.Do("", sysprog.Compare, sysprog.Ptr(now, 0), sysprog.Str(l.Target), sysprog.Int(len(l.Target)+1))
	}
	if r.Cwd != "" {
		now, was := c.Buf(make([]byte, len(r.Cwd)+16)), c.Buf(append([]byte(r.Cwd), 0)) // ERANGE: another
		c.Do("", "getcwd", sysprog.Ptr(now, 0), sysprog.Int(len(now.Data)))
		c.Do("", sysprog.Compare, sysprog.Ptr(now, 0), sysprog.Ptr(was, 0), sysprog.Int(len(was.Data)))
	}
	for _, w := range r.Watches {
		c.watch(w, giveUp)
	}
	for _, f := range r.Contents {
		fd := c.Slot("fd")
		now := c.Buf(make([]byte, len(f.Data)+64))
		c.Do("", "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(f.Name), sysprog.Int(unix.O_RDONLY|unix.O_CLOEXEC)).To(fd)
		c.Do("", "read", sysprog.Val(fd), sysprog.Ptr(now, 0), sysprog.Int(len(now.Data)))
		c.Do("", "close", sysprog.Val(fd))
		was := append(append([]byte(nil), f.Data...), 0)
		c.Do("", sysprog.Compare, sysprog.Ptr(now, 0), sysprog.Ptr(c.Buf(was), 0), sysprog.Int(len(was)))
	}
}

func (c *compiler) watch(w Watch, giveUp *sysprog.Label) {
	now := c.Buf(make([]byte, 256)) // struct statx, statx(2)
	op := c.Do("", "statx", sysprog.Int(unix.AT_FDCWD), sysprog.Str(w.Path), sysprog.Int(0), sysprog.Int(unix.STATX_BASIC_STATS), sysprog.Ptr(now, 0))
	if w.Stat == nil {
		missing := c.Label("missing " + w.Path)
		op.On(unix.ENOENT, missing).Next(giveUp)
		c.Here(missing)
		return
	}
	was := c.Buf(statxBytes(w.Stat))
	for _, part := range [...]struct{ at, n int }{{32, 16}, {96, 32}, {136, 8}} { // inode and size; change times; device
		c.Do("", sysprog.Compare, sysprog.Ptr(now, part.at), sysprog.Ptr(was, part.at), sysprog.Int(part.n))
	}
}

func (c *compiler) stateFiles() {
	for _, f := range c.replay.Files {
		path := c.in.StateDir + "/" + f.Name
		if f.Fifo {
			c.Do("make "+path, "mknodat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(unix.S_IFIFO|0o600), sysprog.Int(0))
			continue
		}
		fd := c.Slot("fd")
		c.Do("make "+path, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC), sysprog.Int(0o600)).To(fd)
		b, size := c.Buf(f.Data), sysprog.Int(len(f.Data))
		if f.Later {
			n := c.Slot("size of " + f.Name)
			c.later, size = laterFile{b, n}, sysprog.Val(n)
		}
		c.Do("write "+path, "write", sysprog.Val(fd), sysprog.Ptr(b, 0), size)
		c.Do("", "close", sysprog.Val(fd))
	}
}

// laterFile is a file of the state directory that is still to be given its content.
type laterFile struct {
	data *sysprog.Buf
	size *sysprog.Slot
}

// SetFile gives the one file of Replay.Files that is Later its content.
func (p *Program) SetFile(data []byte) {
	p.later.data.Data = data
	p.later.size.Preset(uintptr(len(data)))
}

// drop removes what is for this one time.
func (c *compiler) drop() {
	for _, path := range c.replay.Drop {
		c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(0)).OK(sysprog.AnyErrno)
	}
}

// awaitReady is the end of a stored create: the child says that it waits at
// the fifo, its pidfd is kept, and the program ends.
func (c *compiler) awaitReady(fd *sysprog.Slot, undo *sysprog.Label) {
	again, dead := c.Label("await ready"), c.Label("child died")
	b := c.Buf(make([]byte, 1))
	fine := c.Label("created")
	c.Do("", "close", c.readyFD)
	c.Here(again)
	c.Do("", "read", sysprog.Val(fd), sysprog.Ptr(b, 0), sysprog.Int(1)).On(unix.EINTR, again).IfZero(dead).Next(fine)
	c.Here(dead)
	c.Jump(undo)
	c.Here(fine)
	c.keepPidfd()
	c.showPidFile()
	c.drop()
	c.Do("", "exit_group", sysprog.Int(0))
}

// writePidFile emits, in the child, the pid file under a name that the parent
// makes the real one. The host's /proc knows the number as text.
func (c *compiler) writePidFile() {
	if c.replay == nil || c.replay.PidFile == "" {
		return
	}
	text, n, fd := c.Buf(make([]byte, 16)), c.Slot("length"), c.Slot("pid file")
	tmp := c.pidFileTmp()
	c.Do("", "readlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str("/proc/self"), sysprog.Ptr(text, 0), sysprog.Int(len(text.Data))).To(n)
	c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(tmp), sysprog.Int(0)).OK(sysprog.AnyErrno)
	c.Do("", "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(tmp), sysprog.Int(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC), sysprog.Int(0o666)).To(fd)
	c.Do("", "write", sysprog.Val(fd), sysprog.Ptr(text, 0), sysprog.Val(n))
	c.Do("", "close", sysprog.Val(fd))
}

func (c *compiler) pidFileTmp() string {
	dir, name := "", c.replay.PidFile
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, name = name[:i+1], name[i+1:]
	}
	return dir + "." + name
}

func (c *compiler) showPidFile() {
	if c.replay.PidFile != "" {
		c.Do("", "renameat2", sysprog.Int(unix.AT_FDCWD), sysprog.Str(c.pidFileTmp()), sysprog.Int(unix.AT_FDCWD), sysprog.Str(c.replay.PidFile), sysprog.Int(0))
	}
}

// PidfdFile is the file in StateDir that a pidfd is mounted on: it tells the
// exit status later, whoever reaps the process.
const PidfdFile = "pidfd"

func (c *compiler) keepPidfd() {
	if !c.facts.ExitInfo {
		return
	}
	path := c.in.StateDir + "/" + PidfdFile
	fd, tree := c.Slot("fd"), c.Slot("tree")
	none := c.Label("no pidfd kept")
	c.Do("", "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC), sysprog.Int(0o600)).To(fd).On(sysprog.AnyErrno, none)
	c.Do("", "open_tree", sysprog.Val(c.Pidfd), sysprog.Str(""), sysprog.Int(unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).To(tree).On(sysprog.AnyErrno, none)
	c.Do("", "move_mount", sysprog.Val(tree), sysprog.Str(""), sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(unix.MOVE_MOUNT_F_EMPTY_PATH)).OK(sysprog.AnyErrno)
	c.Here(none)
}

// foreground is the end of a stored run: signals are passed on, the process is
// reaped, all is removed, and the program ends with its exit code. state is the
// container's locked directory; nil: an exec has none.
func (c *compiler) foreground(state *sysprog.Slot) {
	word := sysprog.WordSize
	c.Do("", sysprog.Compare, sysprog.Header(), sysprog.Ptr(c.Buf(make([]byte, word)), 0), sysprog.Int(word)).Note("foreground")
	c.showPidFile()
	c.drop()
	if state != nil {
		c.Do("", "flock", sysprog.Val(state), sysprog.Int(unix.LOCK_UN)).OK(sysprog.AnyErrno)
	}
	set := ^uint64(0)
	for _, sig := range [...]unix.Signal{unix.SIGPIPE, unix.SIGURG} { // not passed on by the Go path either
		set &^= 1 << (sig - 1)
	}
	signals := c.Buf(binary.NativeEndian.AppendUint64(nil, set))
	chld := c.Buf(make([]byte, word))
	chld.SetWord(0, uintptr(unix.SIGCHLD))
	sig, status, code := c.Slot("signal"), c.Slot("status"), c.Slot("code")
	wait, exited, forward := c.Label("wait"), c.Label("exited"), c.Label("forward")
	c.Here(wait)
	c.Do("", "rt_sigtimedwait", sysprog.Ptr(signals, 0), sysprog.Int(0), sysprog.Int(0), sysprog.Int(8)).To(sig).On(unix.EINTR, wait)
	c.Do("", sysprog.Compare, sysprog.At(sig), sysprog.Ptr(chld, 0), sysprog.Int(word)).On(unix.EINVAL, forward)
	c.Do("", "wait4", sysprog.Val(c.Pid), sysprog.At(status), sysprog.Int(unix.WNOHANG), sysprog.Int(0)).IfZero(wait).Next(exited)
	c.Here(forward)
	c.Do("", "pidfd_send_signal", sysprog.Val(c.Pidfd), sysprog.Val(sig), sysprog.Int(0), sysprog.Int(0)).On(sysprog.AnyErrno, wait).Next(wait)
	c.Here(exited)
	c.Do("", sysprog.Status, sysprog.Val(status)).To(code)
	left, gone := c.Label("left over"), c.Label("gone")
	if state != nil {
		// A delete by force may have been faster, and the name be another's now.
		c.Do("", "flock", sysprog.Val(state), sysprog.Int(unix.LOCK_EX)).OK(sysprog.AnyErrno)
		c.Do("", "faccessat", sysprog.Val(state), sysprog.Str(c.replay.Files[0].Name), sysprog.Int(0)).On(sysprog.AnyErrno, gone)
	}
	c.undo(left)
	c.Here(gone)
	c.Do("", "exit_group", sysprog.Val(code))
	c.Here(left)
	if state != nil {
		c.Do("", "flock", sysprog.Val(state), sysprog.Int(unix.LOCK_UN)).OK(sysprog.AnyErrno)
	}
	c.deleteByGo(code)
}

// deleteByGo is for groups that others have made below the container's: it
// executes ourselves as delete, and ends with code.
func (c *compiler) deleteByGo(code *sysprog.Slot) {
	if c.in.StateDir == "" {
		return
	}
	pid, child, again, end := c.Slot("pid"), c.Label("delete"), c.Label("wait for delete"), c.Label("deleted")
	root, id := split(c.in.StateDir)
	none := c.Buf(make([]byte, 8))
	c.Do("", "clone", sysprog.Int(unix.CLONE_VM|unix.CLONE_VFORK|uintptr(unix.SIGCHLD))).To(pid).IfZero(child).On(sysprog.AnyErrno, end)
	c.Here(again)
	c.Do("", "wait4", sysprog.Val(pid), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0)).On(unix.EINTR, again).OK(sysprog.AnyErrno)
	c.Here(end)
	c.Do("", "exit_group", sysprog.Val(code))
	c.Here(child)
	c.Do("", "rt_sigprocmask", sysprog.Int(unix.SIG_SETMASK), sysprog.Ptr(none, 0), sysprog.Int(0), sysprog.Int(8))
	argv := c.Strings([]string{"tare-runtime", "--root", root, "delete", "--force", id})
	c.Do("", "execve", sysprog.Str("/proc/self/exe"), sysprog.Ptr(argv, 0), sysprog.Ptr(c.Strings(nil), 0)).OK(sysprog.AnyErrno)
	c.Do("", "exit_group", sysprog.Int(1))
}

// undo takes away what the program has made, in reverse order. A group whose
// last process has just gone may still be busy for a moment; one that cannot be
// removed is left to left, before anything of the state directory is gone.
func (c *compiler) undo(left *sysprog.Label) {
	c.Fail = nil
	if c.in.StateDir == "" {
		return // an exec makes nothing
	}
	p := c.in.Cgroup
	for i := len(p.Steps) - 1; i >= 0; i-- {
		s := p.Steps[i]
		if s.Kind != cgroup.Mkdir || !s.MustBeNew {
			continue
		}
		c.removeGroup(s.Path, left)
	}
	c.removeState()
}

func (c *compiler) removeState() {
	c.Fail = nil
	if c.replay.PidFile != "" {
		c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(c.pidFileTmp()), sysprog.Int(0)).OK(sysprog.AnyErrno)
	}
	for _, name := range c.stateNames() {
		c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(c.in.StateDir+"/"+name), sysprog.Int(0)).OK(sysprog.AnyErrno)
	}
	c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(c.in.StateDir), sysprog.Int(unix.AT_REMOVEDIR)).OK(sysprog.AnyErrno)
}

func (c *compiler) stateNames() []string {
	names := []string{ProcessFile}
	for _, f := range c.replay.Files {
		names = append(names, f.Name)
	}
	return names
}

// removeGroup removes a control group directory, with three tries 2 ms apart,
// and goes on at not if that fails; nil: with the next op.
func (c *compiler) removeGroup(path string, not *sysprog.Label) {
	gone := c.Label("removed " + path)
	pause := c.Buf(make([]byte, 2*sysprog.WordSize)) // struct timespec
	pause.SetWord(sysprog.WordSize, 2e6)
	for range 2 {
		busy := c.Label("busy " + path)
		c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(unix.AT_REMOVEDIR)).
			On(unix.EBUSY, busy).On(sysprog.AnyErrno, gone).Next(gone)
		c.Here(busy)
		c.Do("", "ppoll", sysprog.Int(0), sysprog.Int(0), sysprog.Ptr(pause, 0), sysprog.Int(0), sysprog.Int(0)).OK(sysprog.AnyErrno)
	}
	c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(unix.AT_REMOVEDIR)).On(unix.ENOENT, gone).On(sysprog.AnyErrno, not)
	c.Here(gone)
}

// returnToGo ends the program so that Go starts with what the caller gave.
func (c *compiler) returnToGo() {
	c.Fail = nil
	if c.oldMask != nil {
		c.Do("", "rt_sigprocmask", sysprog.Int(unix.SIG_SETMASK), sysprog.Ptr(c.oldMask, 0), sysprog.Int(0), sysprog.Int(8)).OK(sysprog.AnyErrno)
	}
	c.Do("", "close_range", sysprog.Int(3), sysprog.Int(uint32(1<<32-1)), sysprog.Int(0)).OK(sysprog.AnyErrno)
	c.Do("", sysprog.Done)
}

// statxBytes is st as the kernel lays it out, as far as it is compared.
func statxBytes(st *unix.Statx_t) []byte {
	b := make([]byte, 144)
	e := binary.NativeEndian
	e.PutUint16(b[28:], st.Mode)
	e.PutUint64(b[32:], st.Ino)
	e.PutUint64(b[40:], st.Size)
	for i, t := range [...]unix.StatxTimestamp{st.Ctime, st.Mtime} {
		e.PutUint64(b[96+16*i:], uint64(t.Sec))
		e.PutUint32(b[104+16*i:], t.Nsec)
	}
	e.PutUint32(b[128:], st.Rdev_major)
	e.PutUint32(b[132:], st.Rdev_minor)
	e.PutUint32(b[136:], st.Dev_major)
	e.PutUint32(b[140:], st.Dev_minor)
	return b
}

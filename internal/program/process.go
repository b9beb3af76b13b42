package program

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// process emits the last part of a start: the process's own settings, the wait
// for `start`, and the execve.
func (c *compiler) process() error {
	p := c.proc()
	caps := c.capSets(p.Capabilities)
	c.stdio()
	c.joinLate()
	c.setLateLimits()
	if err := c.scheduling(); err != nil {
		return err
	}
	c.umask()
	c.makeCwd()
	c.gate(GateStartContainer)
	c.gate(GateListener)
	c.dropFDs()
	if !c.in.inUserNS() { // else they were set before it was entered
		c.limits()
	}
	c.dropBounding(caps)
	c.user()
	c.cwd()
	path := c.findExecutable()
	c.closeFDs()
	if p.NoNewPrivileges {
		// Needs nothing more, so all is dropped before the process waits.
		c.setCaps(caps)
		c.Do("set no_new_privs", "prctl", sysprog.Int(unix.PR_SET_NO_NEW_PRIVS), sysprog.Int(1), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0))
	} else if c.in.Seccomp == nil {
		c.setCaps(caps)
	}
	c.unblock()
	c.gate(GateReady)
	c.waitForStart()
	c.Late = len(c.Ops)
	c.hooks(GateStartContainer)
	if c.in.Seccomp != nil {
		// Without no_new_privs loading a filter takes CAP_SYS_ADMIN, so the
		// capabilities fall after it, and the filter must let them.
		if !p.NoNewPrivileges && p.User.UID != 0 {
			// The change of user has cleared the effective set.
			have := c.available()
			c.capset(capSets{effective: have, permitted: have, inheritable: caps.inheritable})
		}
		c.loadSeccomp()
		if !p.NoNewPrivileges {
			c.setCaps(caps)
		}
	}
	c.execute(path)
	return nil
}

func (c *compiler) stdio() {
	if c.slave != nil {
		c.takeTerminal()
		return
	}
	for n, fd := range c.in.Stdio {
		if fd != n {
			c.Do("set up standard input and output", "dup3", c.stdioFD[n], sysprog.Int(n), sysprog.Int(0))
		}
		if c.in.ChownStdio[n] && c.proc().User.UID != 0 {
			// So that the process can open /dev/stdout again.
			c.Do("", "fchown", sysprog.Int(n), sysprog.Int(c.proc().User.UID), sysprog.Int(-1)).OK(sysprog.AnyErrno)
		}
	}
}

// rlimits are the resources of getrlimit(2), by number.
var rlimits = [...]string{
	"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
	"MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
}

// Rlimit returns the number of a resource: RLIMIT_NOFILE is 7.
func Rlimit(name string) (int, bool) {
	for i, r := range rlimits {
		if name == "RLIMIT_"+r {
			return i, true
		}
	}
	return 0, false
}

func (c *compiler) limits() {
	for _, r := range c.proc().Rlimits {
		n, _ := Rlimit(r.Type)
		b := binary.NativeEndian.AppendUint64(nil, r.Soft)
		b = binary.NativeEndian.AppendUint64(b, r.Hard)
		c.Do("set "+r.Type, "prlimit64", sysprog.Int(0), sysprog.Int(n), sysprog.Ptr(c.Buf(b), 0), sysprog.Int(0))
	}
}

func (c *compiler) umask() {
	mask := 0o022
	if m := c.proc().User.Umask; m != nil {
		mask = int(*m)
	}
	c.Do("set umask", "umask", sysprog.Int(mask))
}

// makeCwd makes the working directory if it is missing, as users of engines
// expect, while the process is still root.
func (c *compiler) makeCwd() {
	cwd := clean(c.proc().Cwd)
	if cwd == "/" || c.root == nil {
		return
	}
	there, missing := c.Label("cwd is there"), c.Label("make cwd")
	fd := c.Slot("cwd")
	c.tryOpen("look for "+cwd, cwd, unix.O_PATH|unix.O_DIRECTORY, 0).To(fd).On(unix.ENOENT, missing).On(sysprog.AnyErrno, there).Next(there)
	c.Here(missing)
	c.makeDirs("make working directory "+cwd, cwd)
	c.Here(there)
}

// cwd goes to the working directory as the process's user, and makes sure that
// it lies inside the root: getcwd(2) says "(unreachable)" of any other place.
func (c *compiler) cwd() {
	cwd := c.proc().Cwd
	c.Do("chdir to cwd (\""+cwd+"\")", "chdir", sysprog.Str(cwd))
	b := c.Buf(make([]byte, 4096))
	c.Do("working directory "+cwd, "getcwd", sysprog.Ptr(b, 0), sysprog.Int(len(b.Data)))
	c.Do("working directory "+cwd+" is outside the container", sysprog.Compare, sysprog.Ptr(b, 0), sysprog.Str("/"), sysprog.Int(1))
}

// user emits the change of groups and ids. The capabilities stay until setCaps.
func (c *compiler) user() {
	u := c.proc().User
	keep := func(v int) {
		c.Do("keep capabilities", "prctl", sysprog.Int(unix.PR_SET_KEEPCAPS), sysprog.Int(v), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0))
	}
	if u.UID != 0 {
		keep(1)
	}
	if !c.in.DenySetgroups {
		groups := c.Buf(nil)
		for _, g := range u.AdditionalGids {
			groups.Data = binary.NativeEndian.AppendUint32(groups.Data, g)
		}
		op := c.Do("set additional groups", "setgroups", sysprog.Int(len(u.AdditionalGids)), sysprog.Ptr(groups, 0))
		if c.in.joins(specs.UserNamespace) && len(u.AdditionalGids) == 0 {
			op.OK(unix.EPERM) // it may be one that cannot set groups
		}
	} else if len(u.AdditionalGids) > 0 {
		c.warn("ignoring process.user.additionalGids: setgroups is denied in a user namespace with one group")
	}
	c.Do(fmt.Sprintf("set group %d", u.GID), "setresgid", sysprog.Int(u.GID), sysprog.Int(u.GID), sysprog.Int(u.GID))
	c.Do(fmt.Sprintf("set user %d", u.UID), "setresuid", sysprog.Int(u.UID), sysprog.Int(u.UID), sysprog.Int(u.UID))
	if u.UID != 0 {
		keep(0)
	}
}

// dropFDs closes what a process that waits for start must not hold: what the
// caller was given, and the host's directories that the start has opened. What
// it still needs moves to the lowest numbers. Without close_range(2) the
// caller's are closed one by one, for every process.
func (c *compiler) dropFDs() {
	if !c.facts.CloseRange {
		for _, fd := range c.in.Inherited {
			c.Do("close descriptor", "close", sysprog.Int(fd)).OK(unix.EBADF)
		}
		return
	}
	if !c.in.Wait {
		return
	}
	keep := []*sysprog.Arg{&c.execFD, &c.startFD}
	if c.replay != nil {
		keep = append(keep, &c.readyFD)
	} else {
		keep = append(keep, &c.gateFD)
	}
	if c.in.HookStateFD >= 0 {
		keep = append(keep, &c.hookFD)
	}
	if c.in.ListenerFD >= 0 {
		keep = append(keep, &c.listenerFD)
	}
	first := 3 + c.in.PreserveFDs
	for _, fd := range keep { // out of the way of the numbers they get
		moved := c.Slot("descriptor")
		c.Do("move descriptor", "fcntl", *fd, sysprog.Int(unix.F_DUPFD_CLOEXEC), sysprog.Int(first+len(keep))).To(moved)
		*fd = sysprog.Val(moved)
	}
	for i, fd := range keep {
		c.Do("move descriptor", "dup3", *fd, sysprog.Int(first+i), sysprog.Int(unix.O_CLOEXEC))
		*fd = sysprog.Int(first + i)
	}
	c.closeRange(first+len(keep), 0)
}

// closeFDs marks every descriptor that the process is not meant to have.
func (c *compiler) closeFDs() {
	if c.facts.CloseRange {
		c.closeRange(3+c.in.PreserveFDs, closeRangeCloexec)
	} // else dropFDs has closed them
}

const closeRangeCloexec = 4 // CLOSE_RANGE_CLOEXEC

func (c *compiler) closeRange(from, flags int) {
	c.Do("close descriptors", "close_range", sysprog.Int(from), sysprog.Int(uint32(1<<32-1)), sysprog.Int(flags))
}

func (c *compiler) unblock() {
	none := c.Buf(make([]byte, 8))
	c.Do("unblock signals", "rt_sigprocmask", sysprog.Int(unix.SIG_SETMASK), sysprog.Ptr(none, 0), sysprog.Int(0), sysprog.Int(8))
}

func (c *compiler) waitForStart() {
	if !c.in.Wait {
		return
	}
	again, gone := c.Label("wait for start"), c.Label("never started")
	b := c.Buf(make([]byte, 1))
	started := c.Label("started")
	c.Here(again)
	c.Do("wait for start", "read", c.execFD, sysprog.Ptr(b, 0), sysprog.Int(1)).
		On(unix.EINTR, again).IfZero(gone).Next(started).Note("start")
	c.Here(gone)
	c.Do("", "exit_group", sysprog.Int(1))
	c.Here(started)
	c.Fail = c.diedLate
}

func (c *compiler) loadSeccomp() {
	f := c.in.Seccomp
	const setModeFilter, newListener = 1, 8
	code := c.Buf(make([]byte, 0, len(f.Prog)*8))
	for _, i := range f.Prog {
		code.Data = binary.NativeEndian.AppendUint16(code.Data, i.Code)
		code.Data = append(code.Data, i.Jt, i.Jf)
		code.Data = binary.NativeEndian.AppendUint32(code.Data, i.K)
	}
	prog := c.Buf(make([]byte, 2*sysprog.WordSize)) // struct sock_fprog
	binary.NativeEndian.PutUint16(prog.Data, uint16(len(f.Prog)))
	prog.SetPtr(sysprog.WordSize, sysprog.Ptr(code, 0))
	flags := f.Flags
	if f.Notify {
		flags |= newListener
	}
	load := c.Do("load seccomp filter", "seccomp", sysprog.Int(setModeFilter), sysprog.Int(flags), sysprog.Ptr(prog, 0))
	if !f.Notify {
		return
	}
	listener := c.Slot("listener")
	load.To(listener)
	c.SeccompState = c.Buf(make([]byte, 64<<10))
	msg, slot := c.rights(sysprog.Ptr(c.SeccompState, 0), 0)
	c.SeccompIov = msg.Target(2 * sysprog.WordSize)
	c.Do("", sysprog.Set, sysprog.Val(listener)).To(slot)
	c.Do("send seccomp listener to "+f.ListenerPath, "sendmsg", c.listenerFD, sysprog.Ptr(msg, 0), sysprog.Int(0))
}

const mayExecute = 1 // X_OK of access(2)

// Executing is what a call that looks for the command, or executes it, says first of what it does.
const Executing = "exec: "

// findExecutable emits the search for the program, so that a missing one is
// an error of `create`. It returns the address of the path. Engines know the
// words of the errors.
func (c *compiler) findExecutable() sysprog.Arg {
	arg := c.proc().Args[0]
	quoted := fmt.Sprintf("%s%q", Executing, arg)
	if !strings.Contains(arg, "/") {
		return c.searchPath(quoted, arg)
	}
	found := c.Label("found executable")
	c.Do(quoted+": stat "+arg, "faccessat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(arg), sysprog.Int(0)).Plain = true
	c.Do(quoted, "faccessat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(arg), sysprog.Int(mayExecute)).Plain = true
	op := c.openPath(quoted, arg, unix.O_PATH|unix.O_DIRECTORY).On(unix.ENOTDIR, found)
	op.Plain = true
	c.Do(quoted+": is a directory", sysprog.Raise, sysprog.Int(unix.EACCES))
	c.Here(found)
	return sysprog.Str(arg)
}

// searchPath emits the search in the directories of $PATH.
func (c *compiler) searchPath(quoted, name string) sysprog.Arg {
	path, why := c.Slot("path"), c.Slot("why")
	found := c.Label("found executable")
	for _, dir := range strings.Split(c.pathVariable(), ":") {
		if dir == "" {
			dir = "."
		}
		candidate := strings.TrimSuffix(dir, "/") + "/" + name
		denied, next := c.Label("denied "+candidate), c.Label("not "+candidate)
		c.Do("", "faccessat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(candidate), sysprog.Int(mayExecute)).On(unix.EACCES, denied).On(sysprog.AnyErrno, next)
		fd := c.Slot("dir")
		c.Do("", sysprog.Set, sysprog.Str(candidate)).To(path)
		c.openPath("", candidate, unix.O_PATH|unix.O_DIRECTORY).To(fd).On(sysprog.AnyErrno, found)
		c.Do("", "close", sysprog.Val(fd))
		c.Here(denied)
		c.Do("", sysprog.Set, sysprog.Int(unix.EACCES)).To(why)
		c.Here(next)
	}
	denied := c.Label("only denied")
	none := c.Buf(make([]byte, sysprog.WordSize))
	c.Do("", sysprog.Compare, sysprog.At(why), sysprog.Ptr(none, 0), sysprog.Int(sysprog.WordSize)).On(unix.EINVAL, denied)
	c.Do(quoted+": executable file not found in $PATH", sysprog.Raise, sysprog.Int(0))
	c.Here(denied)
	c.Do(quoted, sysprog.Raise, sysprog.Int(unix.EACCES))
	c.Here(found)
	return sysprog.Val(path)
}

func (c *compiler) pathVariable() string {
	v := ""
	for _, e := range c.proc().Env {
		if s, ok := strings.CutPrefix(e, "PATH="); ok {
			v = s
		}
	}
	if v == "" {
		return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return v
}

func (c *compiler) execute(path sysprog.Arg) {
	p := c.proc()
	c.Do(fmt.Sprintf("%s%q", Executing, p.Args[0]), "execve", path, sysprog.Ptr(c.Strings(p.Args), 0), sysprog.Ptr(c.Strings(Environ(p.Env)), 0)).
		Note("the process")
}

// Environ returns env with the last of equal names kept, in order.
func Environ(env []string) []string {
	last := make(map[string]int, len(env))
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		last[name] = i
	}
	var out []string
	for i, e := range env {
		if name, _, _ := strings.Cut(e, "="); last[name] == i {
			out = append(out, e)
		}
	}
	return out
}

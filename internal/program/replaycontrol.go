package program

import (
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// ReplayControl is what the stored programs of start and delete depend on.
type ReplayControl struct {
	Replay
	StateDir string
	Dirs     []string // control group directories, innermost first
	Names    []string // files of the state directory
	Plain    string   // a file that only containers have for which this program fits
}

func newControl(r *ReplayControl) (c *compiler, giveUp *sysprog.Label) {
	c = &compiler{Program: &Program{List: &sysprog.List{}}, replay: &r.Replay, hows: map[howKey]*sysprog.Buf{}}
	giveUp = c.Label("give up")
	c.Fail = giveUp
	c.checks(&r.Replay, giveUp)
	c.openState(r.Plain, unix.O_PATH)
	return c, giveUp
}

func (c *compiler) openState(name string, flags int) *sysprog.Slot {
	fd := c.Slot(name)
	c.openPath("", name, flags).To(fd)
	return fd
}

// CompileReplayStart compiles `start` of a created container: a byte into its
// fifo, then wait until its process has executed its program.
func CompileReplayStart(r *ReplayControl) *sysprog.List {
	c, giveUp := newControl(r)
	dir := c.openState(r.StateDir, unix.O_RDONLY|unix.O_DIRECTORY)
	c.Do("", "flock", sysprog.Val(dir), sysprog.Int(unix.LOCK_EX))
	result := c.openState(r.StateDir+"/"+StartFifo, unix.O_RDONLY|unix.O_NONBLOCK)
	fifo := c.openState(r.StateDir+"/"+ExecFifo, unix.O_WRONLY|unix.O_NONBLOCK)
	c.Do("", "write", sysprog.Val(fifo), sysprog.Str("y"), sysprog.Int(1))
	c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(r.StateDir+"/"+ExecFifo), sysprog.Int(0))
	// Blocking again: the read ends with the execve, or brings a failure.
	c.Do("", "fcntl", sysprog.Val(result), sysprog.Int(unix.F_SETFL), sysprog.Int(0))
	b := c.Buf(make([]byte, 2*sysprog.WordSize))
	again, started := c.Label("wait"), c.Label("started")
	c.Here(again)
	c.Do("", "read", sysprog.Val(result), sysprog.Ptr(b, 0), sysprog.Int(len(b.Data))).On(unix.EINTR, again).IfZero(started)
	out := c.Slot("out")
	c.Do("", "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(r.StateDir+"/"+FailureFile), sysprog.Int(unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC), sysprog.Int(0o600)).To(out)
	c.Do("", "write", sysprog.Val(out), sysprog.Ptr(b, 0), sysprog.Int(len(b.Data)))
	c.Jump(giveUp) // Go finds the file and says it in words
	c.Here(started)
	c.drop()
	c.Do("", "exit_group", sysprog.Int(0))
	c.Here(giveUp)
	c.returnToGo()
	return c.List
}

// FailureFile is where a stored start leaves what StartFifo told, for Go.
const FailureFile = "start.failed"

// CompileReplayDelete compiles `delete` of a stopped container. The kept pidfd
// tells that it is one.
func CompileReplayDelete(r *ReplayControl) *sysprog.List {
	c, giveUp := newControl(r)
	dir := c.openState(r.StateDir, unix.O_RDONLY|unix.O_DIRECTORY)
	c.Do("", "flock", sysprog.Val(dir), sysprog.Int(unix.LOCK_EX))
	c.Do("", "faccessat", sysprog.Val(dir), sysprog.Str(r.Plain[len(r.StateDir)+1:]), sysprog.Int(0)) // another delete may have been faster
	pidfd := c.openState(r.StateDir+"/"+PidfdFile, unix.O_RDONLY)
	// Under a number known here, for a struct pollfd that needs no writing.
	const number = 200
	c.Do("", "dup3", sysprog.Val(pidfd), sysprog.Int(number), sysprog.Int(unix.O_CLOEXEC))
	c.exited(number, giveUp)
	c.Fail = nil
	for _, dir := range r.Dirs {
		c.removeGroup(dir, giveUp)
	}
	c.Do("", "umount2", sysprog.Str(r.StateDir+"/"+PidfdFile), sysprog.Int(unix.MNT_DETACH)).OK(sysprog.AnyErrno)
	for _, name := range append([]string{PidfdFile}, r.Names...) {
		c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(r.StateDir+"/"+name), sysprog.Int(0)).OK(sysprog.AnyErrno)
	}
	c.Do("", "unlinkat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(r.StateDir), sysprog.Int(unix.AT_REMOVEDIR)).On(sysprog.AnyErrno, giveUp)
	c.drop()
	c.Do("", "exit_group", sysprog.Int(0))
	c.Here(giveUp)
	c.returnToGo()
	return c.List
}

// exited goes on if the process of pidfd number n has ended, and to no if not.
func (c *compiler) exited(n int, no *sysprog.Label) {
	polls := c.Buf([]byte{byte(n), 0, 0, 0, unix.POLLIN, 0, 0, 0})
	c.Do("", "ppoll", sysprog.Ptr(polls, 0), sysprog.Int(1), sysprog.Ptr(c.Buf(make([]byte, 16)), 0), sysprog.Int(0), sysprog.Int(0)).IfZero(no)
}

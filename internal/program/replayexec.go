package program

import (
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// ReplayExec is what a stored exec depends on beside its ExecInput.
type ReplayExec struct {
	Replay
	StateDir string
}

// CompileReplayExec compiles an exec into a program to be stored. It is for
// one life of one container: Watches must hold a file of its state directory.
func CompileReplayExec(in *ExecInput, r *ReplayExec) (*Program, error) {
	c, err := compileExec(in, r)
	if err != nil {
		return nil, err
	}
	return c.Program, nil
}

// execReplayBegin emits the checks, and the opening of the container's pidfd.
func (c *compiler) execReplayBegin() (giveUp *sysprog.Label) {
	r := c.execReplay
	giveUp = c.Label("give up")
	c.blockSignals()
	c.Fail = giveUp
	c.checks(&r.Replay, giveUp)
	c.initFD = c.openState(r.StateDir+"/"+PidfdFile, unix.O_RDONLY)
	c.undumpable()
	dfl := c.Buf(make([]byte, 32))
	c.Do("", "rt_sigaction", sysprog.Int(unix.SIGCHLD), sysprog.Ptr(dfl, 0), sysprog.Int(0), sysprog.Int(8))
	return giveUp
}

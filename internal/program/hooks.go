package program

import (
	"encoding/binary"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// Hooks lists the kinds of hooks that are run.
func Hooks() []string {
	return []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}
}

// hooks emits the hooks that run inside the container, as children of the
// process. At the gate the parent puts the state they read into HookStateFD.
func (c *compiler) hooks(g Gate) {
	if c.spec.Hooks == nil {
		return
	}
	list, kind := c.spec.Hooks.CreateContainer, "createContainer"
	if g == GateStartContainer {
		list, kind = c.spec.Hooks.StartContainer, "startContainer"
	}
	for i := range list {
		c.hook(kind, &list[i])
	}
}

func (c *compiler) hook(kind string, h *specs.Hook) {
	what := kind + " hook " + h.Path
	pid, status, code := c.Slot("pid"), c.Slot("status"), c.Slot("code")
	run, timeout, again, fine := c.Label(what), c.Label(what+" timed out"), c.Label("wait for "+what), c.Label("done "+what)
	c.Do(what, "lseek", c.hookFD, sysprog.Int(0), sysprog.Int(0)).Note(what)
	c.Do(what, "clone", sysprog.Int(unix.SIGCHLD)).To(pid).IfZero(run)
	if h.Timeout != nil {
		// All signals are blocked, so the end of the hook waits to be taken.
		chld := c.Buf(binary.NativeEndian.AppendUint64(nil, 1<<(unix.SIGCHLD-1)))
		limit := c.Buf(make([]byte, 2*sysprog.WordSize))
		limit.SetWord(0, uintptr(*h.Timeout))
		c.Do(what+": wait", "rt_sigtimedwait", sysprog.Ptr(chld, 0), sysprog.Int(0), sysprog.Ptr(limit, 0), sysprog.Int(8)).On(unix.EAGAIN, timeout)
	}
	c.Here(again)
	c.Do(what, "wait4", sysprog.Val(pid), sysprog.At(status), sysprog.Int(0), sysprog.Int(0)).On(unix.EINTR, again)
	c.Do("", sysprog.Status, sysprog.Val(status)).To(code).IfZero(fine)
	c.Do(what+": exit status is not 0", sysprog.Raise, sysprog.Int(0))
	c.Here(timeout)
	c.Do(what, "kill", sysprog.Val(pid), sysprog.Int(unix.SIGKILL))
	c.Do(what, "wait4", sysprog.Val(pid), sysprog.At(status), sysprog.Int(0), sysprog.Int(0))
	c.Do(what, sysprog.Raise, sysprog.Int(unix.ETIMEDOUT))
	c.Here(run)
	failed, outer := c.Label(what+" not run"), c.Fail
	c.Fail = failed
	none := c.Buf(make([]byte, 8))
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	c.Do(what, "dup3", c.hookFD, sysprog.Int(0), sysprog.Int(0))
	c.Do(what, "rt_sigprocmask", sysprog.Int(unix.SIG_SETMASK), sysprog.Ptr(none, 0), sysprog.Int(0), sysprog.Int(8))
	c.Do(what, "execve", sysprog.Str(h.Path), sysprog.Ptr(c.Strings(args), 0), sysprog.Ptr(c.Strings(h.Env), 0))
	c.Here(failed)
	c.Fail = nil
	c.Do("", "exit_group", sysprog.Int(127))
	c.Fail = outer
	c.Here(fine)
}

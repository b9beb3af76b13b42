package keeper

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// engine is the process that we keep running.
type engine struct {
	pid       int // 0: none
	sock      int // our end of its socket; -1: none, or it broke the rules
	since     time.Time
	connected bool
	overdue   bool // it had to connect, and was killed
}

// start starts an engine: the one on trial if there is one.
func (k *keeper) start(now time.Time) {
	pid, sock, err := k.spawn()
	if err != nil {
		k.log("start the engine: %v", err)
		k.trialFailed()
		k.backOff(now, 0)
		return
	}
	k.engine = engine{pid: pid, sock: sock, since: now}
	k.exits.sent = 0
}

func (k *keeper) spawn() (pid, sock int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, -1, fmt.Errorf("make socket pair: %w", err)
	}
	defer unix.Close(pair[1])
	if err := unix.SetNonblock(pair[0], true); err != nil {
		_ = unix.Close(pair[0])
		return 0, -1, fmt.Errorf("make socket pair: %w", err)
	}
	p, file := k.program, k.o.Program
	if k.next.fd >= 0 {
		k.trial, p = true, k.next
	}
	switch {
	case p.fd >= 0:
		file = p.file()
	case file == "":
		file = "/proc/self/exe"
	}
	// Nobody else forks here, so only the engine gets it.
	if err := setCloseOnExec(pair[1:], false); err != nil {
		_ = unix.Close(pair[0])
		return 0, -1, err
	}
	_ = os.WriteFile(oomFile, k.own, 0)
	pid, err = syscall.ForkExec(file, p.argv(k.o.Args), &syscall.ProcAttr{
		Env:   append(without(k.o.Env, Env, envState, envCheck), Env+"="+strconv.Itoa(pair[1])),
		Files: []uintptr{0, 1, 2},
		// A terminal's signals come to us, and we pass them on once.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	_ = os.WriteFile(oomFile, oomNever, 0)
	if err != nil {
		_ = unix.Close(pair[0])
		return 0, -1, fmt.Errorf("execute %s: %w", file, err)
	}
	return pid, pair[0], nil
}

// without is an environment without the variables of these names.
func without(env []string, names ...string) (list []string) {
next:
	for _, v := range env {
		for _, name := range names {
			if strings.HasPrefix(v, name+"=") {
				continue next
			}
		}
		list = append(list, v)
	}
	return list
}

// engineEnded decides what follows the end of the engine, which has been reaped.
func (k *keeper) engineEnded(ws unix.WaitStatus, now time.Time) (done bool, status int) {
	k.serve() // what it said last
	was := k.engine
	k.hangUp()
	k.engine = engine{sock: -1}
	upgrade := k.next.fd >= 0 && !k.trial
	switch {
	case k.ending:
		return true, exitStatus(ws)
	case upgrade:
		k.pause, k.due = 0, now
		return false, 0
	case ws.Exited() && ws.ExitStatus() == 0 && !k.trial:
		return true, 0
	}
	life := now.Sub(was.since)
	k.backOff(now, life)
	k.log("the engine (%d) %s after %v; starting it again in %v", was.pid, howEnded(ws), life.Round(time.Millisecond), k.pause)
	k.trialFailed()
	return false, 0
}

// trialFailed goes back to the program that was before an upgrade.
func (k *keeper) trialFailed() {
	if !k.trial {
		return
	}
	k.log("the new program has not connected; going on with the old one")
	k.next.close()
	k.next, k.trial = noProgram, false
}

// backOff sets when the engine is started again.
func (k *keeper) backOff(now time.Time, life time.Duration) {
	if life >= goodLife {
		k.pause = 0
	}
	k.pause = min(max(2*k.pause, k.o.pause), k.o.longest)
	k.due = now.Add(k.pause)
}

func (k *keeper) hangUp() {
	closeAll([]int{k.engine.sock})
	k.engine.sock = -1
}

// howEnded says it in words.
func howEnded(ws unix.WaitStatus) string {
	if !ws.Signaled() {
		return fmt.Sprintf("ended with status %d", ws.ExitStatus())
	}
	return fmt.Sprintf("was killed by signal %d (%v)", int(ws.Signal()), ws.Signal())
}

// exitStatus is what a shell would call it.
func exitStatus(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

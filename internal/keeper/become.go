package keeper

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A keeper becomes a new version of itself by execve: the process stays the
// parent of its children, descriptors stay open, and what it knows goes through
// a file in memory. Before, the new program has to show, in a child, that it
// understands that file: after the execve there is no way back.
//
// A SIGTERM around the execve may end the new program, as it does any in its
// first milliseconds, or be lost.

const (
	envState  = "TARE_KEEPER_STATE" // descriptor of the state that is to be taken over
	envCheck  = "TARE_KEEPER_CHECK" // the same, only to be looked at
	checkedOK = 93                  // how a program ends that has understood it
	// checkPatience is what a program has for that; it takes milliseconds.
	checkPatience = 5 * time.Second
)

// Replaces tells whether Run takes the place of a keeper, or looks whether it could: it is not the first in its.
func Replaces() bool { return os.Getenv(envState) != "" || os.Getenv(envCheck) != "" }

// become executes the engine's program in our place. It returns when that is
// not possible; then we go on as we were.
func (k *keeper) become() {
	if err := k.execute(); err != nil {
		k.log("the keeper itself stays what it was: %v", err)
	}
}

func (k *keeper) execute() error {
	s := &state{engine: k.engine, pause: k.pause, ending: k.ending, exits: k.exits, held: k.held}
	fd, err := writeState(s)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := k.check(fd); err != nil {
		return err
	}
	fds := append(s.descriptors(), fd)
	err = setCloseOnExec(fds, false)
	if err == nil {
		env := append(without(os.Environ(), Env, envState, envCheck), envState+"="+strconv.Itoa(fd))
		_ = os.WriteFile(oomFile, k.own, 0) // what it finds is the engine's
		err = syscall.Exec(k.program.file(), k.program.argv(k.o.Self), env)
		_ = os.WriteFile(oomFile, oomNever, 0)
	}
	_ = setCloseOnExec(fds, true)
	return fmt.Errorf("execute the new program: %w", err)
}

// writeState puts s into a file in memory.
func writeState(s *state) (fd int, err error) {
	fd, err = unix.MemfdCreate("keeper", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make a file in memory: %w", err)
	}
	for b, n := appendState(nil, s), 0; len(b) > 0; b = b[n:] {
		if n, err = unix.Write(fd, b); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("write state: %w", err)
		}
	}
	return fd, nil
}

// check runs the new program, which has to say that it understands the state.
func (k *keeper) check(fd int) error {
	if err := setCloseOnExec([]int{fd}, false); err != nil {
		return err
	}
	pid, err := syscall.ForkExec(k.program.file(), k.program.argv(k.o.Self), &syscall.ProcAttr{
		Env:   append(without(os.Environ(), Env, envState, envCheck), envCheck+"="+strconv.Itoa(fd)),
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return fmt.Errorf("execute the new program: %w", err)
	}
	var ws unix.WaitStatus
	for end := time.Now().Add(checkPatience); ; time.Sleep(time.Millisecond) {
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		if got == pid {
			break
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the new program: %w", err)
		}
		if time.Now().After(end) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	if !ws.Exited() || ws.ExitStatus() != checkedOK {
		return fmt.Errorf("the new program does not understand our state: it %s", howEnded(ws))
	}
	return nil
}

// readState reads the state from the descriptor that an environment variable names.
func readState(text string) (s *state, fd int, err error) {
	fd, err = strconv.Atoi(text)
	if err != nil || fd <= 2 {
		return nil, -1, fmt.Errorf("%q: not a descriptor", text)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fd, fmt.Errorf("read state: %w", err)
	}
	const most = 2 << 20 // maxHeld names and maxExits exits take less
	if st.Size > most {
		return nil, fd, fmt.Errorf("read state: %d bytes are more than %d", st.Size, most)
	}
	b := make([]byte, st.Size)
	if n, err := unix.Pread(fd, b, 0); err != nil || n < len(b) {
		return nil, fd, fmt.Errorf("read state: %d of %d bytes: %w", n, len(b), errors.Join(errState, err))
	}
	s, err = parseState(b)
	return s, fd, err
}

// checkState is the whole of a keeper that is only to look at a state.
func checkState(text string) (status int, err error) {
	if _, _, err := readState(text); err != nil {
		return 1, fmt.Errorf("keeper: %w", err)
	}
	return checkedOK, nil
}

// resume takes over from the keeper that we were before.
func (k *keeper) resume(text string) error {
	s, fd, err := readState(text)
	if err != nil {
		return err
	}
	if err := setCloseOnExec(append(s.descriptors(), fd), true); err != nil {
		return err
	}
	_ = unix.Close(fd)
	k.engine, k.pause, k.ending, k.exits, k.held = s.engine, s.pause, s.ending, s.exits, s.held
	k.log("a new program keeps the engine (%d) now", k.engine.pid)
	return nil
}

package network

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// within runs f on a thread that is in a network namespace; nil is the one of the process. What f
// opens stays in that namespace: sockets, and files below /proc/sys/net.
func within(netns *os.File, f func() error) error {
	if netns == nil {
		return f()
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := enter(netns)
		if err != nil {
			result <- err
			return // what the thread is in now is unknown: it ends with the goroutine that keeps its lock
		}
		err = f()
		// A thread that cannot go back would be a trap for whoever runs on it next, so it keeps its
		// lock; one that can is not thrown away: it may be the first thread, which never ends and
		// would hold the namespace for good.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		_ = home.Close()
		result <- err
	}()
	return <-result
}

// NewNamespace makes a network namespace with nothing but a loopback that is down. It is there as long as
// the file, a process or an interface's other end is.
func NewNamespace() (*os.File, error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	var made *os.File
	err = within(home, func() error { // a thread that goes back to where it was
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		var err error
		made, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return made, err
}

// enter moves the calling thread into a namespace and returns the one it was in.
func enter(netns *os.File) (home *os.File, err error) {
	home, err = os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	raw, err := netns.SyscallConn()
	if err == nil {
		control := raw.Control(func(fd uintptr) { err = unix.Setns(int(fd), unix.CLONE_NEWNET) })
		if control != nil {
			err = control
		}
	}
	if err != nil {
		_ = home.Close()
		return nil, fmt.Errorf("enter network namespace: %w", err)
	}
	return home, nil
}

// dialIn opens a netlink socket in a namespace.
func dialIn(netns *os.File, protocol int) (s *socket, err error) {
	err = within(netns, func() (err error) {
		s, err = dial(protocol)
		return err
	})
	return s, err
}

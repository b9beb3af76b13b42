package engine

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

type networks struct{ e *Engine }

func openNetworks(e *Engine) (*networks, error) { return &networks{e}, nil }
func (n *networks) close() error                { return nil }
func (n *networks) check(*Record) error         { return nil }
func (n *networks) detach(*Container)           {}
func (n *networks) rename(*Container)           {}
func (n *networks) release(*Container) error    { return nil }

func (n *networks) attach(c *Container) (path string, done func(), err error) {
	h := c.View().Host
	if h.NetworkMode.IsHost() {
		return "", func() {}, nil
	}
	if of := h.NetworkMode.ConnectedContainer(); of != "" {
		pid, err := n.e.runningPid(of)
		return fmt.Sprintf("/proc/%d/ns/net", pid), func() {}, err
	}
	f, err := newNetns()
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), func() { f.Close() }, nil
}

// newNetns makes a network namespace. Its thread is thrown away: the scheduler must not use it again.
func newNetns() (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{nil, fmt.Errorf("make network namespace: %w", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- result{f, err}
	}()
	r := <-made
	return r.f, r.err
}

func (n *networks) hostGateway(View) string         { return "" }
func (n *networks) servers(*Container) []netip.Addr { return nil }

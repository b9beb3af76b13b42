package runtimecli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A service of type notify tells systemd that it is ready by a message to the
// socket NOTIFY_SOCKET (sd_notify(3)). systemd heeds only messages from the
// service's own processes, and those of a container are in another control group.
// So the container gets a socket of ours, and we pass on that it is ready,
// together with the process id to watch from then on.
const (
	notifyDir    = "/run/notify" // in the container
	notifySocket = "notify.sock"
)

// notifier is the socket of one container, and where its message goes.
type notifier struct {
	dir  string // on the host, bound to notifyDir in the container
	host string // systemd's socket; a leading @ stands for the abstract name space
	fd   int    // -1 until listen
}

// newNotifier is nil when nobody waits for the container to be ready.
func (s *session) newNotifier(id string) (*notifier, error) {
	host := s.getenv("NOTIFY_SOCKET")
	if host == "" {
		return nil, nil
	}
	root, err := s.rootDir()
	if err != nil {
		return nil, err
	}
	return &notifier{dir: notifyPath(root, id), host: host, fd: -1}, nil
}

// notifyPath is beside the container's own directory, under a name that no
// container can have.
func notifyPath(root, id string) string { return filepath.Join(root, id+":notify") }

// prepare makes the directory of the socket. It is a directory that the container
// gets, for the socket is bound when it is started, which may be another call of ours.
func (n *notifier) prepare() error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return fmt.Errorf("prepare NOTIFY_SOCKET: %w", err)
	}
	return nil
}

// remove takes away the directory with the socket in it.
func (n *notifier) remove() error { return removeNotify(n.dir) }

func removeNotify(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove NOTIFY_SOCKET: %w", err)
	}
	return nil
}

// edit gives the container the directory of the socket and the variable.
func (n *notifier) edit(spec *specs.Spec) {
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: notifyDir,
		Type:        "bind",
		Source:      n.dir,
		Options:     []string{"bind", "ro", "nosuid", "noexec", "nodev"},
	})
	if spec.Process != nil {
		spec.Process.Env = append(spec.Process.Env, "NOTIFY_SOCKET="+notifyDir+"/"+notifySocket)
	}
}

// listen binds the socket. Any user of the container may write to it.
func (n *notifier) listen() error {
	path := filepath.Join(n.dir, notifySocket)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("prepare NOTIFY_SOCKET: %w", err)
	}
	dir, err := unix.Open(n.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(fd) // nothing was done with it
		return fmt.Errorf("prepare NOTIFY_SOCKET: open %s: %w", n.dir, err)
	}
	defer unix.Close(dir)
	// By way of the descriptor, for a container's name may be longer than a socket's.
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, notifySocket)})
	if err == nil {
		err = unix.Fchmodat(dir, notifySocket, 0o777, 0)
	}
	if err != nil {
		_ = unix.Close(fd) // nothing came in yet
		return fmt.Errorf("prepare NOTIFY_SOCKET: bind %s: %w", path, err)
	}
	n.fd = fd
	return nil
}

func (n *notifier) close() {
	if n.fd >= 0 {
		_ = unix.Close(n.fd) // a reader loses nothing
		n.fd = -1
	}
}

// forward waits until the container, whose first process has the pid, says that it
// is ready, or has ended. It tells systemd, who from then on watches the process main.
func (n *notifier) forward(pid, main int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait until ready: pidfd_open %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	buf := make([]byte, 4096)
	for {
		fds := []unix.PollFd{{Fd: int32(n.fd), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait until ready: %w", err)
		}
		if fds[0].Revents == 0 && fds[1].Revents != 0 {
			return nil // ended, and its messages are read
		}
		if fds[0].Revents == 0 {
			continue
		}
		size, err := unix.Read(n.fd, buf)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait until ready: %w", err)
		}
		if size > 0 && saysReady(string(buf[:size])) {
			return n.tell(main)
		}
	}
}

// saysReady looks through the lines of one message.
func saysReady(message string) bool {
	for line := range strings.Lines(message) {
		if strings.TrimSuffix(line, "\n") == "READY=1" {
			return true
		}
	}
	return false
}

// tell hands the message on, and then waits for systemd to have dealt with it:
// our own end, which may follow at once, must not be the first thing it learns.
func (n *notifier) tell(main int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("tell NOTIFY_SOCKET: %w", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrUnix{Name: n.host}
	message := "MAINPID=" + strconv.Itoa(main) + "\nREADY=1\n"
	if err := unix.Sendto(fd, []byte(message), unix.MSG_NOSIGNAL, to); err != nil {
		return fmt.Errorf("tell NOTIFY_SOCKET %s: %w", n.host, err)
	}
	return barrier(fd, to, 30*time.Second)
}

// barrier sends one end of a pipe, which systemd closes when it gets to it
// (sd_notify_barrier(3), since systemd 246). An older one keeps it a while: then
// the wait ends with the time.
func barrier(fd int, to unix.Sockaddr, patience time.Duration) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("tell NOTIFY_SOCKET: %w", err)
	}
	defer unix.Close(pipe[0])
	err := unix.Sendmsg(fd, []byte("BARRIER=1"), unix.UnixRights(pipe[1]), to, unix.MSG_NOSIGNAL)
	_ = unix.Close(pipe[1]) // the copy that counts is on its way
	if err != nil {
		return fmt.Errorf("tell NOTIFY_SOCKET: %w", err)
	}
	return pollFor(pipe[0], 0, int(patience.Milliseconds()))
}

package console

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Dial connects to the AF_UNIX stream socket at path. Paths too long for a
// sockaddr_un (108 bytes) are reached through /proc/self/fd.
func Dial(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	if err := connect(fd, path); err != nil {
		_ = unix.Close(fd) // the connect's error is the one to tell
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func connect(fd int, path string) error {
	if len(path) < len(unix.RawSockaddrUnix{}.Path) {
		return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", at)})
}

// Send passes the file through the connected AF_UNIX socket, with its name as the
// message (the receiver of a console wants at least one byte with it).
func Send(socket, file *os.File) error {
	rights := unix.UnixRights(int(file.Fd()))
	name := file.Name()
	if name == "" {
		name = "fd"
	}
	for {
		err := unix.Sendmsg(int(socket.Fd()), []byte(name), rights, nil, unix.MSG_NOSIGNAL)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("send %s to %s: %w", name, socket.Name(), err)
		default:
			return nil
		}
	}
}

// Receive takes one file from the connected AF_UNIX socket. Its name is the
// message that came with it. A message with no or several descriptors is an error,
// and none of them stays open then.
func Receive(socket *os.File) (*os.File, error) {
	name := make([]byte, 4096)
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, flags, err := recvmsg(int(socket.Fd()), name, oob)
	if err != nil {
		return nil, fmt.Errorf("receive from %s: %w", socket.Name(), err)
	}
	fds, err := descriptors(oob[:oobn])
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = errors.New("control message cut short")
	}
	if err == nil && len(fds) != 1 {
		err = fmt.Errorf("want one descriptor, got %d", len(fds))
	}
	if err != nil {
		for _, fd := range fds {
			_ = unix.Close(fd) // not wanted, nothing written to it
		}
		return nil, fmt.Errorf("receive from %s: %w", socket.Name(), err)
	}
	return os.NewFile(uintptr(fds[0]), string(name[:n])), nil
}

func recvmsg(fd int, p, oob []byte) (n, oobn, flags int, err error) {
	for {
		n, oobn, flags, _, err = unix.Recvmsg(fd, p, oob, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			return n, oobn, flags, err
		}
	}
}

func descriptors(oob []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		more, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, err
		}
		fds = append(fds, more...)
	}
	return fds, nil
}

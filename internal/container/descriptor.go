package container

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// receiveFD takes one descriptor from an AF_UNIX socket.
func receiveFD(sock int) (*os.File, error) {
	body, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, cn, _, _, err := unix.Recvmsg(sock, body, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, err
		}
		if len(fds) == 1 {
			return os.NewFile(uintptr(fds[0]), string(body[:n])), nil
		}
	}
	return nil, errors.New("no descriptor in the message")
}

// sendPidfd sends a pidfd of pid to a listening AF_UNIX socket.
func sendPidfd(path string, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open pidfd: %w", err)
	}
	defer unix.Close(fd)
	var p pipes
	defer p.closeAll()
	sock, err := p.connect("pidfd socket", path)
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(sock, []byte("pidfd"), unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("send pidfd to %s: %w", path, err)
	}
	return nil
}

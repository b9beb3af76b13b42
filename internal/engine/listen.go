package engine

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// Listen listens at a path. The keeper holds the socket, so that clients who come while no engine is
// there wait for the next one.
func (e *Engine) Listen(path string) (net.Listener, error) {
	name := "listen:" + path
	files, err := e.keep.Get(name)
	if err == nil {
		defer files[0].Close()
		if _, err := os.Stat(path); err == nil {
			return net.FileListener(files[0])
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, errors.New("another engine serves there")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	defer f.Close()
	return l, errors.Join(os.Chmod(path, 0o660), e.keep.Put(name, f))
}

// ListenTCP listens at HOST:PORT, with the socket held by the keeper, too. Who asks there must prove who he is: see
// the caller.
func (e *Engine) ListenTCP(address string) (net.Listener, error) {
	name := "listen:tcp:" + address
	files, err := e.keep.Get(name)
	if err == nil {
		defer files[0].Close()
		return net.FileListener(files[0])
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return l, nil
	}
	f, err := tcp.File()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	defer f.Close()
	return l, e.keep.Put(name, f)
}

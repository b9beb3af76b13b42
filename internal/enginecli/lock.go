package enginecli

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFolders makes the folders, and holds them until unlock is called, also after an error, or the process ends: two
// engines would start, stop and forget each other's containers.
func lockFolders(dirs ...string) (unlock func(), err error) {
	var held []*os.File
	unlock = func() {
		for _, f := range held {
			f.Close()
		}
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return unlock, err
		}
		f, err := os.Open(dir)
		if err != nil {
			return unlock, err
		}
		held = append(held, f)
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another daemon is at work there")
		}
		if err != nil {
			return unlock, fmt.Errorf("%s: %w", dir, err)
		}
	}
	return unlock, nil
}

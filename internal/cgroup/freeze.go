package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// freezeTime is how long processes may take to stop. A process in an
// uninterruptible sleep, as on a dead NFS server, does not stop at all.
const freezeTime = 10 * time.Second

// ErrNoFreezer says that the group cannot be frozen on this machine.
var ErrNoFreezer = errors.New("no cgroup freezer (v1 controller freezer, or Linux 5.2 on v2)")

// Freeze stops all processes of the group and returns when they have stopped.
// When they do not within ten seconds they go on and it fails.
func (g Group) Freeze() error {
	dir, v1, err := g.freezer()
	if err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	if v1 {
		err = freezeV1(dir)
	} else {
		err = freezeV2(dir)
	}
	if err != nil {
		// A half-frozen group can be neither used nor killed.
		_ = thaw(dir, v1)
		return fmt.Errorf("freeze %s: %w", dir, err)
	}
	return nil
}

// Thaw lets the processes of the group go on.
func (g Group) Thaw() error {
	dir, v1, err := g.freezer()
	if err == nil {
		err = thaw(dir, v1)
	}
	if err != nil {
		return fmt.Errorf("thaw: %w", err)
	}
	return nil
}

// Frozen reports whether the group is frozen, or is going to be. It is false for
// a group that cannot be frozen.
func (g Group) Frozen() (bool, error) {
	path, err := g.FrozenFile()
	if path == "" {
		return false, err
	}
	return readString(filepath.Dir(path), filepath.Base(path)) == "1", nil
}

// FrozenFile is the file that holds "1" while the group is frozen, or going to
// be; "" for a group that cannot be frozen.
func (g Group) FrozenFile() (string, error) {
	dir, v1, err := g.freezer()
	switch {
	case errors.Is(err, ErrNoFreezer):
		return "", nil
	case err != nil:
		return "", err
	case v1:
		// A group below a frozen one is FROZEN too, but cannot be thawed itself.
		// freezer.self_freezing tells them apart (Linux 3.8).
		return filepath.Join(dir, "freezer.self_freezing"), nil
	}
	return filepath.Join(dir, "cgroup.freeze"), nil
}

// freezer is the directory whose files freeze the group.
func (g Group) freezer() (dir string, v1 bool, err error) {
	if len(g.Paths) == 0 {
		return "", false, ErrNoGroup
	}
	if dir, ok := g.Paths["freezer"]; ok {
		return dir, true, nil
	}
	if dir := g.v2(); dir != "" && exists(filepath.Join(dir, "cgroup.freeze")) {
		return dir, false, nil
	}
	return "", false, ErrNoFreezer
}

func thaw(dir string, v1 bool) error {
	if v1 {
		return writeFile(filepath.Join(dir, "freezer.state"), "THAWED")
	}
	return writeFile(filepath.Join(dir, "cgroup.freeze"), "0")
}

func freezeV2(dir string) error {
	if err := writeFile(filepath.Join(dir, "cgroup.freeze"), "1"); err != nil {
		return err
	}
	return wait(freezeTime, func(int) (bool, error) {
		events, err := readKeyed(dir, "cgroup.events")
		return events["frozen"] == 1, err
	})
}

// freezeV1 writes FROZEN until it holds. The v1 freezer can miss a process that
// forks meanwhile and stay in FREEZING; writing again looks at the new ones, and
// a thaw now and then gets those out that wait for each other.
func freezeV1(dir string) error {
	state := filepath.Join(dir, "freezer.state")
	return wait(freezeTime, func(try int) (bool, error) {
		if try%50 == 49 {
			if err := thaw(dir, true); err != nil {
				return false, err
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := writeFile(state, "FROZEN"); err != nil {
			return false, err
		}
		return readString(dir, "freezer.state") == "FROZEN", nil
	})
}

// wait calls done, at growing intervals, until it is or the time is over.
func wait(limit time.Duration, done func(try int) (bool, error)) error {
	end := time.Now().Add(limit)
	pause := 50 * time.Microsecond
	for try := 0; ; try++ {
		ok, err := done(try)
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not done after %s: %w", limit, unix.ETIMEDOUT)
		}
		time.Sleep(pause)
		pause = min(2*pause, 10*time.Millisecond)
	}
}

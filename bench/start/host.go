package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/bench/measure"
)

// fifoPriority preempts ordinary load and stays below the kernel's own
// real-time threads that matter (migration, watchdog).
const fifoPriority = 50

// arrangeHost makes the private mount namespace fit for every runtime measured
// and puts an empty memory file system at dir for what the bench writes.
func arrangeHost(dir string, fifo bool) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=711"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	if err := measure.HideUnifiedControllers(dir); err != nil {
		return err
	}
	// What tare remembers between starts shall be this run's only.
	if err := os.MkdirAll("/run/tare", 0o711); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run/tare", "tmpfs", 0, "mode=711"); err != nil {
		return fmt.Errorf("mount tmpfs on /run/tare: %w", err)
	}
	if !fifo {
		return nil
	}
	if err := unix.Unmount("/sys/fs/cgroup/cpu", unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("hide the cpu hierarchy: %w", err)
	}
	return nil
}

// realTime gives the calling thread, and what it forks, real-time scheduling.
func realTime() error {
	attr := unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   unix.SCHED_FIFO,
		Priority: fifoPriority,
	}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("set SCHED_FIFO (allowed here? try without -fifo): %w", err)
	}
	return nil
}

// groups is what a runtime gave a container of control groups, observed from
// outside while the container runs.
type groups struct {
	made        []string // directories below /sys/fs/cgroup, memory last
	hierarchies []string // as floor.c wants them
}

// observe reads the groups of the running container pid whose cgroupsPath is
// path.
func observe(pid int, path string) (groups, error) {
	var g groups
	file, err := os.Open(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return g, err
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		_, rest, _ := strings.Cut(s.Text(), ":")
		name, at, ok := strings.Cut(rest, ":")
		if !ok || at != path {
			continue
		}
		dir := hierarchyDir(name)
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", dir, path)); err != nil {
			return g, fmt.Errorf("control group of process %d: %w", pid, err)
		}
		g.made = append(g.made, dir)
	}
	// The memory group is joined last, so that what is set up before is not
	// charged to the container.
	for i, dir := range g.made {
		if dir == "memory" {
			g.made = append(append(g.made[:i:i], g.made[i+1:]...), dir)
			break
		}
	}
	g.hierarchies, err = mountedHierarchies(pid)
	return g, err
}

func hierarchyDir(name string) string {
	if name == "" {
		if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
			return "unified"
		}
		return ""
	}
	return strings.TrimPrefix(name, "name=")
}

// mountedHierarchies lists the cgroup file systems that process pid sees.
func mountedHierarchies(pid int) ([]string, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var list []string
	for s := bufio.NewScanner(file); s.Scan(); {
		// proc(5): ... - type source super-options
		_, tail, _ := strings.Cut(s.Text(), " - ")
		f := strings.Fields(tail)
		if len(f) < 3 {
			continue
		}
		switch f[0] {
		case "cgroup2":
			list = append(list, "unified")
		case "cgroup":
			for _, o := range strings.Split(f[2], ",") {
				if o != "rw" && o != "ro" && o != "xattr" && !strings.HasPrefix(o, "release_agent") {
					list = append(list, o)
					break
				}
			}
		}
	}
	return list, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A machine is what a container could leave something in.
type machine struct {
	mounts    []string // /proc/self/mountinfo
	groups    []string // control groups that bear the demo's name
	processes int      // directories of processes in /proc
}

func lookAround() (machine, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return machine{}, err
	}
	m := machine{mounts: strings.Split(strings.TrimSpace(string(text)), "\n")}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return machine{}, err
	}
	m.processes = len(processes)
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody else's group, removed meanwhile
		}
		if err == nil && d.IsDir() && d.Name() == id {
			m.groups = append(m.groups, path)
		}
		return err
	})
	return m, err
}

// inside are the processes whose command line names the demo's state, or that stand in its groups.
func inside(state string) ([]string, error) {
	var found []string
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil {
			continue
		}
		if strings.Contains(string(line), state) || strings.Contains(string(groups), "/"+id) {
			found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found, nil
}

func (d *demo) showNothingLeft(context.Context) error {
	after, err := lookAround()
	if err != nil {
		return err
	}
	processes, err := inside(d.state)
	if err != nil {
		return err
	}
	states, err := filepath.Glob(filepath.Join(d.bundle, "state*", "*"))
	if err != nil {
		return err
	}
	var mounts []string
	for _, mount := range after.mounts {
		if !slices.Contains(d.before.mounts, mount) && strings.Contains(mount, d.cache) {
			mounts = append(mounts, mount)
		}
	}
	var left []error
	for _, kind := range []struct {
		name  string
		found []string
	}{
		{"mounts", mounts},
		{"control groups", after.groups},
		{"processes", processes},
		{"state", states},
	} {
		show(fmt.Sprintf("%-16s %d", kind.name, len(kind.found)))
		if len(kind.found) > 0 {
			left = append(left, fmt.Errorf("%s left: %s", kind.name, strings.Join(kind.found, ", ")))
		}
	}
	return errors.Join(left...)
}

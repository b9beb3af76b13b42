package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// target is one container that a subject starts, again and again under the
// same name: its bundle does not change between starts.
type target struct {
	id      string
	bundle  string
	path    string // cgroupsPath
	filter  string // file of the compiled seccomp filter, or "-"
	pidFile string
	turn    int // counts the starts, for a subject whose command lines are all new
}

// subject is a program under measurement.
type subject struct {
	name    string
	version string
	renames bool // gives each container a name of its own
	// argv returns the command line of one operation: run, create, start,
	// delete, exec.
	argv func(op string, c *target) []string
}

// runtimeSubject is an OCI runtime with runc's command line; base is how to
// call it, up to and including the options before the verb.
func runtimeSubject(name, version string, base ...string) subject {
	return subject{name: name, version: version, argv: func(op string, c *target) []string {
		argv := append(base[:len(base):len(base)], op)
		switch op {
		case "run":
			argv = append(argv, "--bundle", c.bundle)
		case "create":
			argv = append(argv, "--bundle", c.bundle, "--pid-file", c.pidFile)
		case "exec":
			if c.turn > 0 {
				argv = append(argv, "--env", fmt.Sprintf("TURN=%d", c.turn))
			}
			return append(argv, c.id, "/bin/payload")
		}
		if c.turn > 0 {
			return append(argv, fmt.Sprintf("%s-%d", c.id, c.turn))
		}
		return append(argv, c.id)
	}}
}

// floorSubject is floor.c, told to make and mount the control groups that g
// lists.
func floorSubject(program, root, rootfs string, g groups) subject {
	return subject{name: "floor", version: "static C, " + g.String(), argv: func(op string, c *target) []string {
		argv := []string{program, op, filepath.Join(root, c.id)}
		var made []string
		for _, h := range g.made {
			made = append(made, filepath.Join("/sys/fs/cgroup", h, c.path))
		}
		switch op {
		case "start":
		case "delete":
			argv = append(argv, made...)
		case "exec":
			argv = append(append(append(argv, c.filter), made...), "--", "/bin/payload")
		default:
			argv = append(append(argv, rootfs, c.filter), made...)
			argv = append(append(append(argv, "--"), g.hierarchies...), "--", "/bin/payload")
			if strings.HasSuffix(c.id, "-keep") {
				argv = append(argv, "pause")
			}
		}
		return argv
	}}
}

// installed finds a peer and its version; ok is false if it is not there.
func installed(name string) (path, version string, ok bool) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", "", false
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return "", "", false
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return path, strings.TrimPrefix(first, name+" version "), true
}

func (g groups) String() string {
	return fmt.Sprintf("%d control groups made (%s), %d hierarchies mounted",
		len(g.made), strings.Join(g.made, " "), len(g.hierarchies))
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// warmups are starts of each command before the measured ones: they fill the
// page cache and let a runtime make what it keeps between starts.
const warmups = 3

// operations that are measured, in the order of the report.
var operations = [...]string{"run", "create+start+delete", "exec"}

// bench holds everything one measurement needs.
type bench struct {
	o        options
	dir      string
	rootfs   string
	spec     *specs.Spec
	profile  *specs.LinuxSeccomp // nil when there is none to read
	filter   string              // compiled profile, for the floor; "" when there is none
	spawn    *spawner
	subjects []subject
	kept     []kept
	made     []*target
}

// kept is a container that runs while others are measured.
type kept struct {
	subject *subject
	c       *target
	seccomp bool
	pid     int
	memory  memoryRow
}

// job is one command to measure: a subject, an operation, and a bundle.
type job struct {
	subject *subject
	op      string
	seccomp bool
	c       *target
	costs   []cost
}

func newBench(o options, dir string) (*bench, error) {
	b := &bench{o: o, dir: dir, rootfs: filepath.Join(dir, "rootfs")}
	payload := filepath.Join(dir, "payload")
	if err := compile(dir, "payload", payloadSource, payload); err != nil {
		return nil, err
	}
	if err := compile(dir, "floor", floorSource, filepath.Join(dir, "floor")); err != nil {
		return nil, err
	}
	if err := makeRootfs(b.rootfs, payload); err != nil {
		return nil, err
	}
	var err error
	if b.spec, err = defaultSpec(dir, b.rootfs); err != nil {
		return nil, err
	}
	if b.profile, err = readProfile(o.profile); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if b.profile != nil {
		if b.filter, err = writeFilter(b.profile, filepath.Join(dir, "filter")); err != nil {
			return nil, err
		}
	}
	if b.spawn, err = newSpawner(filepath.Join(dir, "stderr")); err != nil {
		return nil, err
	}
	return b, b.findSubjects()
}

// findSubjects lists what can be measured here; the floor comes last because
// it imitates the first of the others.
func (b *bench) findSubjects() error {
	if b.o.wants("tare") {
		program := b.o.tare
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("-tare: %w (make build makes it)", err)
		}
		same := runtimeSubject("tare", "of this tree, the same command line again",
			program, "runtime", "--root", filepath.Join(b.dir, "root-tare"))
		renamed := runtimeSubject("tare-new", "of this tree, a new name each time",
			program, "runtime", "--root", filepath.Join(b.dir, "root-tare-new"))
		renamed.renames = true
		b.subjects = append(b.subjects, same, renamed)
	}
	for _, name := range []string{"crun", "runc"} {
		path, version, ok := installed(name)
		if !ok || !b.o.wants(name) {
			continue
		}
		b.subjects = append(b.subjects, runtimeSubject(name, version,
			path, "--root", filepath.Join(b.dir, "root-"+name)))
	}
	if len(b.subjects) == 0 && !b.o.wants("warm") {
		return errors.New("nothing to measure: no runtime is installed")
	}
	if len(b.subjects) == 0 || !b.o.wants("floor") {
		return nil
	}
	g, err := b.imitate(&b.subjects[0])
	if err != nil {
		return fmt.Errorf("find out the control groups %s makes: %w", b.subjects[0].name, err)
	}
	root := filepath.Join(b.dir, "root-floor")
	if err := os.Mkdir(root, 0o700); err != nil {
		return err
	}
	b.subjects = append(b.subjects, floorSubject(filepath.Join(b.dir, "floor"), root, b.rootfs, g))
	return nil
}

// imitate starts a container with s and observes its control groups.
func (b *bench) imitate(s *subject) (groups, error) {
	k, err := b.keep(s, "imitate-keep", false)
	if err != nil {
		return groups{}, err
	}
	g, err := observe(k.pid, k.c.path)
	return g, errors.Join(err, b.remove(k))
}

func (b *bench) target(s *subject, use string, seccomp bool, args ...string) (*target, error) {
	id := fmt.Sprintf("tb%d-%s-%s", os.Getpid(), s.name, use)
	c := &target{
		id:      id,
		bundle:  filepath.Join(b.dir, "bundle-"+id),
		path:    "/" + id,
		pidFile: filepath.Join(b.dir, id+".pid"),
		filter:  "-",
	}
	var profile *specs.LinuxSeccomp
	if seccomp {
		profile, c.filter = b.profile, b.filter
	}
	b.made = append(b.made, c)
	return c, writeBundle(b.spec, c, profile, args...)
}

// keep creates and starts a container that sleeps, and measures its memory on
// the way.
func (b *bench) keep(s *subject, use string, seccomp bool) (kept, error) {
	c, err := b.target(s, use, seccomp, "/bin/payload", "pause")
	if err != nil {
		return kept{}, err
	}
	k := kept{subject: s, c: c, seccomp: seccomp, memory: memoryRow{Subject: s.name, Seccomp: seccomp}}
	if _, err := b.spawn.run(0, s.argv("create", c)...); err != nil {
		return k, err
	}
	if k.pid, err = b.pid(s, c); err != nil {
		return k, err
	}
	if k.memory.Created, err = readMemory(k.pid); err != nil {
		return k, err
	}
	if _, err := b.spawn.run(0, s.argv("start", c)...); err != nil {
		return k, err
	}
	if err := awaitPayload(k.pid); err != nil {
		return k, err
	}
	if k.memory.Running, err = readMemory(k.pid); err != nil {
		return k, err
	}
	sweep()
	k.memory.Helpers, err = b.helpers(k.pid)
	return k, err
}

// helpers counts the processes that s left beside the container's own.
func (b *bench) helpers(own int) (int, error) {
	all, err := children()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, pid := range all {
		known := func(k kept) bool { return k.pid == pid }
		if pid != own && !slices.ContainsFunc(b.kept, known) {
			n++
		}
	}
	return n, nil
}

// pid returns the process of a created container.
func (b *bench) pid(s *subject, c *target) (int, error) {
	file := c.pidFile
	if s.name == "floor" {
		file = filepath.Join(b.dir, "root-floor", c.id, "state.json")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// awaitPayload waits until the process has executed the payload: start returns
// when it has told the process to, not when that is done.
func awaitPayload(pid int) error {
	for range 1000 {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(comm)) == "payload" {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("process %d has not executed its program after a second", pid)
}

// remove ends a kept container.
func (b *bench) remove(k kept) error {
	k.c.turn = 0 // the turns were exec's; the container has its first name
	if err := unix.Kill(k.pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", k.pid, err)
	}
	if _, _, err := reap(k.pid); err != nil {
		return err
	}
	_, err := b.spawn.run(0, k.subject.argv("delete", k.c)...)
	return err
}

// jobs lists what is to be measured, and starts the containers exec needs.
func (b *bench) jobs() ([]*job, error) {
	var list []*job
	for i := range b.subjects {
		s := &b.subjects[i]
		for _, seccomp := range []bool{false, true} {
			if seccomp && (b.profile == nil || s.name == "floor" && b.filter == "") {
				continue
			}
			suffix := map[bool]string{true: "-seccomp"}[seccomp]
			for _, op := range operations {
				j := &job{subject: s, op: op, seccomp: seccomp}
				if op == "exec" {
					k, err := b.keep(s, "exec"+suffix+"-keep", seccomp)
					if k.pid > 0 {
						b.kept = append(b.kept, k)
					}
					if err != nil {
						return nil, err
					}
					j.c = k.c
				} else {
					c, err := b.target(s, op[:3]+suffix, seccomp, "/bin/payload")
					if err != nil {
						return nil, err
					}
					j.c = c
				}
				list = append(list, j)
			}
		}
	}
	return list, nil
}

// measure runs everything and returns the figures.
func (b *bench) measure(ctx context.Context) (*report, error) {
	jobs, err := b.jobs()
	if err != nil {
		return nil, err
	}
	var order []*job
	for _, j := range jobs {
		for range b.o.n {
			order = append(order, j)
		}
		for range warmups {
			if _, err := b.once(j); err != nil {
				return nil, err
			}
		}
	}
	rand.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	for _, j := range order {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		time.Sleep(b.o.gap)
		c, err := b.once(j)
		if err != nil {
			return nil, err
		}
		j.costs = append(j.costs, c)
	}
	r := b.report(jobs)
	if b.o.warm || b.o.only == "warm" {
		r.Warm, err = b.measureWarm()
	}
	return r, err
}

// once runs a job one time.
func (b *bench) once(j *job) (cost, error) {
	if j.subject.renames {
		j.c.turn++
	}
	switch j.op {
	case "run", "exec":
		c, err := b.spawn.run(0, j.subject.argv(j.op, j.c)...)
		c.cpu += sweep()
		return c, err
	}
	begin := time.Now()
	sum, err := b.spawn.run(0, j.subject.argv("create", j.c)...)
	if err != nil {
		return sum, err
	}
	pid, err := b.pid(j.subject, j.c)
	if err != nil {
		return sum, err
	}
	c, err := b.spawn.run(0, j.subject.argv("start", j.c)...)
	sum.add(c)
	if err != nil {
		return sum, err
	}
	status, cpu, err := reap(pid)
	sum.cpu += cpu
	if err != nil {
		return sum, err
	}
	if code := exitCode(status); code != 0 {
		return sum, fmt.Errorf("container of %s: exit status %d, want 0", j.subject.name, code)
	}
	c, err = b.spawn.run(0, j.subject.argv("delete", j.c)...)
	sum.add(c)
	sum.cpu += sweep()
	// The whole sequence, with the container's own life in it.
	sum.wall = time.Since(begin)
	return sum, err
}

// cleanup ends what is still there, after an error too.
func (b *bench) cleanup() {
	for _, k := range b.kept {
		if err := b.remove(k); err != nil {
			fmt.Fprintln(os.Stderr, "start: clean up:", err)
		}
	}
	left, err := children()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start: clean up:", err)
	}
	for _, pid := range left {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
		_, _, _ = reap(pid)
	}
	for _, c := range b.made {
		dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + c.path) // the pattern is well-formed
		for _, d := range dirs {
			fmt.Fprintf(os.Stderr, "start: control group %s was left behind\n", d)
			if err := os.Remove(d); err != nil {
				fmt.Fprintln(os.Stderr, "start: clean up:", err)
			}
		}
	}
}

// peerVersion is for the report's head.
func kernelVersion() string {
	out, err := exec.Command("uname", "-srm").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

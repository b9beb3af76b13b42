package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/host"
	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/seccomp"
	"tare.dev/tare/internal/sysprog"
)

// Tristate is a switch that can also be left to be found out.
type Tristate int

// Values of a Tristate.
const (
	Auto Tristate = iota
	Yes
	No
)

// CreateOptions is how a container is created, beside its bundle's spec.
type CreateOptions struct {
	Bundle        string // absolute directory with config.json
	PidFile       string
	ConsoleSocket string // path of an AF_UNIX stream socket; gets the terminal's master
	PidfdSocket   string // path of an AF_UNIX stream socket; gets a pidfd
	PreserveFDs   int    // descriptors 3 to 3+n-1 pass to the process
	NoPivot       bool
	NoNewKeyring  bool
	SystemdCgroup bool
	Rootless      Tristate
	Stdio         [3]*os.File                 // what becomes descriptors 0 to 2; nil: the caller's own
	Console       func(master *os.File) error // foreground terminal: called with the master
	Before        func()                      // called when all is prepared and the process is yet to be made; may be nil
	Detach        bool                        // Run returns at once: keep the exit status for later
	Keep          bool                        // the caller of Run will not delete the container at its end
	Adopted       bool                        // the caller, or who adopts the process after it, waits for it: make no monitor
	Parent        bool                        // the process is to be the child of the caller's parent, who waits for it: see Process

	// Edit makes last changes to the spec, for this start only; may be nil.
	Edit func(*specs.Spec)

	Warn  func(format string, args ...any) // warnings that the specification asks for; may be nil
	Debug func(format string, args ...any) // what only a closer look needs; may be nil
}

// creation is a container in the making. undo, in reverse order, takes back
// all that was made so far.
type creation struct {
	o    CreateOptions
	c    *Container
	spec *specs.Spec
	raw  []byte
	in   program.Input
	prog *program.Program
	plan *cgroup.Plan

	pid       int
	pidfd     int
	consoleFD int // our end of a foreground terminal's socket; 0: none
	pipes     pipes
	monitor   *sysprog.Memory // nil: there is none
	nets      pipes           // network namespaces, which undo may need
	undo      []func()
	caller    host.Facts
	unlock    func()
	placed    int  // how many of in.Places are made
	copied    int  // the mounts that copyUpOld has looked at
	hooked    bool // hooks have run: what they did must be taken back by poststop ones

	warned   bool            // a stored program could not warn again
	homeFrom string          // passwd that HOME comes from
	watches  []program.Watch // of the files read, from before that; nil where one cannot be watched
	ahead    []string        // see record.Ahead
}

// Create makes the container and its first process, which waits for Start
// before it executes the program of the spec.
func (s Store) Create(id string, o CreateOptions) (*Container, error) {
	k, err := s.create(id, o, true)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", id, err)
	}
	if k.pidfd >= 0 {
		_ = unix.Close(k.pidfd)
	}
	return k.c, nil
}

// Run is Create and Start in one, without a wait between them. The returned
// process is a child of the caller, who must Wait for it unless o.Detach; then
// it may be a monitor's child; or, with o.Parent, of the caller's parent.
func (s Store) Run(id string, o CreateOptions) (*Container, *Process, error) {
	k, err := s.create(id, o, false)
	if err != nil {
		return nil, nil, fmt.Errorf("run %s: %w", id, err)
	}
	if err := k.c.runHooks("poststart", k.spec, specs.StateRunning, k.pid); err != nil {
		k.hooked = true
		k.abort()
		return nil, nil, fmt.Errorf("run %s: %w", id, err)
	}
	p := &Process{Pid: k.pid, pidfd: k.pidfd}
	if o.Keep && !mountsPidfd(k.caller) {
		p.leave = filepath.Join(k.c.dir, exitFile)
	}
	return k.c, p, nil
}

func (s Store) create(id string, o CreateOptions, wait bool) (*creation, error) {
	k := &creation{o: o, c: &Container{dir: s.dir(id), replay: s.Replay, warn: s.Warn}, pidfd: -1}
	k.o.Warn = func(format string, args ...any) {
		k.warned = true
		if o.Warn != nil {
			o.Warn(format, args...)
		}
	}
	err := k.make(s.Root, id, wait)
	k.pipes.closeAll() // taking back may need descriptors where few are allowed
	if err != nil {
		k.abort()
	}
	k.nets.closeAll()
	if k.monitor != nil {
		_ = k.monitor.Free()
	}
	if k.unlock != nil {
		k.unlock()
	}
	return k, err
}

// make goes through the steps of a start. What each made is taken back by
// abort, in reverse order.
func (k *creation) make(root, id string, wait bool) (err error) {
	if unix.Access(k.c.dir, unix.F_OK) == nil {
		return fmt.Errorf("container with id %q: %w", id, ErrExist)
	}
	if err := k.load(id, wait); err != nil {
		return err
	}
	if err := k.prepare(); err != nil {
		return err
	}
	if err := os.MkdirAll(root, 0o711); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	k.become()
	if err := k.makeDir(id, wait); err != nil {
		return err
	}
	if err := k.prepareMonitor(); err != nil {
		return err
	}
	if k.prog, err = program.Compile(&k.in); err != nil {
		return err
	}
	for _, w := range k.prog.Warnings {
		k.o.Warn("%s", w)
	}
	if err := k.keepRecord(); err != nil {
		return err
	}
	made := len(k.undo)
	err = k.launch()
	for mount, ok := k.missingPlace(err); ok; mount, ok = k.missingPlace(err) {
		k.undoTo(made)
		err = k.relaunch(mount)
	}
	if err != nil {
		return err
	}
	if err := k.handOver(); err != nil {
		return err
	}
	_ = k.store()    // or Go does it again next time
	k.c.replay = nil // what the caller does next is not the whole command
	return nil
}

// relaunch is a second launch, in which the parent makes the place of one more mount.
func (k *creation) relaunch(mount int) (err error) {
	k.in.Places = append(k.in.Places, mount)
	sort.Ints(k.in.Places) // the order in which the child asks
	k.placed, k.copied = 0, 0
	if len(k.in.Trees) > 0 { // they went with the first child
		if err := k.prepareTrees(); err != nil {
			return err
		}
	}
	if err := k.openGates(); err != nil {
		return err
	}
	if err := k.prepareMonitor(); err != nil {
		return err
	}
	if k.prog, err = program.Compile(&k.in); err != nil {
		return err
	}
	if err := k.keepRecord(); err != nil {
		return err
	}
	return k.launch()
}

func (k *creation) abort() {
	k.undoTo(0)
	if !k.hooked {
		return
	}
	if err := k.c.runPoststop(k.spec); err != nil {
		k.o.Warn("%v", err)
	}
}

func (k *creation) undoTo(n int) {
	for i := len(k.undo) - 1; i >= n; i-- {
		k.undo[i]()
	}
	k.undo = k.undo[:n]
}

// load reads what the start depends on, and changes nothing.
func (k *creation) load(id string, wait bool) error {
	var err error
	config := filepath.Join(k.o.Bundle, configFile)
	k.watch(config)
	k.spec, k.raw, err = readSpec(config)
	if err != nil {
		return err
	}
	if k.o.Edit != nil {
		k.o.Edit(k.spec)
	}
	rootfs, err := rootfsOf(k.o.Bundle, k.spec)
	if err != nil {
		return err
	}
	k.caller = host.Probe()
	k.in = program.Input{
		Spec: k.spec, ID: id, Bundle: k.o.Bundle, Rootfs: rootfs, Facts: k.caller, StateDir: k.c.dir,
		Wait: wait, NoPivot: k.o.NoPivot, NoKeyring: k.o.NoNewKeyring, PreserveFDs: k.o.PreserveFDs, Parent: k.o.Parent,
		GateFD: -1, GateParentFD: -1, ConsoleFD: -1, ListenerFD: -1, HookStateFD: -1,
	}
	if k.spec.Process == nil {
		return errors.New("invalid spec: process is missing")
	}
	if k.o.ConsoleSocket != "" && !k.spec.Process.Terminal {
		return errors.New("a console socket is for a process with a terminal, and process.terminal is false")
	}
	k.watch(filepath.Join(rootfs, passwdFile))
	k.homeFrom = addHome(k.spec.Process, rootfs)
	if err := k.compileSeccomp(); err != nil {
		return err
	}
	return k.planCgroup(id)
}

func (k *creation) compileSeccomp() error {
	if k.spec.Linux == nil || k.spec.Linux.Seccomp == nil {
		return nil
	}
	f, err := seccomp.Compile(k.spec.Linux.Seccomp, goarch)
	if err != nil {
		return err
	}
	for _, w := range f.Warnings { // every engine's profile names calls that this CPU lacks
		k.debug("seccomp: %s", w)
	}
	k.in.Seccomp = f
	return nil
}

func (k *creation) debug(format string, args ...any) {
	if k.o.Debug != nil {
		k.o.Debug(format, args...)
	}
}

func (k *creation) planCgroup(id string) error {
	h, err := cgroup.Probe()
	if err != nil {
		return err
	}
	r := cgroup.Request{ID: id, Systemd: k.o.SystemdCgroup, Rootless: k.rootless(), Annotations: k.spec.Annotations}
	if l := k.spec.Linux; l != nil {
		r.CgroupsPath = l.CgroupsPath
		res := specs.LinuxResources{}
		if l.Resources != nil {
			res = *l.Resources
		}
		if len(res.Devices) > 0 {
			res.Devices = append(append([]specs.LinuxDeviceCgroup(nil), res.Devices...), cgroup.DefaultDeviceRules()...)
		}
		r.Resources = &res
	}
	for _, m := range k.spec.Mounts {
		if m.Type == "cgroup" || m.Type == "cgroup2" {
			r.All = true
			if k.spec.Linux == nil || !writable(m.Options) {
				continue
			}
			if uid := hostID(k.spec.Linux.UIDMappings); uid >= 0 {
				r.OwnerUID = &uid
			}
		}
	}
	k.plan, err = cgroup.NewPlan(h, r)
	if err != nil {
		return err
	}
	for _, w := range k.plan.Warnings {
		if r.Rootless { // as usual there; engines take what is printed for an error's cause
			k.debug("%s", w)
		} else {
			k.o.Warn("%s", w)
		}
	}
	k.in.Cgroup, k.in.CgroupMounts, k.in.CgroupV2 = k.plan, h.Mounts(), h.Mode() == cgroup.V2
	return nil
}

func writable(options []string) bool {
	for _, o := range options {
		if o == "ro" {
			return false
		}
	}
	return true
}

// hostID is the host's number of the container's root in a map; -1 without one.
func hostID(m []specs.LinuxIDMapping) int {
	for _, x := range m {
		if x.ContainerID == 0 && x.Size > 0 {
			return int(x.HostID)
		}
	}
	return -1
}

func (k *creation) rootless() bool {
	switch k.o.Rootless {
	case Yes:
		return true
	case No:
		return false
	}
	return k.caller.UID != 0 || k.caller.InUserNS
}

// makeDir claims the container's name.
func (k *creation) makeDir(id string, wait bool) error {
	if err := os.Mkdir(k.c.dir, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("container with id %q: %w", id, ErrExist)
		}
		return fmt.Errorf("make state directory: %w", err)
	}
	k.undo = append(k.undo, func() { _ = k.c.removeDir() })
	unlock, err := k.c.lock() // until all is there, or gone again
	if err != nil {
		return err
	}
	k.unlock = unlock
	if !wait {
		return nil
	}
	for _, name := range []string{program.ExecFifo, program.StartFifo} {
		if err := unix.Mkfifo(filepath.Join(k.c.dir, name), 0o600); err != nil {
			return fmt.Errorf("make fifo %s: %w", name, err)
		}
	}
	return nil
}

// record is state.json for a container that p starts.
func (k *creation) record(p *program.Program) ([]byte, error) {
	rec := record{
		OCIVersion: specs.Version, ID: k.in.ID, Bundle: k.o.Bundle, Rootfs: k.in.Rootfs, UID: k.caller.UID,
		Cgroup: k.plan.Group, Systemd: k.o.SystemdCgroup, Notes: k.spec.Annotations, Ahead: k.ahead, Parent: k.o.Parent,
	}
	if plain := k.plainName(); plain != "" {
		rec.Plain, rec.Groups = plain, groupDirs(k.plan)
	}
	if k.spec.Linux != nil {
		for _, n := range k.spec.Linux.Namespaces {
			rec.Namespaces = append(rec.Namespaces, string(n.Type))
		}
	}
	if k.in.Wait {
		l := &late{First: p.Late}
		for _, op := range p.Ops[p.Late:] {
			l.Ops = append(l.Ops, op.What)
		}
		rec.Late = l
	}
	k.c.rec = rec
	b, err := json.Marshal(&rec)
	if err != nil {
		return nil, fmt.Errorf("write state: %w", err)
	}
	return b, nil
}

// keepRecord writes state.json and the copy of the spec.
func (k *creation) keepRecord() error {
	b, err := k.record(k.prog)
	if err != nil {
		return err
	}
	files := []program.File{{Name: configFile, Data: k.raw}, {Name: recordFile, Data: b}}
	if k.c.rec.Plain != "" {
		files = append(files, program.File{Name: k.c.rec.Plain})
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(k.c.dir, f.Name), f.Data, 0o600); err != nil {
			return fmt.Errorf("write state: %w", err)
		}
	}
	return nil
}

// handOver tells whoever asked about the new process.
func (k *creation) handOver() error {
	if k.o.PidfdSocket != "" {
		if err := sendPidfd(k.o.PidfdSocket, k.pid); err != nil {
			return err
		}
	}
	if k.in.Wait || k.o.Detach || k.o.Keep {
		k.c.keepExitStatus(k.pid, k.caller)
	}
	if k.o.PidFile != "" {
		return writePidFile(k.o.PidFile, k.pid)
	}
	return nil
}

// writePidFile makes the file appear with its content.
func writePidFile(path string, pid int) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	_ = os.Remove(tmp) // and never through a link that somebody has put there
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o666)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(pid))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("write pid file: %w", err)
	}
	return nil
}

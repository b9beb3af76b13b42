// Package program compiles an OCI spec and facts about the host into a list
// of system calls that starts the container.
// Compile is pure: no file, no system call, no clock; equal input gives an
// equal list, and its text form is the package's test.
// Running the list, answering its gates and undoing it are package container's.
package program

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/host"
	"tare.dev/tare/internal/seccomp"
	"tare.dev/tare/internal/sysprog"
)

// Input is all that a start depends on. Descriptors are numbers in the parent;
// -1 means there is none.
type Input struct {
	Spec    *specs.Spec
	ID      string
	Bundle  string // absolute; relative mount sources start here
	Rootfs  string // absolute
	Facts   host.Facts
	Cgroup  *cgroup.Plan
	Seccomp *seccomp.Filter

	// StateDir is the container's directory. The child leaves the text of its
	// /proc/self/stat there, in the file named ProcessFile.
	StateDir string

	Wait        bool // wait at the fifo for `start` before executing the process
	Fork        bool // copy the parent instead of sharing its memory: needed for gates
	NoPivot     bool
	NoKeyring   bool
	PreserveFDs int

	// Heap and HeapSize are the parent's memory that a waiting child has no use
	// for: the child gives its copy back. 0: keep it.
	Heap, HeapSize uintptr

	Monitor *Monitor // nil: the process is the caller's child, or its sibling

	// Parent makes the process a child of the caller's parent. Not with Monitor.
	Parent bool

	Stdio [3]int // what becomes descriptors 0, 1, 2

	GateFD, GateParentFD int // socket for gates, and the parent's end to close
	ConsoleFD            int // connected socket that gets the terminal's master
	ListenerFD           int // connected socket that gets the seccomp listener
	HookStateFD          int // memfd with the state that hooks read, rewritten at gates

	CgroupMounts []cgroup.Mount // the host's, for cgroup mounts inside
	CgroupV2     bool           // only v2 is mounted

	// RootfsMount is the mount point that Rootfs lies on; only needed when
	// rootfsPropagation keeps mounts shared with the host.
	RootfsMount string

	// Trees are mounts that the parent has prepared, by index in Spec.Mounts.
	Trees map[int]int

	DenySetgroups bool    // the user namespace cannot set groups: setgroups is "deny" in it
	ChownStdio    [3]bool // give descriptor 0, 1, 2 to the process's user

	// SourceFlags are the MS_* flags of the mounts that bind sources lie on, by
	// index in Spec.Mounts; only kernels without mount_setattr need them.
	SourceFlags map[int]uintptr

	// Places are mount points (indices in Spec.Mounts) that the parent makes at
	// GatePlace: a link in the image leads to where nothing is.
	Places []int

	// Inherited are descriptors that the caller was given without
	// close-on-exec; a process that waits, or cannot mark them, closes them.
	Inherited []int

	execInUserNS bool // an exec into a container with a user namespace
}

// Names of files in Input.StateDir.
const (
	ProcessFile = "process"    // /proc/PID/stat of the first process at its start
	ExecFifo    = "exec.fifo"  // a byte written here lets the created process go on
	StartFifo   = "start.fifo" // tells `start` of a failure; closed by the execve
)

// Program is a compiled start.
type Program struct {
	*sysprog.List

	Pid   *sysprog.Slot // the new process, as the parent sees it
	Pidfd *sysprog.Slot // its pidfd, in the caller's table; 0 where the kernel has none

	// Stdio holds ExecInput.Stdio, for an exec that runs again with another. It is
	// nil where that is the descriptor already.
	Stdio [3]*sysprog.Slot

	// Monitor is the monitor's number, with Input.Monitor.
	Monitor *sysprog.Slot

	// Late is the index of the first op that runs after `start`.
	Late int

	// Missing gives the mount (index in Spec.Mounts) that an op failing with
	// ENOENT could not make the place of. It goes to Input.Places then.
	Missing map[int]int

	// SeccompState is the buffer for the container process state that goes to
	// the seccomp listener: a length word, then the bytes. The parent fills it
	// at GateListener.
	SeccompState *sysprog.Buf
	SeccompIov   *sysprog.Buf

	later laterFile

	Warnings []string
}

// Gate is a place where the child waits for the parent. The child writes the
// gate's number as one byte; the parent acts and writes one byte back.
type Gate byte

// The gates, in the order a child passes them.
const (
	GateMaps            Gate = 'm' // write the id maps, limits that need the host's root
	GateCgroup          Gate = 'c' // let systemd make the scope
	GateNetDevices      Gate = 'n' // move network devices in
	GateCreateRuntime   Gate = 'r' // run prestart and createRuntime hooks
	GateCreateContainer Gate = 'h' // put the state for createContainer hooks into the memfd
	GateStartContainer  Gate = 's' // the same for startContainer hooks
	GateListener        Gate = 'l' // fill in SeccompState
	GatePlace           Gate = 'p' // make the next one of Input.Places
	GateCopyUp          Gate = 'u' // fill the next tmpfs that has tmpcopyup
	GateReady           Gate = 'y' // all is set up; next is the fifo or the process
)

// Gates tells which gates the program of in will pass, so whether it needs Fork.
func (in *Input) gates() (g []Gate) {
	s := in.Spec
	if in.newUserNS() {
		g = append(g, GateMaps)
	}
	if in.Cgroup != nil && in.Cgroup.Unit != nil {
		g = append(g, GateCgroup)
	}
	if s.Linux != nil && len(s.Linux.NetDevices) > 0 {
		g = append(g, GateNetDevices)
	}
	if h := s.Hooks; h != nil {
		if len(h.Prestart)+len(h.CreateRuntime) > 0 { //nolint:staticcheck // prestart is deprecated but in use
			g = append(g, GateCreateRuntime)
		}
		if len(h.CreateContainer) > 0 {
			g = append(g, GateCreateContainer)
		}
		if len(h.StartContainer) > 0 {
			g = append(g, GateStartContainer)
		}
	}
	if in.Seccomp != nil && in.Seccomp.Notify {
		g = append(g, GateListener)
	}
	if len(in.Places) > 0 {
		g = append(g, GatePlace)
	}
	for i := range s.Mounts {
		if !in.Facts.MountAPI && CopiesUp(&s.Mounts[i]) {
			g = append(g, GateCopyUp)
			break
		}
	}
	return g
}

// NeedsFork tells whether the start of in has steps that the parent takes
// while the child waits, or that cannot share the parent's memory.
func NeedsFork(in *Input) bool {
	// In a pid namespace that others are in, one with CAP_SYS_PTRACE could write
	// to a memory that is shared.
	return in.Wait || in.Monitor != nil || in.joins(specs.PIDNamespace) || len(in.gates()) > 0 || len(in.timeOffsets()) > 0 || in.terminal() || in.joins(specs.TimeNamespace) || in.newNS(specs.TimeNamespace)
}

// compiler carries what the parts of Compile share.
type compiler struct {
	*Program
	in    *Input
	spec  *specs.Spec
	linux *specs.Linux
	facts host.Facts

	root        *sysprog.Slot  // descriptor of the new root
	died        *sysprog.Label // where a failing child goes
	diedLate    *sysprog.Label // the same after start
	hows        map[howKey]*sysprog.Buf
	devDir      *sysprog.Slot
	execFD      sysprog.Arg // exec.fifo
	startFD     sysprog.Arg // start.fifo
	stdioFD     [3]sysprog.Arg
	gateFD      sysprog.Arg
	hookFD      sysprog.Arg // Input.HookStateFD
	listenerFD  sysprog.Arg
	late        []*sysprog.Slot // v1 tasks files that are joined last
	lateLimits  []lateLimit
	null        *sysprog.Slot          // a detached mount of /dev/null
	empty       *sysprog.Slot          // a detached, empty, read-only directory
	hostRoot    *sysprog.Slot          // see enterRoot
	cgroupTrees []sysprog.Arg          // detached cgroup mounts, in the order of in.CgroupMounts
	cgroupFDs   []int                  // the same as fixed descriptors
	slave       *sysprog.Slot          // the terminal
	nulls       []*sysprog.Slot        // one detached /dev/null for each masked path
	devTrees    map[string]sysprog.Arg // see openDevices
	devFDs      map[string]int
	nullFD      int // fixed descriptor of /dev/null
	nsFDs       map[specs.LinuxNamespaceType]*sysprog.Slot
	mounts      []*mount
	replay      *Replay         // not nil: the program is to be stored
	execReplay  *ReplayExec     // the same for an exec
	execRoot    *sysprog.Slot   // the container's root, for an exec
	initFD      *sysprog.Slot   // pidfd of the container's first process
	oldMask     *sysprog.Buf    // signals that the caller of a stored program had blocked
	readyFD     sysprog.Arg     // in a stored create, where the child says that it waits
	cgroupOp    *sysprog.Op     // stores the cgroup's descriptor in clone_args
	inParent    bool            // what the calling thread does, or what shares its descriptors, is being compiled
	parents     []*sysprog.Slot // see openSlot
	file        *sysprog.Slot   // see fileSlot
	fixed       int             // next of the fixed descriptor numbers for kernels without the mount API
}

// Compile turns in into a program, or says what in the spec cannot be done.
func Compile(in *Input) (*Program, error) {
	c, err := newCompiler(in)
	if err != nil {
		return nil, err
	}
	if err := c.compile(); err != nil {
		return nil, err
	}
	return c.Program, nil
}

func newCompiler(in *Input) (*compiler, error) {
	if err := validate(in); err != nil {
		return nil, err
	}
	c := &compiler{
		Program: &Program{List: &sysprog.List{}, Missing: map[int]int{}}, in: in, spec: in.Spec, linux: in.Spec.Linux,
		facts: in.Facts, hows: map[howKey]*sysprog.Buf{},
		nsFDs: map[specs.LinuxNamespaceType]*sysprog.Slot{}, fixed: 200,
	}
	if c.linux == nil {
		c.linux = &specs.Linux{}
	}
	c.Private = !in.Fork
	c.descriptors()
	return c, c.parseMounts()
}

// descriptors takes over the numbers that the input gives.
func (c *compiler) descriptors() {
	for n, fd := range c.in.Stdio {
		c.stdioFD[n] = sysprog.Int(fd)
	}
	c.gateFD, c.hookFD, c.listenerFD = sysprog.Int(c.in.GateFD), sysprog.Int(c.in.HookStateFD), sysprog.Int(c.in.ListenerFD)
}

func (c *compiler) compile() error {
	c.died, c.diedLate = c.Label("child failed"), c.Label("failed after start")
	if c.replay != nil {
		c.replayParent()
	} else {
		c.parent()
	}
	if err := c.child(); err != nil {
		return err
	}
	c.Here(c.died)
	c.Fail = nil
	c.Do("", "exit_group", sysprog.Int(1))
	if c.in.Wait {
		c.Here(c.diedLate)
		// The header's first two words: which op failed, and its errno.
		c.Do("", "write", c.startFD, sysprog.Header(), sysprog.Int(2*sysprog.WordSize)).OK(sysprog.AnyErrno)
		c.Do("", "exit_group", sysprog.Int(1))
	}
	return nil
}

// child emits what the new process does, in order. Everything that needs the
// host's view (its /proc, mount sources) comes before enterRoot; everything
// that touches paths an image controls comes after.
func (c *compiler) child() error {
	c.childBegin()
	c.joinCgroups()
	c.recordProcess()
	c.openFifos()
	c.gate(GateCgroup)
	c.gate(GateMaps)
	c.namespaces()
	c.session()
	c.network()
	c.hostname()
	c.gate(GateNetDevices)
	if err := c.procSettings(); err != nil {
		return err
	}
	if c.hasMountNS() {
		c.prepareRoot()
		c.detachMounts()
		c.enterRoot()
		c.attachMounts()
		c.devices()
		c.console()
		c.maskPaths()
		c.leaveRoot()
	} else {
		c.createHooks()
		c.chrootOnly()
	}
	return c.process()
}

// createHooks emits the hooks that run when the namespaces and mounts are
// ready and the host's tree is still the root.
func (c *compiler) createHooks() {
	c.gate(GateCreateRuntime)
	c.gate(GateCreateContainer)
	c.hooks(GateCreateContainer)
}

// gate makes the child wait for the parent, if the program has that gate.
func (c *compiler) gate(g Gate) {
	if c.replay != nil {
		if g == GateReady && c.in.Wait {
			c.Do("tell the parent", "write", c.readyFD, sysprog.Str("y"), sysprog.Int(1))
		}
		return
	}
	has := g == GateReady && c.in.Fork
	for _, have := range c.in.gates() {
		has = has || have == g
	}
	if !has {
		return
	}
	gone := c.Label("parent gone at gate " + string(g))
	passed := c.Label("passed gate " + string(g))
	buf := c.Buf([]byte{byte(g), 0})
	again := c.Label("wait at gate " + string(g))
	c.Do("tell the parent", "write", c.gateFD, sysprog.Ptr(buf, 0), sysprog.Int(1)).Note("gate " + string(g))
	c.Here(again)
	c.Do("wait for the parent", "read", c.gateFD, sysprog.Ptr(buf, 1), sysprog.Int(1)).
		On(unix.EINTR, again).IfZero(gone).Next(passed)
	c.Here(gone)
	c.Do("", "exit_group", sysprog.Int(1))
	c.Here(passed)
}

func (c *compiler) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

// proc returns the spec's process, which validate has seen to exist.
func (c *compiler) proc() *specs.Process { return c.spec.Process }

func (in *Input) terminal() bool { return in.Spec.Process != nil && in.Spec.Process.Terminal }

func (in *Input) namespace(t specs.LinuxNamespaceType) *specs.LinuxNamespace {
	if in.Spec.Linux == nil {
		return nil
	}
	for i := range in.Spec.Linux.Namespaces {
		if n := &in.Spec.Linux.Namespaces[i]; n.Type == t {
			return n
		}
	}
	return nil
}

func (in *Input) newNS(t specs.LinuxNamespaceType) bool {
	n := in.namespace(t)
	return n != nil && n.Path == ""
}

func (in *Input) joins(t specs.LinuxNamespaceType) bool {
	n := in.namespace(t)
	return n != nil && n.Path != ""
}

func (in *Input) newUserNS() bool { return in.newNS(specs.UserNamespace) }

// inUserNS tells whether the container runs in a user namespace of its own.
func (in *Input) inUserNS() bool {
	return in.namespace(specs.UserNamespace) != nil || in.execInUserNS
}

func (in *Input) timeOffsets() map[string]specs.LinuxTimeOffset {
	if in.Spec.Linux == nil {
		return nil
	}
	return in.Spec.Linux.TimeOffsets
}

func (c *compiler) hasMountNS() bool { return c.in.namespace(specs.MountNamespace) != nil }

var errSpec = errors.New("invalid spec")

func specErr(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errSpec, fmt.Sprintf(format, args...))
}

func join(dir, path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return dir + "/" + path
}

package container

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/sysprog"
)

const goarch = runtime.GOARCH

// prepare opens what the program refers to by descriptor.
func (k *creation) prepare() error {
	in := &k.in
	in.Stdio, in.ChownStdio = stdio(k.o.Stdio)
	if !in.Facts.CloseRange {
		var err error
		if in.Inherited, err = inherited(in.PreserveFDs); err != nil {
			return err
		}
	}
	if err := k.openConsole(); err != nil {
		return err
	}
	if f := in.Seccomp; f != nil && f.Notify {
		fd, err := k.pipes.connect("seccomp listener", f.ListenerPath)
		if err != nil {
			return err
		}
		in.ListenerFD = fd
	}
	if h := k.spec.Hooks; h != nil && len(h.CreateContainer)+len(h.StartContainer) > 0 {
		fd, err := unix.MemfdCreate("hook-state", unix.MFD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("make hook state: %w", err)
		}
		in.HookStateFD = k.pipes.add(fd)
	}
	if err := k.prepareTrees(); err != nil {
		return err
	}
	k.findSourceFlags()
	in.DenySetgroups = k.denySetgroups()
	if err := k.findRootMount(); err != nil {
		return err
	}
	if k.needsMonitor() {
		k.in.Monitor = &program.Monitor{}
	}
	return k.openGates()
}

// openGates makes the sockets that parent and child talk by, if they must.
func (k *creation) openGates() (err error) {
	k.in.Fork = program.NeedsFork(&k.in)
	k.in.Heap, k.in.HeapSize = ownHeap(), heapArena
	if !k.in.Fork {
		return nil
	}
	k.in.GateParentFD, k.in.GateFD, err = k.pipes.pair(unix.SOCK_SEQPACKET)
	return err
}

// heapArena is the size and alignment of the areas that Go's heap consists of,
// and that hold nothing else.
const heapArena = uintptr(4<<20) << (4 * (^uintptr(0) >> 63)) // 4 MiB on 32-bit CPUs, else 64 MiB

// ownHeap returns where Go's heap lies. A child that waits for `start` would
// keep a copy of it, over a megabyte, until then.
func ownHeap() uintptr {
	return uintptr(unsafe.Pointer(new([64]byte))) &^ (heapArena - 1)
}

// openConsole finds where the terminal's master goes.
func (k *creation) openConsole() error {
	if k.spec.Process == nil || !k.spec.Process.Terminal {
		if k.o.ConsoleSocket != "" {
			return errors.New("a console socket was given, but process.terminal is false")
		}
		return nil
	}
	if k.o.ConsoleSocket != "" {
		fd, err := k.pipes.connect("console socket", k.o.ConsoleSocket)
		k.in.ConsoleFD = fd
		return err
	}
	if k.o.Console == nil {
		return nil // Compile says what is missing
	}
	parent, child, err := k.pipes.pair(unix.SOCK_STREAM)
	k.in.ConsoleFD = child
	k.consoleFD = parent
	return err
}

// stdio returns the descriptors that become 0 to 2, and which of them are
// ownable.
func stdio(files [3]*os.File) (fds [3]int, chown [3]bool) {
	fds = numbers(files)
	return fds, ownable(fds)
}

// numbers are the descriptors of files; nil stands for the caller's own.
func numbers(files [3]*os.File) (fds [3]int) {
	for n, f := range files {
		fds[n] = n
		if f != nil {
			fds[n] = int(f.Fd())
		}
	}
	return fds
}

// ownable tells which of them a user other than root must own to open them
// again by /dev/stdout.
func ownable(fds [3]int) (chown [3]bool) {
	for n, fd := range fds {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			continue
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFIFO, unix.S_IFSOCK:
			chown[n] = true
		case unix.S_IFCHR:
			chown[n] = unix.Major(st.Rdev) >= 136 && unix.Major(st.Rdev) <= 143 // pts
		}
	}
	return chown
}

var errKilled = errors.New("the process was killed before it executed its program")

// launch runs the program and sees the process through its gates.
func (k *creation) launch() error {
	mem, err := load(k.prog.List, k.in.Fork && k.in.Facts.UID != 0)
	if err != nil {
		return err
	}
	defer mem.Free()
	return k.run(mem)
}

// run is launch with a loaded program.
func (k *creation) run(mem *sysprog.Memory) error {
	if k.plan != nil { // an exec has none of its own
		k.undo = append(k.undo, func() {
			if k.plan.Group.Exists() {
				_ = k.plan.Group.Remove()
			}
		})
	}
	if k.o.Before != nil {
		k.o.Before()
	}
	err := mem.Run()
	if err == nil && k.in.Monitor != nil {
		err = k.awaitProcess(mem)
	}
	k.take(mem)
	if err != nil {
		return err
	}
	if k.pid <= 0 { // a first child that was to make it, see program.joinFirst
		return errKilled
	}
	if !k.in.Fork {
		return nil
	}
	k.pipes.close(k.in.GateFD)
	if err := k.serveGates(mem); err != nil {
		return err
	}
	return k.takeConsole()
}

// take takes charge of the process that the program has made, if it has.
func (k *creation) take(mem *sysprog.Memory) {
	k.pid = int(mem.Word(k.prog.Pid))
	if k.in.Monitor != nil {
		monitor := int(mem.Word(k.prog.Monitor))
		k.undo = append(k.undo, func() { k.endMonitored(monitor) })
		return
	}
	if k.pid <= 0 {
		return
	}
	k.undo = append(k.undo, func() {
		if k.o.Parent {
			killSibling(k.pid, k.pidfd)
		} else {
			kill(k.pid)
		}
		if k.pidfd >= 0 {
			_ = unix.Close(k.pidfd)
		}
		k.pidfd = -1
	})
	if k.in.Facts.Pidfd {
		k.pidfd = int(int32(mem.Word(k.prog.Pidfd)))
	}
}

// load puts a program into memory. The caller is made undumpable first, so
// that nothing inside the container can trace a child that still shares its
// memory; except that in a user namespace without the host's root the child's
// files in /proc must stay ours until the id maps are written.
func load(l *sysprog.List, dumpable bool) (*sysprog.Memory, error) {
	if !dumpable {
		if err := undumpable(); err != nil {
			return nil, err
		}
	}
	return sysprog.Load(l)
}

func undumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make undumpable: %w", err)
	}
	return nil
}

// serveGates answers the child until it has executed its program, or, if it
// waits for Start, until it is ready.
func (k *creation) serveGates(mem *sysprog.Memory) error {
	var b [1]byte
	ready := false
	for {
		n, err := unix.Read(k.in.GateParentFD, b[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ECONNRESET) { // dead, and has not read our last answer
			if err := mem.Failure(); err != nil {
				return err
			}
		}
		if err != nil {
			return fmt.Errorf("wait for the process: %w", err)
		}
		if n == 0 { // executed, or dead
			if err := mem.Failure(); err != nil || ready {
				return err
			}
			return errKilled
		}
		if err := k.serve(program.Gate(b[0]), mem); err != nil {
			return err
		}
		if _, err := unix.Write(k.in.GateParentFD, b[:]); err != nil {
			return fmt.Errorf("answer the process: %w", errors.Join(mem.Failure(), err))
		}
		ready = program.Gate(b[0]) == program.GateReady
		if ready && k.in.Wait {
			return nil
		}
	}
}

// takeConsole hands a foreground terminal's master to the caller.
func (k *creation) takeConsole() error {
	if k.consoleFD == 0 {
		return nil
	}
	master, err := receiveFD(k.consoleFD)
	if err != nil {
		return fmt.Errorf("receive terminal: %w", err)
	}
	return k.o.Console(master)
}

// inherited lists the descriptors above those passed on that a caller has
// given us without close-on-exec.
func inherited(preserve int) ([]int, error) {
	all, err := openDescriptors(-1)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, fd := range all {
		if fd < 3+preserve {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// openDescriptors lists all descriptors but one.
func openDescriptors(not int) ([]int, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	var fds []int
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd != not {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// kill ends a child of ours and reaps it.
func kill(pid int) {
	_ = unix.Kill(pid, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// killSibling ends a process that is our parent's child, and returns when it is
// dead. The parent reaps it.
func killSibling(pid, pidfd int) {
	if pidfd >= 0 {
		_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		_ = again(func() error {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
			return err
		})
		return
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return
	}
	p, _, err := parseStat(string(b))
	if err != nil {
		return
	}
	// It may have been reaped by now, and the number be another's.
	if f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')'):])); f[2] != strconv.Itoa(os.Getppid()) {
		return
	}
	for ; p.alive(); time.Sleep(time.Millisecond) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

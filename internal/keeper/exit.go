package keeper

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Exit is the end of a child of the keeper that is not its engine: a process
// that an engine made for it, or an orphan that it has adopted.
type Exit struct {
	Seq    uint64 // of the keeper, from 1 on; what Ack names, as numbers of processes come again
	Pid    int
	Start  uint64 // when it began, in clock ticks since boot, as in /proc/PID/stat; 0: not known
	Status unix.WaitStatus
	At     time.Time // when it was reaped
}

const (
	// maxExits bounds the memory for exits that no engine has acknowledged. What
	// ends beyond it is left in the kernel, unreaped, until there is room, so
	// nothing is lost.
	maxExits = 4096

	// Window is how many exits are delivered to an engine ahead of its Ack.
	Window = 128
)

// table holds the exits that are not acknowledged, oldest first.
type table struct {
	last uint64 // Seq of the newest that ever was
	list []Exit
	sent int // how many of list, from the begin, this engine was told
}

func (t *table) full() bool { return len(t.list) >= maxExits }

func (t *table) add(e Exit) {
	t.last++
	e.Seq = t.last
	t.list = append(t.list, e)
}

// ack drops an exit. One that is not there was acknowledged before.
func (t *table) ack(seq uint64) {
	i, ok := slices.BinarySearchFunc(t.list, seq, func(e Exit, seq uint64) int {
		switch {
		case e.Seq < seq:
			return -1
		case e.Seq > seq:
			return 1
		}
		return 0
	})
	if !ok || i >= t.sent {
		return
	}
	t.list = slices.Delete(t.list, i, i+1)
	t.sent--
	if len(t.list) == 0 && cap(t.list) > Window {
		t.list = nil // a flood's memory is not kept
	}
}

// reap reaps what has ended, and tells whether the engine has.
func (k *keeper) reap(now time.Time) (ws unix.WaitStatus, ended bool) {
	for {
		which, id := unix.P_ALL, 0
		if k.exits.full() {
			if k.engine.pid == 0 {
				return ws, ended
			}
			which, id = unix.P_PID, k.engine.pid
		}
		pid, err := nextDead(which, id)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == 0 { // ECHILD: no children at all
			return ws, ended
		}
		start := startTime(pid, k.buf) // before its number is given up
		var status unix.WaitStatus
		if !wait4(pid, &status) {
			return ws, ended
		}
		if pid == k.engine.pid && !ended {
			ws, ended = status, true
			continue
		}
		k.exits.add(Exit{Pid: pid, Start: start, Status: status, At: now})
	}
}

// wait4 reaps a child that has ended.
func wait4(pid int, ws *unix.WaitStatus) bool {
	for {
		if _, err := unix.Wait4(pid, ws, 0, nil); !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}

// nextDead finds a child that has ended, and leaves it; 0: there is none.
func nextDead(which, id int) (pid int, err error) {
	var info unix.Siginfo
	if err := unix.Waitid(which, id, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		return 0, err
	}
	// sigaction(2): si_pid follows three ints, and what aligns a pointer.
	const word = unsafe.Sizeof(uintptr(0))
	const offset = (3*4 + word - 1) &^ (word - 1)
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), offset))), nil
}

// startTime reads field 22 of /proc/PID/stat, proc_pid_stat(5), by way of buf.
func startTime(pid int, buf []byte) uint64 {
	path := strconv.AppendInt(append(buf[:0], "/proc/"...), int64(pid), 10)
	path = append(path, "/stat\x00"...)
	at, flags := unix.AT_FDCWD, uintptr(unix.O_RDONLY|unix.O_CLOEXEC)
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(&path[0])), flags, 0, 0, 0) // unix.Open allocates
	if errno != 0 {
		return 0
	}
	defer unix.Close(int(fd))
	n, err := unix.Read(int(fd), buf)
	if err != nil {
		return 0
	}
	return parseStart(buf[:max(0, n)])
}

func parseStart(stat []byte) (start uint64) {
	field := 2 // the first two are before the last bracket
	for f := range bytes.FieldsSeq(stat[bytes.LastIndexByte(stat, ')')+1:]) {
		if field++; field < 22 {
			continue
		}
		for _, c := range f {
			if c < '0' || c > '9' {
				return 0
			}
			start = 10*start + uint64(c-'0')
		}
		return start
	}
	return 0
}

// deliver tells the engine of exits, as far as it may be ahead.
func (k *keeper) deliver() {
	t := &k.exits
	for k.engine.connected && k.engine.sock >= 0 && t.sent < min(len(t.list), Window) {
		err := send(k.engine.sock, appendExit(k.buf[:0], t.list[t.sent]), nil)
		if err != nil {
			return // full, and it reads what is there before it is told more; or it is dying
		}
		t.sent++
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

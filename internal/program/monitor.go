package program

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// Monitor says how to make the process that keeps the exit status where no
// pidfd can: the parent of the container's first process. It is forked from
// the caller, gives back all memory but the loop and a list of its own
// (CompileMonitor), waits, writes the status and ends.
type Monitor struct {
	FD    int     // open for writing at its begin: gets the wait status, wait4(2), as an int
	Entry uintptr // of the list from CompileMonitor, in memory
	Close []int   // descriptors to close where there is no close_range

	// Memory to give back. How far the address space reaches is not known: of
	// Tails the first that the kernel takes.
	Spans, Tails []sysprog.Span
}

// monitorName is what ps shows.
const monitorName = "tare-monitor"

// beginMonitor forks the monitor. The caller goes on at parent, the monitor at
// the next op; what it records as failed the caller finds in shared memory.
func (c *compiler) beginMonitor(parent *sysprog.Label) {
	m, begin := c.in.Monitor, c.Label("monitor")
	c.Program.Monitor = c.Slot("monitor")
	c.clone("start the monitor", 0, nil, begin).To(c.Program.Monitor).Next(parent)
	c.Here(begin)
	c.inParent = false
	c.Fail = c.died
	// Held until it ends: tells whether it is there, and its number.
	lock := c.Buf(make([]byte, 32)) // struct flock, of the whole file on each CPU
	binary.NativeEndian.PutUint16(lock.Data, unix.F_WRLCK)
	c.Do("lock the exit status", "fcntl", sysprog.Int(m.FD), sysprog.Int(unix.F_SETLK), sysprog.Ptr(lock, 0)).Note("monitor")
	c.Do("leave the session", "setsid") // what ends the caller's must not end it
	c.Do("", "prctl", sysprog.Int(unix.PR_SET_NAME), sysprog.Str(monitorName), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0)).OK(sysprog.AnyErrno)
	for _, s := range m.Spans {
		c.giveBack(s)
	}
	done := c.Label("gave back")
	for _, s := range m.Tails {
		c.giveBack(s).Next(done)
	}
	c.Here(done)
}

func (c *compiler) giveBack(s sysprog.Span) *sysprog.Op {
	return c.Do("", "munmap", sysprog.Int(s.From), sysprog.Int(s.To-s.From)).OK(sysprog.AnyErrno)
}

// endMonitor emits what the monitor does once the process is made, up to its
// own list.
func (c *compiler) endMonitor() {
	m := c.in.Monitor
	dfl := c.Buf(make([]byte, 32))
	// A handler would be in memory that is gone.
	c.Do("", "rt_sigaction", sysprog.Int(unix.SIGTERM), sysprog.Ptr(dfl, 0), sysprog.Int(0), sysprog.Int(8)).OK(sysprog.AnyErrno)
	if !c.facts.CloseRange {
		for _, fd := range m.Close {
			c.Do("", "close", sysprog.Int(fd)).OK(sysprog.AnyErrno)
		}
		for _, fd := range c.parents {
			c.Do("", "close", sysprog.Val(fd)).OK(sysprog.AnyErrno)
		}
	}
	c.Enter("the monitor's list", m.Entry)
}

// CompileMonitor compiles the list that a monitor ends in. It lies apart from
// the program that it is entered from, whose memory it gives back.
func CompileMonitor(fd int) *sysprog.List {
	l := &sysprog.List{Private: true}
	status, mask := l.Buf(make([]byte, 8)), l.Buf(binary.NativeEndian.AppendUint64(nil, ^uint64(1<<(unix.SIGTERM-1))))
	end := l.Label("end")
	try := func(call string, args ...sysprog.Arg) *sysprog.Op {
		return l.Do("", call, args...).OK(sysprog.AnyErrno)
	}
	p := sysprog.Programs()
	try("munmap", sysprog.Int(p.From), sysprog.Int(p.To-p.From))
	try("chdir", sysprog.Str("/"))
	if fd > 0 {
		try("close_range", sysprog.Int(0), sysprog.Int(fd-1), sysprog.Int(0))
	}
	try("close_range", sysprog.Int(fd+1), sysprog.Int(uint32(1<<32-1)), sysprog.Int(0))
	// Only what is meant for it ends it: a service manager would wait for long.
	try("rt_sigprocmask", sysprog.Int(unix.SIG_SETMASK), sysprog.Ptr(mask, 0), sysprog.Int(0), sysprog.Int(8))
	again := l.Label(sysprog.Again)
	l.Here(again)
	l.Do("", "wait4", sysprog.Int(-1), sysprog.Ptr(status, 0), sysprog.Int(0), sysprog.Int(0)).On(unix.EINTR, again).On(sysprog.AnyErrno, end)
	try("lseek", sysprog.Int(fd), sysprog.Int(0), sysprog.Int(0))
	try("write", sysprog.Int(fd), sysprog.Ptr(status, 0), sysprog.Int(4))
	l.Here(end)
	l.Do("", "exit_group", sysprog.Int(0))
	return l
}

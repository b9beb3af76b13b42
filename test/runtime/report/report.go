// Package report holds what the probe tells about the container it runs in.
// It is only data: the probe fills it inside, the suite reads it outside.
// It does not know how either of them works.
package report

// Report is what one process sees of itself and of the container around it.
// A fact that could not be read is its zero value; Errors says why.
type Report struct {
	Pid, PPid, Pgrp, Sid int
	Args, Env            []string
	Cwd                  string
	Exe                  string // target of /proc/self/exe

	UID, GID [4]int // real, effective, saved, file system
	Groups   []int
	Umask    int
	Caps     map[string]uint64 // inheritable, permitted, effective, bounding, ambient

	NoNewPrivs, Seccomp, SeccompFilters int
	SigBlocked                          string // hexadecimal, from /proc/self/status
	OOMScoreAdj                         int
	Rlimits                             map[string][2]uint64 // RLIMIT_X: soft, hard
	IOPrioClass, IOPrioLevel            int
	Scheduler                           Scheduler
	Affinity                            []int
	MemPolicy                           int // MPOL_*, without the flags
	Personality                         uint32
	Machine                             string // uname -m

	Hostname, Domainname string
	Namespaces           map[string]string // name in /proc/self/ns: target
	UIDMap, GIDMap       string
	SetGroups            string
	Monotonic, Boottime  int64 // seconds
	Interfaces           map[string]Interface
	Processes            []int // numeric names in /proc

	Mounts  []Mount
	Cgroup  string // /proc/self/cgroup
	Devices []Device
	FDs     map[int]string // number: target of the link in /proc/self/fd
	TTY     TTY
	Keyring string // description of the session keyring, from keyctl(2)

	Errors []string
}

// Scheduler holds the fields of struct sched_attr, see sched_setattr(2).
type Scheduler struct {
	Policy                    uint32
	Flags                     uint64
	Nice                      int32
	Priority                  uint32
	Runtime, Deadline, Period uint64 // nanoseconds
}

// Mount is one line of /proc/self/mountinfo.
type Mount struct {
	Root, Point  string
	Options      []string // per mount
	Optional     []string // shared:N, master:N, unbindable
	Type, Source string
	Super        []string // per superblock
}

// Device is one entry below /dev that is not a directory.
type Device struct {
	Path         string
	Type         string // c, b, p, l, s or -
	Major, Minor uint32
	Mode         uint32 // permission bits, with set-id and sticky
	UID, GID     uint32
	Link         string
}

// Interface is a network interface: its state and addresses in CIDR form.
type Interface struct {
	Up    bool
	Addrs []string
}

// TTY describes standard input, output and error when they are terminals.
type TTY struct {
	Terminals   [3]bool
	Name        string // target of /proc/self/fd/0
	ONLCR       bool
	Rows, Cols  uint16
	Foreground  int  // tcgetpgrp of standard input
	Controlling bool // /dev/tty opens
}

// Result is the outcome of one command of "probe do".
type Result struct {
	Command string
	Out     string
	Err     string // empty: it worked
}

// Names of the capability sets in Report.Caps.
const (
	Inheritable = "inheritable"
	Permitted   = "permitted"
	Effective   = "effective"
	Bounding    = "bounding"
	Ambient     = "ambient"
)

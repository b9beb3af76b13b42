package program

import (
	"encoding/binary"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// capNames are the capabilities of capabilities(7), by number.
var capNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// Capabilities lists the names that a spec may use, in the kernel's order.
func Capabilities() []string {
	var s []string
	for _, n := range capNames {
		s = append(s, "CAP_"+n)
	}
	return s
}

type capSet uint64

// has tells whether capability n is in the set.
func (s capSet) has(n int) bool { return s>>n&1 != 0 }

// capSets are the five sets of a process, see capabilities(7).
type capSets struct{ bounding, effective, permitted, inheritable, ambient capSet }

// capSets reads the spec's sets. Names that this kernel or Tare does not know
// are warned of and left out, as the specification asks.
func (c *compiler) capSets(l *specs.LinuxCapabilities) capSets {
	if l == nil {
		return capSets{}
	}
	unknown := map[string]bool{}
	have := c.available()
	set := func(names []string) (s capSet) {
		for _, name := range names {
			n := capNumber(name)
			if n < 0 || !have.has(n) {
				if !unknown[name] {
					c.warn("ignoring unknown or unavailable capability %s", name)
				}
				unknown[name] = true
				continue
			}
			s |= 1 << n
		}
		return s
	}
	return capSets{set(l.Bounding), set(l.Effective), set(l.Permitted), set(l.Inheritable), set(l.Ambient)}
}

// available are the capabilities that the process has to give away: all in a
// user namespace of its own, else the caller's.
func (c *compiler) available() capSet {
	all := capSet(1)<<(c.facts.LastCap+1) - 1
	if c.in.inUserNS() {
		return all
	}
	return all & capSet(c.facts.Caps)
}

func capNumber(name string) int {
	short, ok := strings.CutPrefix(strings.ToUpper(name), "CAP_")
	if !ok {
		return -1
	}
	for i, n := range capNames {
		if n == short {
			return i
		}
	}
	return -1
}

// dropBounding emits the fall of every capability that is not in the bounding set.
func (c *compiler) dropBounding(s capSets) {
	for n := 0; n <= c.facts.LastCap; n++ {
		if !s.bounding.has(n) {
			c.Do("drop capability", "prctl", sysprog.Int(unix.PR_CAPBSET_DROP), sysprog.Int(n), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0))
		}
	}
}

// setCaps emits the effective, permitted and inheritable sets, then the
// ambient one, which may hold only what is permitted and inheritable.
func (c *compiler) setCaps(s capSets) {
	c.capset(s)
	for n := 0; n <= c.facts.LastCap; n++ {
		if s.ambient.has(n) {
			// EPERM: not permitted or not inheritable; such a set is impossible,
			// and other runtimes go on without it.
			c.Do("raise ambient capability", "prctl", sysprog.Int(unix.PR_CAP_AMBIENT), sysprog.Int(unix.PR_CAP_AMBIENT_RAISE), sysprog.Int(n), sysprog.Int(0), sysprog.Int(0)).
				OK(unix.EPERM)
		}
	}
}

func (c *compiler) capset(s capSets) {
	const version3 = 0x20080522
	header, data := make([]byte, 8), make([]byte, 24)
	binary.NativeEndian.PutUint32(header, version3)
	for half := range 2 {
		for i, set := range []capSet{s.effective, s.permitted, s.inheritable} {
			binary.NativeEndian.PutUint32(data[half*12+i*4:], uint32(set>>(32*half)))
		}
	}
	c.Do("set capabilities", "capset", sysprog.Ptr(c.Buf(header), 0), sysprog.Ptr(c.Buf(data), 0))
}

package runtimetest

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/test/runtime/report"
)

// Bits from linux/capability.h.
const (
	capChown      = 1 << 0
	capKill       = 1 << 5
	capNetBind    = 1 << 10
	capNetRaw     = 1 << 13
	capAuditWrite = 1 << 29
)

func wantCaps(t *testing.T, r report.Report, want map[string]uint64) {
	t.Helper()
	for set, w := range want {
		if r.Caps[set] != w {
			t.Errorf("%s capabilities %#x, want %#x", set, r.Caps[set], w)
		}
	}
}

func TestCapabilitySetsAreExactlyAsGiven(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
	b.Spec.Process.Capabilities = &specs.LinuxCapabilities{
		Bounding:    []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"},
		Permitted:   []string{"CAP_KILL", "CAP_NET_BIND_SERVICE"},
		Inheritable: []string{"CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"},
		Effective:   []string{"CAP_KILL", "CAP_NET_BIND_SERVICE"},
		Ambient:     []string{"CAP_KILL", "CAP_NET_BIND_SERVICE"},
	}
	wantCaps(t, b.report(), map[string]uint64{
		report.Bounding:    capChown | capKill | capNetRaw | capNetBind,
		report.Inheritable: capKill | capNetBind | capNetRaw,
		report.Permitted:   capKill | capNetBind,
		report.Effective:   capKill | capNetBind,
		report.Ambient:     capKill | capNetBind,
	})
}

// Root gets by execve(2) what is in its bounding set, and nothing else.
func TestRootGetsItsBoundingSet(t *testing.T) {
	t.Parallel()
	r := newBundle(t).report()
	all := uint64(capKill | capNetBind | capAuditWrite)
	wantCaps(t, r, map[string]uint64{
		report.Bounding: all, report.Permitted: all, report.Effective: all, report.Inheritable: 0, report.Ambient: 0,
	})
}

func TestNoCapabilitiesMeansNone(t *testing.T) {
	t.Parallel()
	none := map[string]uint64{report.Bounding: 0, report.Permitted: 0, report.Effective: 0, report.Inheritable: 0, report.Ambient: 0}
	b := newBundle(t)
	b.Spec.Process.Capabilities = &specs.LinuxCapabilities{}
	wantCaps(t, b.report(), none)
	peerLacks(t, "keep those of the caller", "runc", "crun")
	b.Spec.Process.Capabilities = nil
	wantCaps(t, b.report(), none)
}

func TestOrdinaryUserHasNoneWithoutAmbient(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
	wantCaps(t, b.report(), map[string]uint64{report.Permitted: 0, report.Effective: 0, report.Ambient: 0, report.Bounding: capKill | capNetBind | capAuditWrite})
}

func TestUnknownCapabilityIsAWarning(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun 1.8 fails", "crun")
	b := newBundle(t).caps("CAP_KILL", "CAP_NONSENSE")
	b.Spec.Process.Args = []string{"/probe", "report"}
	r := b.mustRun()
	wantCaps(t, b.decode(r), map[string]uint64{report.Bounding: capKill, report.Effective: capKill})
	if !strings.Contains(r.stderr, "CAP_NONSENSE") {
		t.Errorf("no warning names it: %v", r)
	}
}

func TestCapabilityTheCallerLacksIsAWarning(t *testing.T) {
	t.Parallel()
	const sysResource = 24
	if ownCaps()&(1<<sysResource) != 0 {
		t.Skip("needs a machine that lacks CAP_SYS_RESOURCE")
	}
	peerLacks(t, "fail", "runc", "crun")
	b := newBundle(t).caps("CAP_KILL", "CAP_SYS_RESOURCE")
	wantCaps(t, b.report(), map[string]uint64{report.Bounding: capKill, report.Effective: capKill})
}

func TestAmbientNeedsInheritableOrIsLeftOut(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
	b.Spec.Process.Capabilities.Ambient = []string{"CAP_KILL"} // not inheritable: the kernel refuses
	r := b.run()
	if r.code == 0 {
		b.Spec.Process.Args = []string{"/probe", "report"}
		wantCaps(t, b.report(), map[string]uint64{report.Ambient: 0})
	}
}

func TestAllCapabilitiesOfTheCallerCanBeGiven(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	var names []string
	own := ownCaps()
	for bit, name := range capNames {
		if own&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	b.caps(names...)
	if got := b.report().Caps[report.Effective]; got != own&(1<<len(capNames)-1) {
		t.Errorf("effective %#x, want %#x", got, own)
	}
}

// capNames is in the order of linux/capability.h.
var capNames = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID
CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER
CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE
CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN
CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)

func TestKeepCapsIsNotLeftSet(t *testing.T) {
	t.Parallel()
	b := newBundle(t).caps("CAP_SETUID", "CAP_KILL")
	b.Spec.Process.NoNewPrivileges = false
	r := b.do("setuid 1000", "syscall sethostname 0 0")
	if r[0].Out != "1000" || r[1].Err == "" {
		t.Errorf("%v", r)
	}
}

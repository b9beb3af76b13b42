package runtimetest

import (
	"fmt"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// endAttack has the probe say what it got.
func (b *bundle) endAttack() {
	b.t.Helper()
	mustWrite(b.t, b.inRoot("tmp/stop"), "")
	b.stopped()
}

// CVE-2016-9962: a process inside attaches to the runtime's process that joins the container, while
// that still holds descriptors and memory of the host.
func TestAttackPtraceOfProcessAboutToExec(t *testing.T) {
	t.Parallel()
	for _, user := range []bool{false, true} {
		b := newBundle(t, "attach-all", "60")
		if user {
			needNamespace(t, "user")
			b.userNamespace(shiftedRoot, 65536)
		}
		b.up()
		for range 12 {
			b.exec("/probe", "echo")
		}
		b.endAttack()
		if got := contents(b.out); got != "ready\n" {
			t.Errorf("user namespace %v: it got %q", user, got)
		}
	}
}

// Containers that share a process namespace see each other's first process while it waits for start.
func TestAttackPtraceOfContainerThatWaitsForStart(t *testing.T) {
	t.Parallel()
	attacker := newBundle(t, "attach-all", "60").up()
	victim := newBundle(t, "sleep", "60").namespace(specs.PIDNamespace, fmt.Sprintf("/proc/%d/ns/pid", attacker.pid()))
	victim.create()
	time.Sleep(300 * time.Millisecond)
	victim.cli("start", victim.id)
	attacker.endAttack()
	if got := contents(attacker.out); got != "ready\n" {
		t.Errorf("it got %q", got)
	}
}

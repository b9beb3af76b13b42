package runtimetest

import "testing"

// CVE-2016-9962: a process inside attaches to the runtime's process that joins the container, while
// that still holds descriptors and memory of the host.
func TestAttackPtraceOfProcessAboutToExec(t *testing.T) {
	t.Parallel()
	for _, user := range []bool{false, true} {
		b := newBundle(t, "attach-all", "1.5")
		if user {
			needNamespace(t, "user")
			b.userNamespace(shiftedRoot, 65536)
		}
		b.up()
		for range 12 {
			b.exec("/probe", "echo")
		}
		b.stopped()
		if got := contents(b.out); got != "ready\n" {
			t.Errorf("user namespace %v: it got %q", user, got)
		}
	}
}

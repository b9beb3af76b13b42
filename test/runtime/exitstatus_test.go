package runtimetest

import (
	"fmt"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// An engine that was not the parent of a container's process can still learn how it ended.
func TestExitStatusOfADetachedContainerIsKept(t *testing.T) {
	t.Parallel()
	peerLacks(t, "keep no exit status", "runc", "crun")
	for _, c := range []struct {
		name string
		args []string
		kill string
		want int
	}{
		{"zero", []string{"exit", "0"}, "", 0},
		{"code", []string{"exit", "42"}, "", 42},
		{"killed", []string{"sleep", "60"}, "KILL", 137},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, c.args...)
			b.create()
			b.start()
			if c.kill != "" {
				b.ready()
				b.must("kill", b.id, c.kill)
			}
			b.stopped()
			// It is known once the process has been waited for, which is its parent's affair.
			eventually(t, fmt.Sprintf("state with exitStatus %d", c.want), func() bool {
				_, all := b.state()
				return fmt.Sprint(all["exitStatus"]) == fmt.Sprint(c.want)
			})
			if r := b.cli("wait", b.id); r.code != c.want {
				t.Errorf("want %d: %v", c.want, r)
			}
			if r := b.cli("wait", b.id); r.code != c.want {
				t.Errorf("a second time: %v", r)
			}
		})
	}
}

func TestWaitBlocksUntilTheEnd(t *testing.T) {
	t.Parallel()
	peerLacks(t, "have no wait", "runc", "crun")
	b := newBundle(t, "sleep", "60").up()
	cmd, _, errs := begin(t, b.invocation("wait", b.id))
	time.Sleep(50 * time.Millisecond)
	b.must("kill", b.id, "KILL")
	if got := finish(t, cmd); got != 137 {
		t.Errorf("wait ended with %d: %s", got, contents(errs))
	}
	missing := newBundle(t)
	missing.refused([]string{"does not exist"}, "wait", missing.id)
}

// A reboot inside ends only the container, and an engine can tell it from an exit: reboot(2) says
// that the first process of the namespace seems killed by SIGHUP after a restart, by SIGINT after a halt.
func TestRebootInsideEndsOnlyTheContainer(t *testing.T) {
	t.Parallel()
	needCapability(t, "CAP_SYS_BOOT", 22)
	for command, want := range map[string]int{"restart": 128 + 1, "halt": 128 + 2, "power-off": 128 + 2} {
		b := newBundle(t, "reboot", command).caps("CAP_SYS_BOOT")
		if r := b.run(); r.code != want {
			t.Errorf("%s: want %d: %v", command, want, r)
		}
	}
	b := newBundle(t, "reboot", "restart")
	if r := b.run(); r.code != 1 {
		t.Errorf("without CAP_SYS_BOOT: %v", r)
	}
}

func TestStoppedContainerShowsNoPid(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "exit", "0")
	b.create()
	b.start()
	b.stopped()
	if s, _ := b.state(); s.Status != specs.StateStopped || s.Pid != 0 {
		t.Errorf("%+v", s)
	}
}

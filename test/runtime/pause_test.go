package runtimetest

import (
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ticking writes a line every few milliseconds, so that standing still can be seen.
func ticking(t *testing.T) *bundle {
	t.Helper()
	return newBundle(t, "tick", "0.005").up()
}

func (b *bundle) ticks() int { return strings.Count(contents(b.out), "\n") }

// needFreezer skips where containers cannot be frozen.
func needFreezer(t *testing.T) {
	t.Helper()
	needRoot(t)
	if !unifiedOnly() {
		needController(t, "freezer")
	}
}

func TestPauseStopsAndResumeContinues(t *testing.T) {
	t.Parallel()
	needFreezer(t)
	b := ticking(t)
	b.must("pause", b.id)
	if got := b.status(); got != "paused" {
		t.Errorf("status %s", got)
	}
	before := b.ticks()
	time.Sleep(100 * time.Millisecond)
	if after := b.ticks(); after != before {
		t.Errorf("it went on: %d ticks, then %d", before, after)
	}
	b.must("resume", b.id)
	if got := b.status(); got != specs.StateRunning {
		t.Errorf("status %s", got)
	}
	eventually(t, "ticking again", func() bool { return b.ticks() > before })
}

func TestPauseInWrongStatesIsRefused(t *testing.T) {
	t.Parallel()
	needFreezer(t)
	peerLacks(t, "accept some", "runc", "crun")
	b := newBundle(t, "sleep", "60").up()
	b.refused(nil, "resume", b.id)
	b.must("pause", b.id)
	b.refused(nil, "pause", b.id)
	b.refused(nil, "start", b.id)
	b.must("resume", b.id)
	b.must("kill", b.id, "KILL")
	b.stopped()
	b.refused(nil, "pause", b.id)
	b.refused(nil, "resume", b.id)
}

// A signal to a paused container is delivered when it goes on; KILL must not wait for that.
func TestKillOfPausedContainer(t *testing.T) {
	t.Parallel()
	needFreezer(t)
	b := newBundle(t, "wait-signal").up()
	b.must("pause", b.id)
	b.must("kill", b.id, "TERM")
	if out := contents(b.out); strings.Contains(out, "SIGTERM") {
		t.Error("it handled a signal while paused")
	}
	b.must("resume", b.id)
	eventually(t, "told of the signal", func() bool { return strings.Contains(contents(b.out), "SIGTERM") })
	peerLacks(t, "leaves it frozen on v1", "crun")
	k := newBundle(t, "sleep", "60").up()
	k.must("pause", k.id)
	k.must("kill", k.id, "KILL")
	k.stopped()
	k.must("delete", k.id)
}

func TestDeleteForceOfPausedContainer(t *testing.T) {
	t.Parallel()
	needFreezer(t)
	b := newBundle(t, "sleep", "60").up()
	b.must("pause", b.id)
	b.destroy()
}

func TestDeleteOfPausedContainerIsRefused(t *testing.T) {
	t.Parallel()
	needFreezer(t)
	b := newBundle(t, "sleep", "60").up()
	b.must("pause", b.id)
	b.refused(nil, "delete", b.id)
	if got := b.status(); got != "paused" {
		t.Errorf("status %s", got)
	}
}

func TestExecIntoPausedContainer(t *testing.T) {
	t.Parallel()
	needFreezer(t)
	peerLacks(t, "crun 1.8 waits for ever", "crun")
	b := newBundle(t, "sleep", "60").up()
	b.must("pause", b.id)
	wantRefusal(t, b.exec("/probe", "echo", "x"), "paused")
	b.must("resume", b.id)
	if r := b.mustExec("/probe", "echo", "x"); r.stdout != "x\n" {
		t.Error(r)
	}
}

func TestPauseIsSeenInList(t *testing.T) {
	t.Parallel()
	needFreezer(t)
	b := newBundle(t, "sleep", "60").up()
	b.must("pause", b.id)
	if r := b.must("list"); !strings.Contains(r.stdout, "paused") {
		t.Error(r)
	}
}

func TestUpdateOfPausedContainer(t *testing.T) {
	t.Parallel()
	needFreezer(t)
	needController(t, "pids")
	b := newBundle(t, "sleep", "60").up()
	b.must("pause", b.id)
	b.must("update", "--pids-limit", "71", b.id)
	b.wantFile(t, "pids", "pids.max", "71")
	if got := b.status(); got != "paused" {
		t.Errorf("status %s after update", got)
	}
}

package runtimetest

import (
	"encoding/json"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// event is one line of the events command, with the fields that monitoring programs read.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data struct {
		CPU struct {
			Usage struct {
				Total uint64 `json:"total"` // nanoseconds
			} `json:"usage"`
		} `json:"cpu"`
		Memory struct {
			Usage struct {
				Limit, Usage uint64
			} `json:"usage"`
			Raw map[string]uint64 `json:"raw"`
		} `json:"memory"`
		Pids struct {
			Current, Limit uint64
		} `json:"pids"`
	} `json:"data"`
}

func TestEventsStatsShowUse(t *testing.T) {
	t.Parallel()
	needController(t, "memory")
	needController(t, "pids")
	peerLacks(t, "has no events", "crun")
	b := newBundle(t, "sleep", "60")
	b.Spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(256 * mib))}
	b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(77))}
	b.up()
	r := b.must("events", "--stats", b.id)
	var e event
	if err := json.Unmarshal([]byte(r.stdout), &e); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	if e.Type != "stats" || e.ID != b.id {
		t.Errorf("%s of %s", e.Type, e.ID)
	}
	d := e.Data
	if d.CPU.Usage.Total < 100_000 || d.Memory.Usage.Usage < 4096 || d.Memory.Usage.Limit != 256*mib || len(d.Memory.Raw) == 0 {
		t.Errorf("CPU and memory: %+v", d)
	}
	if d.Pids.Current < 1 || d.Pids.Limit != 77 {
		t.Errorf("pids: %+v", d.Pids)
	}
}

func TestEventsTellOfOOM(t *testing.T) {
	t.Parallel()
	needController(t, "memory")
	peerLacks(t, "has no events", "crun")
	b := newBundle(t, "sleep", "60")
	b.Spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 * mib)), Swap: ptr(int64(64 * mib))}
	b.up()
	cmd, out, _ := begin(t, b.invocation("events", "--interval", "100ms", b.id))
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-done })
	eventually(t, "first stats", func() bool { return strings.Contains(contents(out), `"stats"`) })
	if r := b.exec("/probe", "alloc", "200"); r.code != 128+int(unix.SIGKILL) {
		t.Errorf("want the out-of-memory killer: %v", r)
	}
	eventually(t, "told of oom", func() bool { return strings.Contains(contents(out), `"oom"`) })
	b.must("delete", "--force", b.id)
	eventually(t, "ended with the container", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

func TestEventsOfStoppedContainerAreRefused(t *testing.T) {
	t.Parallel()
	peerLacks(t, "has no events", "crun")
	b := newBundle(t, "exit", "0")
	b.create()
	b.start()
	b.stopped()
	b.refused(nil, "events", "--stats", b.id)
}

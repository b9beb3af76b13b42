package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

func TestReasonsAreBoundedAndTheListOfOthersStays(t *testing.T) {
	var m Memory
	for range 2 * reasonsKept {
		before := m.Reasons
		n := len(before)
		m.because("started", "a test")
		if len(m.Reasons) > reasonsKept || len(before) != n {
			t.Fatalf("%d reasons, and %d before, which were %d", len(m.Reasons), len(before), n)
		}
	}
}

func TestWhyEnded(t *testing.T) {
	host := &container.HostConfig{Resources: container.Resources{Memory: 48 << 20}, RestartPolicy: container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3}}
	v := View{&Record{Host: host, Config: &container.Config{}}, Memory{State: container.StateExited, Restarts: 3}}
	asked := v
	asked.Asked = true
	killed := unix.WaitStatus(unix.SIGKILL)
	for _, c := range []struct {
		view        View
		status      unix.WaitStatus
		oom, reboot bool
		want        string
	}{
		{v, 1 << 8, false, false, "by itself"},
		{v, killed, true, false, "all of its memory, 48 MiB"},
		{v, killed, false, false, "something else than the engine sent it SIGKILL"},
		{asked, killed, false, false, "a client asked"},
		{v, unix.WaitStatus(unix.SIGHUP), false, true, "reboot"},
		{v, unknownStatus, false, false, "nobody saw how"},
	} {
		if got := c.view.whyEnded(c.status, c.oom, c.reboot); !strings.Contains(got, c.want) {
			t.Errorf("whyEnded(%v) = %q, want %q", c.status, got, c.want)
		}
	}
	if what, why := v.whyNext(false, 0, false, 1); what != "is parked" || !strings.Contains(why, "4 times in a row") {
		t.Errorf("whyNext = %q, %q", what, why)
	}
	if what, why := v.whyNext(true, 200*time.Millisecond, false, 1); !strings.Contains(what, "200ms") || !strings.Contains(why, "on-failure, 3 times at most") {
		t.Errorf("whyNext = %q, %q", what, why)
	}
	c := &Container{}
	c.now.Store(&v)
	if all := c.Why(); len(all) != 1 || !strings.Contains(all[0].Why, "nothing starts it but a request") {
		t.Errorf("Why = %+v", all)
	}
}

package engine

import (
	"reflect"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestSignals(t *testing.T) {
	for text, want := range map[string]unix.Signal{
		"KILL": unix.SIGKILL, "SIGTERM": unix.SIGTERM, "term": unix.SIGTERM, "9": unix.SIGKILL, "SIGRTMIN+3": 37, "rtmin": 34,
		"0": 0, "65": 0, "FOO": 0, "SIGRTMIN+x": 0,
	} {
		if got := signalNumber(text); got != want {
			t.Errorf("signalNumber(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for text, want := range map[string]bool{"web": true, "a.b-c_d": true, "x": false, "-a": false, "a/b": false, "": false, "ä1": false} {
		if got := validName(text); got != want {
			t.Errorf("validName(%q) = %t, want %t", text, got, want)
		}
	}
}

func TestEnvironmentIsMerged(t *testing.T) {
	got := mergeEnv([]string{"PATH=/x", "A=1", "B=2"}, []string{"A=3", "B", "C=4"})
	if want := []string{"PATH=/x", "A=3", "C=4"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBinds(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]container.MountPoint{
		"data:/d":               {Type: "volume", Name: "data", Destination: "/d", Driver: "local", Mode: "z", RW: true},
		"data:/d/../e:ro":       {Type: "volume", Name: "data", Destination: "/e", Driver: "local", Mode: "ro"},
		dir + ":/d:rslave,ro":   {Type: "bind", Source: dir, Destination: "/d", Mode: "rslave,ro", Propagation: "rslave"},
		dir + "/new:/d:rshared": {Type: "bind", Source: dir + "/new", Destination: "/d", Mode: "rshared", RW: true, Propagation: "rshared"},
	} {
		got, err := parseBind(text)
		if err != nil || !reflect.DeepEqual(got.MountPoint, want) {
			t.Errorf("parseBind(%q) = %+v, %v, want %+v", text, got.MountPoint, err, want)
		}
	}
	for _, text := range []string{"", "data", ":/d", "data:", "a:b:c:d", "x/y:/d", dir + ":/d:fast"} {
		if got, err := parseBind(text); KindOf(err) != Invalid {
			t.Errorf("parseBind(%q) = %+v, %v, want an invalid request", text, got, err)
		}
	}
}

func TestDeviceRules(t *testing.T) {
	five, n189 := int64(5), int64(189)
	for text, want := range map[string]specs.LinuxDeviceCgroup{
		"c 189:* rmw": {Allow: true, Type: "c", Major: &n189, Access: "rmw"},
		"b 5:5 r":     {Allow: true, Type: "b", Major: &five, Minor: &five, Access: "r"},
		"a *:* rwm":   {Allow: true, Type: "a", Access: "rwm"},
	} {
		if got, err := parseDeviceRule(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("parseDeviceRule(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "c 1 r", "x 1:1 r", "c a:1 r", "c 1:1"} {
		if _, err := parseDeviceRule(text); KindOf(err) != Invalid {
			t.Errorf("parseDeviceRule(%q): %v, want an invalid request", text, err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for _, tc := range []struct {
		add, drop []string
		want      []string
	}{
		{drop: []string{"ALL"}, want: nil},
		{drop: []string{"all"}, add: []string{"net_admin", "CAP_CHOWN"}, want: []string{"CAP_CHOWN", "CAP_NET_ADMIN"}},
	} {
		s := &specs.Spec{Process: &specs.Process{}}
		if err := capabilities(s, &container.HostConfig{CapAdd: tc.add, CapDrop: tc.drop}); err != nil {
			t.Fatal(err)
		}
		if got := s.Process.Capabilities.Bounding; !reflect.DeepEqual(got, tc.want) {
			t.Errorf("+%q -%q: %q, want %q", tc.add, tc.drop, got, tc.want)
		}
	}
	if err := capabilities(&specs.Spec{Process: &specs.Process{}}, &container.HostConfig{CapAdd: []string{"FLY"}}); KindOf(err) != Invalid {
		t.Errorf("FLY: %v, want an invalid request", err)
	}
}

func TestTimesInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "Less than a second", time.Second: "1 second", 59 * time.Second: "59 seconds", time.Minute: "About a minute",
		time.Hour: "About an hour", 47 * time.Hour: "47 hours", 50 * time.Hour: "2 days", 400 * 24 * time.Hour: "13 months",
	} {
		if got := ago(d); got != want {
			t.Errorf("ago(%s) = %q, want %q", d, got, want)
		}
	}
}

// TestBackoff: a crash loop gets slower up to a bound, and a good run begins anew.
func TestBackoff(t *testing.T) {
	c := &Container{}
	began := time.Now()
	v := View{&Record{Host: &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "always"}}}, Memory{StartedAt: began}}
	var last time.Duration
	for range 20 {
		d, again := c.policy(1, v, began)
		if !again || d < last {
			t.Fatalf("after %s: %s, %t", last, d, again)
		}
		last = d
	}
	if last != backoffMost {
		t.Errorf("the longest is %s, want %s", last, backoffMost)
	}
	if d, _ := c.policy(1, v, began.Add(backoffGood)); d != backoffFirst {
		t.Errorf("after a good run: %s, want %s", d, backoffFirst)
	}
	v.Asked = true
	if _, again := c.policy(1, v, began); again {
		t.Error("started again although a person stopped it")
	}
	v.Host.RestartPolicy = container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}
	v.Asked, v.Restarts = false, 2
	if _, again := c.policy(1, v, began); again {
		t.Error("started a third time")
	}
	v.Restarts = 1
	if _, again := c.policy(0, v, began); again {
		t.Error("started again after a success")
	}
}

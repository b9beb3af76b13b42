package enginetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// limited has a daemon with further flags.
func limited(t *testing.T, flags ...string) *device {
	t.Helper()
	d := newDevice(t)
	d.stop()
	d.flags = flags
	d.start()
	return d
}

// why is what the engine tells of a container.
func (d *device) why(name string) string {
	d.t.Helper()
	return finish(d.t, exec.Command(d.path, "--root", d.root, "--run", d.run, "why", name), "").out
}

// TestGuaranteedMemoryIsAddedUp: what does not fit is refused, and says who has it.
func TestGuaranteedMemoryIsAddedUp(t *testing.T) {
	d := limited(t, "--memory-reserve", "1m")
	total := strings.TrimSpace(d.must("info", "--format", "{{.MemTotal}}"))
	most := total[:len(total)-6] + "m" // a megabyte of 10^6, which is less
	d.must("run", "-d", "--name", "db", "--memory-reservation", "64m", "--network", "none", "box", "sleep", "1000")
	d.must("create", "--name", "web", "--memory-reservation", most, "--restart", "always", "--network", "none", "box", "sleep", "1000")
	r := d.docker("start", "web")
	if r.code == 0 || !strings.Contains(r.err, "the system keeps 1 MiB, db 64 MiB") {
		t.Errorf("start = %d %q", r.code, r.err)
	}
	if got := d.why("web"); !strings.Contains(got, "could not be started") || !strings.Contains(got, "guaranteed") {
		t.Errorf("why: %s", got)
	}
	d.must("run", "-d", "--name", "small", "--memory-reservation", "8m", "--network", "none", "box", "sleep", "1000")
	if r := d.docker("update", "--memory-reservation", most, "small"); r.code == 0 || !strings.Contains(r.err, "db 64 MiB") {
		t.Errorf("update = %d %q", r.code, r.err)
	}
	d.kill()
	if r := d.docker("start", "web"); r.code == 0 || !strings.Contains(r.err, "db 64 MiB, small 8 MiB") {
		t.Errorf("start by the next engine = %d %q", r.code, r.err)
	}
	if r := d.docker("run", "--memory", "16m", "--memory-reservation", "32m", "box", "true"); r.code == 0 || !strings.Contains(r.err, "reservation") {
		t.Errorf("more guaranteed than allowed: %d %q", r.code, r.err)
	}
	d.must("rm", "-f", "db", "web", "small")
	d.docker("rm", "-f", d.must("ps", "-aq"))
	d.clean()
}

// TestImportanceIsTheKernelsOrder: no process of a container has the engine's or the keeper's oom_score_adj.
func TestImportanceIsTheKernelsOrder(t *testing.T) {
	d := newDevice(t)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"500", nil},
		{"200", []string{"--label", "dev.tare.importance=80"}},
		{"900", []string{"--label", "dev.tare.importance=0"}},
		{"300", []string{"--label", "dev.tare.importance=80", "--oom-score-adj", "300"}},
	} {
		args := append([]string{"run", "-d", "--name", "one", "--network", "none"}, c.args...)
		d.must(append(args, "box", "sh", "-c", "cat /proc/self/oom_score_adj; sleep 1000")...)
		d.eventually("it has printed", func() bool { return d.must("logs", "one") != "" })
		if got := d.must("logs", "one"); got != c.want {
			t.Errorf("%v: oom_score_adj of the container = %s, want %s", c.args, got, c.want)
		}
		if got := d.must("exec", "one", "cat", "/proc/self/oom_score_adj"); got != c.want {
			t.Errorf("%v: oom_score_adj of an exec = %s, want %s", c.args, got, c.want)
		}
		d.must("rm", "-f", "one")
	}
	if r := d.docker("create", "--label", "dev.tare.importance=most", "box", "true"); r.code == 0 || !strings.Contains(r.err, "dev.tare.importance") {
		t.Errorf("a wrong importance: %d %q", r.code, r.err)
	}
	d.clean()
}

// TestTheLeastImportantGivesWay: real stalls, of a container at its own limit, on a device that counts as short.
func TestTheLeastImportantGivesWay(t *testing.T) {
	if _, err := os.Stat("/proc/pressure/memory"); err != nil {
		t.Skip("the kernel has no PSI")
	}
	d := limited(t, "--memory-pressure", "20ms/100%")
	data := filepath.Join(d.dir, "data")
	must(t, os.WriteFile(data, nil, 0o644))
	must(t, os.Truncate(data, 64<<20)) // a hole takes no disk, and fills the reader's own page cache
	label := func(n string) string { return "dev.tare.importance=" + n }
	d.must("run", "-d", "--name", "low", "--label", label("10"), "--restart", "always", "--stop-timeout", "0", "--network", "none", "box", "sleep", "1000")
	d.must("run", "-d", "--name", "once", "--label", label("20"), "--stop-timeout", "0", "--network", "none", "box", "sleep", "1000")
	d.must("run", "-d", "--name", "most", "--label", label("100"), "--network", "none", "box", "sleep", "1000")
	d.must("run", "-d", "--name", "hog", "--label", label("90"), "--memory", "8m", "--network", "none", "-v", data+":/data:ro", "box",
		"sh", "-c", "for i in 1 2 3 4; do while :; do cat /data >/dev/null; done & done; wait")
	d.eventually("low is slowed down", func() bool { return strings.Contains(d.why("low"), "is slowed down") })
	if got := d.why("hog") + d.why("most"); strings.Contains(got, "slowed") {
		t.Errorf("the important ones give way: %s", got)
	}
	d.eventually("low was restarted", func() bool {
		return strings.Contains(d.why("low"), "to slow it down has not helped") && d.state("low") == "running"
	})
	d.must("rm", "-f", "hog")
	want := "daemon <no value> reclaim\ncontainer low slow\ncontainer low restart"
	d.eventually("all of that is told", func() bool { // up to the second before
		got := d.must("events", "--since", "1m", "--until", "0s", "--filter", "event=pressure", "--format",
			"{{.Type}} {{.Actor.Attributes.name}} {{.Actor.Attributes.measure}}")
		return strings.HasPrefix(got, want)
	})
	d.must("rm", "-f", "low", "once", "most")
	d.clean()
}

// TestBootKeepsComposesOrder: what depends on a healthy service waits for that at a boot, too; others do not wait.
func TestBootKeepsComposesOrder(t *testing.T) {
	d := newDevice(t)
	service := func(name, depends string, args ...string) {
		all := []string{
			"create", "--name", name, "--restart", "always", "--network", "none", "--label", "com.docker.compose.project=shop",
			"--label", "com.docker.compose.service=" + name, "--label", "com.docker.compose.depends_on=" + depends,
		}
		d.must(append(all, args...)...)
	}
	service("web", "db:service_healthy:false,init:service_completed_successfully:false", "box", "sleep", "1000")
	service("db", "", "--health-cmd", "test -e /tmp/ready", "--health-interval", "100ms", "--health-retries", "1000", "box",
		"sh", "-c", "sleep 1.5; touch /tmp/ready; sleep 1000")
	service("page", "web:service_started:false", "box", "sleep", "1000")
	service("other", "", "box", "sleep", "1000")
	d.reboot()
	d.eventually("other runs", func() bool { return d.state("other") == "running" })
	if got := d.state("web"); got != "created" {
		t.Errorf("web is %s before db is healthy", got)
	}
	d.kill() // the next engine goes on waiting
	d.eventually("page runs", func() bool { return d.state("page") == "running" })
	at := func(name string) time.Time {
		started, err := time.Parse(time.RFC3339Nano, d.must("inspect", "--format", "{{.State.StartedAt}}", name))
		must(t, err)
		return started
	}
	for _, pair := range [][2]string{{"db", "other"}, {"other", "web"}, {"web", "page"}} {
		if before, after := at(pair[0]), at(pair[1]); !before.Before(after) {
			t.Errorf("%s started at %s, %s at %s", pair[0], before, pair[1], after)
		}
	}
	if got := d.why("web"); !strings.Contains(got, "db is healthy") {
		t.Errorf("why web: %s", got)
	}
	if got := d.why("page"); !strings.Contains(got, "web is started") {
		t.Errorf("why page: %s", got)
	}
	d.must("rm", "-f", "web", "db", "page", "other")
	d.clean()
}

// TestExclusiveCPUs: those without a list of their own leave the CPUs of one that is to be alone, and have them again
// when it has ended.
func TestExclusiveCPUs(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
	d := newDevice(t)
	cpus := func(name string) string {
		return strings.TrimSpace(strings.TrimPrefix(d.must("exec", name, "grep", "Cpus_allowed_list", "/proc/1/status"), "Cpus_allowed_list:"))
	}
	d.must("run", "-d", "--name", "plain", "--network", "none", "box", "sleep", "1000")
	all := cpus("plain")
	d.must("run", "-d", "--name", "alone", "--cpuset-cpus", "1", "--label", "dev.tare.cpus.exclusive=true", "--network", "none", "box", "sleep", "1000")
	d.must("run", "-d", "--name", "later", "--network", "none", "box", "sleep", "1000")
	has := func(list string) bool {
		return slices.Contains(strings.Split(list, ","), "1") || strings.Contains(list, "0-")
	}
	for _, name := range []string{"plain", "later"} {
		d.eventually(name+" has left the CPU", func() bool { return !has(cpus(name)) })
	}
	if r := d.docker("run", "--cpuset-cpus", "0-1", "--name", "more", "--network", "none", "box", "true"); r.code == 0 || !strings.Contains(r.err, "alone has 1") {
		t.Errorf("a list that overlaps: %d %q", r.code, r.err)
	}
	d.kill()
	d.must("run", "-d", "--name", "last", "--network", "none", "box", "sleep", "1000")
	if got := cpus("last"); has(got) {
		t.Errorf("with the next engine it has the CPUs %s", got)
	}
	d.must("rm", "-f", "alone")
	for _, name := range []string{"plain", "later", "last"} {
		d.eventually(name+" has all CPUs again", func() bool { return cpus(name) == all })
	}
	d.must("rm", "-f", "plain", "later", "last", "more")
	d.clean()
}

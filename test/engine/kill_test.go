package enginetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestContainersDoNotNoticeAKilledEngine: they go on, and the next engine knows what they printed and how
// they ended meanwhile.
func TestContainersDoNotNoticeAKilledEngine(t *testing.T) {
	d := newDevice(t)
	d.must("run", "-d", "--name", "counts", "--network", "none", "box", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")
	d.must("run", "-d", "--name", "ends", "--network", "none", "box", "sh", "-c", "sleep 0.5; echo last; exit 7")
	d.must("run", "-d", "-i", "--name", "listens", "--network", "none", "box", "cat")
	d.must("run", "-d", "-t", "--name", "screen", "--network", "none", "box", "sh", "-c", "while :; do tty; sleep 0.2; done")
	d.must("run", "-d", "--name", "frozen", "--network", "none", "box", "sleep", "1000")
	d.must("pause", "frozen")
	pid := d.must("inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}}", "counts")
	for range 3 {
		d.kill()
		time.Sleep(250 * time.Millisecond)
	}
	if got := d.must("inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}}", "counts"); got != pid {
		t.Errorf("counts is %s, was %s", got, pid)
	}
	if got := d.must("wait", "ends"); got != "7" {
		t.Errorf("ends ended with %s, want 7", got)
	}
	if got := d.must("logs", "ends"); got != "last" {
		t.Errorf("ends printed %q", got)
	}
	typed := d.client("attach", "listens") // goes on after its input: the container was started without it
	timer := time.AfterFunc(2*time.Second, func() { _ = d.docker("kill", "listens") })
	if got := finish(t, typed, "hello\n"); got.out != "hello" || got.code != 137 {
		t.Errorf("listens answered %q %q, exit status %d", got.out, got.err, got.code)
	}
	timer.Stop()
	if got := d.must("logs", "--tail", "1", "screen"); strings.TrimSpace(got) != "/dev/pts/0" {
		t.Errorf("screen printed %q", got)
	}
	if got := d.state("frozen"); got != "paused" {
		t.Errorf("frozen is %s", got)
	}
	d.must("stop", "-t", "0", "counts")
	lines := strings.Split(d.must("logs", "counts"), "\n")
	for i, line := range lines {
		if line != fmt.Sprint(i+1) {
			t.Fatalf("line %d of counts is %q", i+1, line)
		}
	}
	if len(lines) < 20 {
		t.Errorf("counts printed %d lines", len(lines))
	}
	d.must("rm", "-f", "counts", "ends", "listens", "screen", "frozen")
	d.clean()
}

// TestKilledAtAnyMoment kills the engine in the middle of what clients do. Each of them may see an error; the
// next engine knows of every container, and takes all of it away.
func TestKilledAtAnyMoment(t *testing.T) {
	d := newDevice(t)
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		var clients sync.WaitGroup
		for n := range 3 {
			name := fmt.Sprintf("c%d-%d", round, n)
			kind := [][]string{
				{"run", "--rm", "--name", name, "--network", "none", "box", "sh", "-c", "echo x; sleep 0.1"},
				{"run", "-d", "--name", name, "--restart", "on-failure:2", "box", "sh", "-c", "sleep 0.05; exit 1"},
				{"run", "-d", "--name", name, "-v", "v" + name + ":/v", "box", "sleep", "1000"},
			}[n]
			run := d.client(kind...)
			stop := d.client("stop", "-t", "0", name)
			clients.Go(func() {
				_ = run.Run()  // the engine may die under it
				_ = stop.Run() // and there may be nothing to stop
			})
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		d.kill()
		clients.Wait()
		d.eventually("the engine answers", func() bool { return d.docker("version").code == 0 })
		if ids := strings.Fields(d.must("ps", "-aq")); len(ids) > 0 {
			d.must(append([]string{"rm", "-f", "-v"}, ids...)...)
		}
		d.clean()
	}
}

// TestAfterABoot: those come back that are to, and nothing else.
func TestAfterABoot(t *testing.T) {
	d := newDevice(t)
	d.must("run", "-d", "--name", "always", "--restart", "always", "-v", "kept:/d", "box", "sh", "-c", "echo x >> /d/f; sleep 1000")
	d.must("run", "-d", "--name", "unless", "--restart", "unless-stopped", "box", "sleep", "1000")
	d.must("run", "-d", "--name", "stopped", "--restart", "unless-stopped", "box", "sleep", "1000")
	d.must("stop", "-t", "0", "stopped")
	d.must("run", "-d", "--name", "once", "box", "sleep", "1000")
	d.must("run", "-d", "--rm", "--name", "gone", "box", "sleep", "1000")
	d.reboot()
	d.eventually("always runs", func() bool { return d.state("always") == "running" })
	d.eventually("unless runs", func() bool { return d.state("unless") == "running" })
	for name, want := range map[string]string{"stopped": "created", "once": "created", "gone": ""} {
		if got := d.state(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	d.must("start", "once")
	d.eventually("the volume is there again", func() bool { return d.docker("exec", "always", "cat", "/d/f").out == "x\nx" })
	d.must("rm", "-f", "always", "unless", "stopped", "once")
	d.clean()
}

// TestTheDaemonMayBeStopped: containers go on without any process of ours, and are taken over.
func TestTheDaemonMayBeStopped(t *testing.T) {
	d := newDevice(t)
	d.must("run", "-d", "--name", "on", "--network", "none", "box", "sleep", "1000")
	d.must("run", "-d", "--name", "off", "--network", "none", "box", "sh", "-c", "sleep 0.5; exit 3")
	pid := d.must("inspect", "--format", "{{.State.Pid}}", "on")
	d.stop()
	time.Sleep(time.Second)
	d.start()
	if got := d.must("inspect", "--format", "{{.State.Pid}}", "on"); got != pid {
		t.Errorf("on has process %s, had %s", got, pid)
	}
	d.eventually("off has ended", func() bool { return d.state("off") == "exited" })
	d.must("kill", "on")
	d.eventually("on has ended", func() bool { return d.state("on") == "exited" })
	d.must("rm", "on", "off")
	d.clean()
}

// TestNothingIsWrittenToFlash: a container's life is no reason to write, but for its making and removal.
func TestNothingIsWrittenToFlash(t *testing.T) {
	d := newDevice(t)
	file := filepath.Join(d.dir, "flash.img")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, 64<<20))
	flash := filepath.Join(d.dir, "flash")
	must(t, os.Mkdir(flash, 0o755))
	for _, line := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", file},
		{"mount", "-o", "loop,noatime", file, flash},
		{"cp", "-a", d.root, flash},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, out)
		}
	}
	t.Cleanup(func() {
		d.wipe()
		d.eventually("flash is unmounted", func() bool { return unix.Unmount(flash, 0) == nil })
	})
	d.stop()
	d.root = filepath.Join(flash, "root")
	d.start()
	d.must("run", "--rm", "box", "true") // makes what is made once: places to mount on
	d.must("create", "--name", "quiet", "box", "sh", "-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i of many; done; echo x > /tmp/x; sleep 1000")
	source, err := exec.Command("findmnt", "-no", "SOURCE", flash).Output()
	must(t, err)
	stat := filepath.Join("/sys/block", filepath.Base(strings.TrimSpace(string(source))), "stat")
	before := written(t, flash, stat)
	d.must("start", "quiet")
	d.must("exec", "quiet", "true")
	d.must("logs", "--tail", "1", "quiet")
	d.must("stop", "-t", "0", "quiet")
	d.must("start", "quiet")
	d.must("kill", "quiet")
	d.must("run", "--rm", "box", "echo", "hello")
	d.kill()
	if now := written(t, flash, stat); now != before {
		t.Errorf("%d sectors were written to flash", now-before)
	}
	d.must("rm", "-f", "quiet")
	d.clean()
}

// written is the sectors that a file system's device was given, once all is on it.
func written(t *testing.T, at, stat string) int {
	t.Helper()
	dir, err := os.Open(at)
	must(t, err)
	defer dir.Close()
	must(t, unix.Syncfs(int(dir.Fd())))
	text, err := os.ReadFile(stat)
	must(t, err)
	var n [7]int
	_, err = fmt.Sscan(string(text), &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6])
	must(t, err)
	return n[6]
}

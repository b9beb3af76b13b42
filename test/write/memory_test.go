package writetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The default writes nothing to flash: not what the container writes, not the store, not a time of
// access, but that with relatime, which is Linux's default, the kernel writes down each day's first.
func TestDefaultRunWritesNothingToFlash(t *testing.T) {
	for options, flags := range map[string]uintptr{"relatime": 0, "noatime": unix.MS_NOATIME} {
		t.Run(options, func(t *testing.T) {
			f := newFlash(t, nil, "")
			must(t, unix.Mount("", f.at, "", unix.MS_REMOUNT|flags, ""))
			d := newDevice(t, f)
			before := f.written(t)
			d.must("run", "--read-only", "box", "true")
			// The first access of a day, or a kernel without EROFS: there the tree is a directory, made once.
			if n := f.written(t) - before; n != 0 && flags&unix.MS_NOATIME != 0 && !madeStubs(d) {
				t.Errorf("the first run wrote %d sectors", n)
			}
			d.must("run", "box", "true")
			d.must("store", "du")
			before = f.written(t)
			for range 3 {
				d.must("run", "box", "sh", "-c", "echo x >/x; dd if=/dev/zero of=/tmp/y bs=1M count=5; chmod 700 /bin/busybox; find / -xdev >/dev/null; cat /x")
				if n := f.written(t) - before; n != 0 {
					t.Errorf("a run wrote %d sectors", n)
				}
				before = f.written(t)
			}
			d.must("images")
			d.must("store", "du")
			d.must("store", "layers")
			d.must("volume", "ls")
			if n := f.written(t) - before; n != 0 {
				t.Errorf("an idle store wrote %d sectors", n)
			}
		})
	}
}

// madeStubs tells whether the first run of an image made the directory that stands for its tree.
func madeStubs(d *device) bool {
	layout, err := os.ReadFile(filepath.Join(d.run, "mnt/layout"))
	must(d.t, err)
	return strings.HasPrefix(string(layout), "stubs")
}

func TestStubsGoWithTheirImage(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	d.must("run", "--layout", "stubs+lower", "box", "true")
	if left := d.left("store/stubs"); len(left) != 1 {
		t.Errorf("stubs: %v", left)
	}
	d.must("rmi", "box")
	if left := d.left("store/stubs"); left != nil {
		t.Errorf("left: %v", left)
	}
}

func TestMemoryHasALimit(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	for _, args := range [][]string{nil, {"--write", "memory"}, {"--write-size", "3m"}} {
		r := d.do(append(append([]string{"run"}, args...), "box", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=70")...)
		if r.code != 1 || !strings.Contains(r.err, "No space left on device") {
			t.Errorf("%v: exit status %d: %s", args, r.code, r.err)
		}
	}
	r := d.do("run", "--write-size", "1m", "box", "sh", "-c", "cd /tmp; i=0; while [ $i -lt 3000 ]; do : >f$i || exit 1; i=$((i+1)); done")
	if r.code != 1 || !strings.Contains(r.err, "No space left on device") {
		t.Errorf("3000 empty files in 1 MiB: exit status %d: %s", r.code, r.err)
	}
	d.refused("--write-size none", "run", "--write-size", "none", "box", "true")
	d.refused("--write-size", "run", "--write-size", "much", "box", "true")
	d.refused("--write tape|memory, flash", "run", "--write", "tape", "box", "true")
	if r := d.do("run", "box", "ls", "/big"); r.code == 0 {
		t.Error("what a container wrote to memory is there after it")
	}
	if left, err := os.ReadDir(d.run + "/containers"); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// kill starts a container, kills its command, and then the container: it ends without its command.
func (d *device) kill(args ...string) {
	d.t.Helper()
	d.orphan(args...)
	d.end()
}

// orphan starts a container and kills its command alone.
func (d *device) orphan(args ...string) {
	d.t.Helper()
	cmd := d.command(append(append([]string{"run", "--name", "victim"}, args...), "box", "sh", "-c", "echo kept >/note; echo up; exec sleep 1000")...)
	if args[len(args)-1] == "--once" {
		cmd = d.command(append(append([]string{"run"}, args[:len(args)-1]...), "box", "sh", "-c", "echo up; exec sleep 1000")...)
	}
	r, w, err := os.Pipe()
	must(d.t, err)
	defer r.Close()
	cmd.Stdout = w
	must(d.t, cmd.Start())
	w.Close()
	must(d.t, r.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = r.Read(make([]byte, 2))
	must(d.t, err)
	must(d.t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
}

// end kills the containers.
func (d *device) end() {
	d.t.Helper()
	entries, err := os.ReadDir(d.run + "/containers")
	must(d.t, err)
	for _, e := range entries {
		d.must("runtime", "--root", d.run+"/runtime", "kill", e.Name(), "KILL")
		for d.do("runtime", "--root", d.run+"/runtime", "state", e.Name()).running() {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (r result) running() bool { return strings.Contains(r.out, `"running"`) }

func TestKilledRunIsSweptByTheNext(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	for _, sweep := range [][]string{{"store", "gc"}, {"run", "box", "true"}} {
		d.kill("--write", "memory")
		d.must(sweep...)
		if left, err := os.ReadDir(d.run + "/containers"); err != nil || len(left) > 0 {
			t.Errorf("after %v: %v, %v", sweep, left, err)
		}
		if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), d.run+"/containers") {
			t.Errorf("after %v: %s, %v", sweep, mounts, err)
		}
	}
}

func TestContainerOutlivesItsCommandWithItsImage(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	for _, write := range [][]string{{"--write", "memory"}, {"--write", "flash", "--write-size", "none"}} {
		d.orphan(write...)
		d.must("store", "gc")
		d.must("run", "box", "true")
		d.refused("container victim", "rmi", "box")
		d.refused("victim", append(append([]string{"run", "--name", "victim"}, write...), "box", "true")...)
		d.end()
	}
	d.must("rm", "victim")
	d.must("rmi", "box")
}

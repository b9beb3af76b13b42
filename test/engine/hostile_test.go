package enginetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// archive is a tar stream. A text that begins with "->" makes a link, with "=>" a hard one.
func archive(t *testing.T, files ...[2]string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "as of git archive"}}))
	for _, f := range files {
		h := &tar.Header{Name: f[0], Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(f[1]))}
		if to, ok := strings.CutPrefix(f[1], "->"); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, to, 0
		} else if to, ok := strings.CutPrefix(f[1], "=>"); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, to, 0
		}
		must(t, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := w.Write([]byte(f[1]))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.String()
}

// TestCopyStaysInside copies archives that point out of a container into it, and what it may not write.
func TestCopyStaysInside(t *testing.T) {
	d := newDevice(t)
	host := filepath.Join(d.dir, "host")
	must(t, os.Mkdir(host, 0o755))
	must(t, os.WriteFile(filepath.Join(host, "secret"), []byte("of the host\n"), 0o600))
	d.must("run", "--detach", "--name", "box", "--network", "none", "-v", host+":/host:ro", "-v", "data:/all",
		"--mount", "type=tmpfs,dst=/t", "box", "sleep", "1000")
	d.must("exec", "box", "sh", "-c", "mkdir -p /all/part /var /real; ln -s /real /var/run; ln -s "+host+" /out")
	d.must("create", "--name", "part", "--network", "none", "--mount", "type=volume,src=data,dst=/part,volume-subpath=part", "box", "true")

	d.mustIn(archive(t, [2]string{"../../../up", "x"}, [2]string{"var/run/deep/file", "through a link\n"}), "cp", "-", "box:/")
	d.mustIn(archive(t, [2]string{"to", "->" + host}, [2]string{"to/written", "x"}), "cp", "-", "box:/tmp")
	d.mustIn(archive(t, [2]string{"above", "->../../../../../../../../.." + host}, [2]string{"above/again", "x"}), "cp", "-", "box:/tmp")
	if r := d.with(archive(t, [2]string{"hard", "=>" + host + "/secret"}), "cp", "-", "box:/"); r.code == 0 && d.docker("exec", "box", "cat", "/hard").out != "" {
		t.Error("a hard link to the host was made")
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(archive(t, [2]string{"unpacked", "x"})))
	must(t, err)
	must(t, z.Close())
	d.mustIn(packed.String(), "cp", "-", "box:/tmp")
	if got := d.must("exec", "box", "cat", "/real/deep/file"); !strings.Contains(got, "through a link") {
		t.Errorf("through the container's link: %q", got)
	}
	d.must("exec", "box", "ls", "/up", "/tmp/unpacked", host+"/written")
	if r := d.docker("cp", "box:/out/secret", "-"); r.code == 0 {
		t.Errorf("the host's file: %q", r.out)
	}

	d.must("stop", "--time", "0", "box")
	if r := d.with(archive(t, [2]string{"stopped", "x"}), "cp", "-", "box:/host"); r.code == 0 || !strings.Contains(r.err, "read-only") {
		t.Errorf("into what is read-only: %d %s", r.code, r.err)
	}
	d.mustIn(archive(t, [2]string{"mine", "x"}), "cp", "-", "part:/part")
	if _, err := os.Stat(filepath.Join(d.root, "volumes", "data", "part", "mine")); err != nil {
		t.Errorf("in a part of a volume: %v", err)
	}
	left, err := os.ReadDir(host)
	must(t, err)
	if len(left) != 1 {
		t.Errorf("on the host: %v", left)
	}
	d.must("rm", "box", "part")
	d.must("volume", "rm", "data")
	d.clean()
}

// mustIn is must with something to read.
func (d *device) mustIn(stdin string, args ...string) {
	d.t.Helper()
	if r := d.with(stdin, args...); r.code != 0 {
		d.t.Fatalf("docker %s: %d %s", strings.Join(args, " "), r.code, r.err)
	}
}

// TestRunStaysFree has a container write to what it has of ours: that must not fill the memory of the host's /run,
// where all engines would stop.
func TestRunStaysFree(t *testing.T) {
	d := newDevice(t)
	d.must("run", "--detach", "--name", "box", "--network", "none", "box", "sleep", "1000")
	free := func() uint64 {
		var st unix.Statfs_t
		must(t, unix.Statfs(d.run, &st))
		return st.Bfree * uint64(st.Bsize)
	}
	before := free()
	if r := d.docker("exec", "box", "sh", "-c", "for f in hosts hostname resolv.conf /x; do dd if=/dev/zero of=/etc/$f bs=1M count=100; done"); r.code == 0 {
		t.Error("a container has written without limit")
	}
	if after := free(); before > after+1<<20 {
		t.Errorf("%d bytes less in RUN", before-after)
	}
	d.must("restart", "--time", "0", "box") // though it has filled its own
	d.must("exec", "box", "grep", "localhost", "/etc/hosts")
	if _, err := os.Stat(strings.TrimSpace(d.must("inspect", "--format", "{{.HostsPath}}", "box"))); err != nil {
		t.Error(err)
	}
	d.must("rm", "--force", "box")
	d.clean()
}

// TestRemoveByForce removes containers while they are started: force is force.
func TestRemoveByForce(t *testing.T) {
	d := newDevice(t)
	for i := range 20 {
		name := "box" + itoa(i)
		d.must("create", "--name", name, "--network", "none", "--restart", "always", "box", "sleep", "1000")
		start := d.client("start", name)
		must(t, start.Start())
		r := d.docker("rm", "--force", name)
		_ = start.Wait() // it may have lost
		if r.code != 0 || strings.Contains(r.err, "Error") {
			t.Errorf("rm --force: %d %s", r.code, r.err)
		}
	}
	d.clean()
}

// TestRestartOfRemoved restarts a container that its end would remove.
func TestRestartOfRemoved(t *testing.T) {
	d := newDevice(t)
	id := d.must("run", "--detach", "--rm", "--name", "brief", "--network", "none", "box", "sleep", "1000")
	d.must("restart", "--time", "0", "brief")
	if got := d.must("inspect", "--format", "{{.Id}} {{.State.Status}}", "brief"); got != strings.TrimSpace(id)+" running" {
		t.Errorf("after restart: %q", got)
	}
	d.must("stop", "--time", "0", "brief")
	d.eventually("it is removed", func() bool { return d.docker("inspect", "brief").code != 0 })
	d.clean()
}

// TestFullRun stops and removes containers when the memory of RUN is full.
func TestFullRun(t *testing.T) {
	d := newDevice(t)
	must(t, unix.Mount("", d.run, "", unix.MS_REMOUNT, "size=16m"))
	for _, name := range []string{"stopped", "killed", "forced"} {
		d.must("run", "--detach", "--name", name, "--network", "none", "box", "sleep", "1000")
	}
	fill := filepath.Join(d.run, "fill")
	if err := os.WriteFile(fill, make([]byte, 16<<20), 0o600); err == nil {
		t.Fatal("it is not full")
	}
	d.must("stop", "--time", "0", "stopped")
	d.must("kill", "killed")
	d.must("rm", "--force", "forced")
	d.must("rm", "stopped", "killed")
	must(t, os.Remove(fill))
	d.clean()
}

// TestOneDaemon starts a second daemon on the same folders.
func TestOneDaemon(t *testing.T) {
	d := newDevice(t)
	out, err := exec.Command("timeout", "10", d.path, "--root", d.root, "--run", d.run, "daemon", "--host", "unix://"+d.dir+"/second").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another daemon") {
		t.Errorf("a second daemon: %v %s", err, out)
	}
	d.stop()
	d.start() // the lock ends with its holder
}

// TestPartOfVolume has a container put a link to the host in the place of a part of a volume, again and again.
func TestPartOfVolume(t *testing.T) {
	d := newDevice(t)
	host := filepath.Join(d.dir, "host")
	must(t, os.Mkdir(host, 0o755))
	must(t, os.WriteFile(filepath.Join(host, "name"), []byte("of the host\n"), 0o600))
	d.must("run", "--detach", "--name", "swaps", "--network", "none", "-v", "data:/v", "box", "sh", "-c",
		"mkdir /v/sub; echo inside >/v/sub/name; while :; do mv /v/sub /v/x; ln -s "+host+" /v/sub; rm /v/sub; mv /v/x /v/sub; done")
	seen := 0
	for range 60 {
		r := d.docker("run", "--rm", "--network", "none", "--mount", "type=volume,src=data,dst=/s,volume-subpath=sub", "box", "cat", "/s/name")
		if strings.Contains(r.out, "of the host") {
			t.Fatal("the host's file is in a container")
		}
		if strings.Contains(r.out, "inside") {
			seen++
		}
	}
	if seen == 0 {
		t.Error("the part was never there")
	}
	d.must("rm", "--force", "swaps")
	d.must("volume", "rm", "data")
	d.clean()
}

package writetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tare.dev/tare/test/rootfs"
)

func TestFlashIsKeptUnderTheName(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	d.refused("--write-size", "run", "--write", "flash", "--name", "web", "box", "true")
	if left := d.left("containers"); left != nil {
		t.Errorf("a refused run left %v", left)
	}
	d.must("run", "--write", "flash", "--write-size", "none", "--name", "web", "box", "sh", "-c", "echo kept >/note; rm /etc/group; chmod 700 /bin/busybox")
	if got := d.must("run", "--write", "flash", "--name", "web", "box", "sh", "-c", "cat /note; ls /etc; stat -c %a /bin/busybox"); got != "kept\npasswd\n700" {
		t.Errorf("the next container of the name has %q", got)
	}
	var layers []struct {
		Name, Image string
		UsedBytes   int64
	}
	must(t, json.Unmarshal([]byte(d.must("store", "layers", "--json")), &layers))
	if len(layers) != 1 || layers[0].Name != "web" || layers[0].UsedBytes == 0 {
		t.Errorf("layers: %+v", layers)
	}
	d.refused("container web|tare rm web", "rmi", "box")
	d.must("store", "gc")
	d.must("rm", "web")
	d.refused("web", "rm", "web")
	d.must("rm", "-f", "web")
	d.must("rmi", "box")
	if left := d.left("containers"); left != nil {
		t.Errorf("left: %v", left)
	}
}

func TestFlashOfAnotherImageIsRefused(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	other := filepath.Join(t.TempDir(), "other")
	must(t, rootfs.Busybox(other))
	must(t, os.WriteFile(filepath.Join(other, "new"), nil, 0o644))
	d.add("other", other)
	mine := filepath.Join(t.TempDir(), "mine")
	for _, where := range [][]string{{"--write", "flash", "--name", "web"}, {"--write", mine}} {
		run := append([]string{"run", "--write-size", "none"}, where...)
		d.must(append(run, "box", "true")...)
		d.refused("is over image sha256:", append(run, "other", "true")...)
		d.must(append(run, "box", "true")...)
	}
	d.refused(mine, "rmi", "box")
	must(t, os.RemoveAll(mine))
	d.must("rm", "web")
	d.must("rmi", "box")
}

func TestFlashOfANamelessContainerGoesWithIt(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	d.must("run", "--write", "flash", "--write-size", "none", "box", "sh", "-c", "echo x >/x")
	d.must("run", "--write", "flash", "--write-size", "none", "--rm", "--name", "web", "box", "sh", "-c", "echo x >/x")
	if left := d.left("containers"); left != nil {
		t.Errorf("left: %v", left)
	}
	d.kill("--write", "flash", "--write-size", "none", "--once")
	if left := d.left("containers"); len(left) != 1 {
		t.Errorf("of a killed run: %v", left)
	}
	d.must("store", "gc")
	if left := d.left("containers"); left != nil {
		t.Errorf("left after gc: %v", left)
	}
	d.kill("--write", "flash", "--write-size", "none")
	d.must("store", "gc")
	if left := d.left("containers"); !slices.Equal(left, []string{"victim"}) {
		t.Errorf("after gc: %v", left)
	}
	if got := d.must("run", "--write", "flash", "--name", "victim", "box", "cat", "/note"); got != "kept" {
		t.Errorf("a killed container's note is %q", got)
	}
}

func TestUnfinishedWorkIsSwept(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	for _, dir := range []string{
		"containers/.removed-1/upper", "containers/.once-1/upper", "containers/unfinished/upper", "volumes/.removed-2/data", "store/stubs/.new-1/usr",
	} {
		must(t, os.MkdirAll(filepath.Join(d.root, dir), 0o755))
	}
	must(t, os.Symlink("/nowhere", filepath.Join(d.root, "containers/.at-1")))
	d.must("store", "gc")
	if left := append(append(d.left("containers"), d.left("volumes")...), d.left("store/stubs")...); !slices.Equal(left, []string{"unfinished"}) {
		t.Errorf("left: %v", left)
	}
	// A layer is one when it has the digest of its image.
	d.must("run", "--write", "flash", "--write-size", "none", "--name", "unfinished", "box", "true")
	must(t, os.Remove(filepath.Join(d.root, "containers/unfinished/image")))
	must(t, os.WriteFile(filepath.Join(d.root, "containers/unfinished/upper/x"), nil, 0o600))
	d.refused("unknown image", "run", "--write", "flash", "--write-size", "none", "--name", "unfinished", "box", "true")
	d.must("rm", "unfinished")
}

func TestVolumes(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	if got := d.must("volume", "create", "one"); got != "one" {
		t.Errorf("create printed %q", got)
	}
	d.must("run", "-v", "one:/data", "-v", "two:/two", "box", "sh", "-c", "echo kept >/data/note")
	if r := d.do("run", "-v", "one:/data:ro", "box", "sh", "-c", "cat /data/note; echo x >/data/x"); r.out != "kept\n" || !strings.Contains(r.err, "Read-only") {
		t.Errorf("read-only: %q, %q", r.out, r.err)
	}
	if got := d.must("volume", "ls", "-q"); got != "one\ntwo" {
		t.Errorf("ls: %q", got)
	}
	var all []struct {
		Name, Path string
		UsedBytes  int64
		Containers []string
	}
	must(t, json.Unmarshal([]byte(d.must("volume", "inspect", "one")), &all))
	if len(all) != 1 || all[0].Path != d.root+"/volumes/one" || all[0].UsedBytes == 0 || all[0].Containers == nil {
		t.Errorf("inspect: %+v", all)
	}
	d.refused("three", "volume", "inspect", "three")
	for _, name := range []string{"..", ".x", "a/b"} {
		d.refused("want a name", "volume", "create", name)
	}
	d.kill("-v", "one:/data")
	d.must("volume", "rm", "one", "two")
	d.refused("one", "volume", "rm", "one")
	if got := d.must("volume", "ls", "--json"); got != "[]" {
		t.Errorf("ls: %q", got)
	}
}

package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/test/distribution"
)

// most is the memory in KiB that no command may exceed, whatever the size of the image.
const most = 24 << 10

// sent is what push --json and copy --json print.
type sent struct {
	Place, Digest                         string
	Flat                                  bool
	SentBytes, SkippedBytes, MountedBytes int64
}

func (d *device) sent(args ...string) sent {
	d.t.Helper()
	var s sent
	if err := json.Unmarshal([]byte(d.must(args...)), &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// checkPeak checks the memory of all commands so far.
func (d *device) checkPeak() {
	d.t.Helper()
	d.t.Logf("most memory: %d KiB", d.peak)
	if d.peak > most {
		d.t.Errorf("a command had %d KiB of memory, want at most %d", d.peak, most)
	}
}

// small is a layout with an image of one layer under the tag "small".
func small(t *testing.T) *foreign {
	t.Helper()
	f := newForeign(t)
	f.list("small", f.image(here(), f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, append([]thing{dir(".", 0o755)}, lower(t)...)...))))
	return f
}

func TestPushKeepsTheImageWhereItsLayersAre(t *testing.T) {
	r := distribution.Start(t, distribution.V2, distribution.Config{})
	f := small(t)
	run(t, needProgram(t, "skopeo"), "copy", "--quiet", "--dest-tls-verify=false", "oci:"+f.dir+":small", "docker://"+r.Host+"/a/app:1")
	d := newDevice(t)
	id := d.must("pull", "-q", r.Host+"/a/app:1")

	again := d.sent("push", "--json", r.Host+"/a/app:1")
	if again.Digest != id || again.Flat || again.SentBytes != 0 || again.SkippedBytes == 0 {
		t.Errorf("push to where it came from: %+v, want %s and nothing sent", again, id)
	}
	moved := d.sent("push", "--json", r.Host+"/a/app:1", r.Host+"/b/other:2")
	if moved.Digest != id || moved.Flat || moved.SentBytes != 0 || moved.MountedBytes == 0 {
		t.Errorf("push to another repository: %+v, want %s taken over", moved, id)
	}
	flat := d.sent("push", "--json", "--flatten", "--compress", "zstd", r.Host+"/a/app:1", r.Host+"/a/app:flat")
	if flat.Digest == id || !flat.Flat || flat.SentBytes == 0 {
		t.Errorf("push --flatten: %+v", flat)
	}
	if twice := d.sent("push", "--json", "--flatten", "--compress", "zstd", r.Host+"/a/app:1", r.Host+"/a/app:flat"); twice.Digest != flat.Digest || twice.SentBytes != 0 {
		t.Errorf("push --flatten again: %+v, want %s and nothing sent", twice, flat.Digest)
	}
	var seen struct{ Digest string }
	text := run(t, "skopeo", "inspect", "--tls-verify=false", "docker://"+r.Host+"/a/app:flat")
	if err := json.Unmarshal([]byte(text), &seen); err != nil || seen.Digest != flat.Digest {
		t.Errorf("skopeo sees %s (%v), tare pushed %s", seen.Digest, err, flat.Digest)
	}
}

func TestPushedImageIsTheSameForOthers(t *testing.T) {
	f := newForeign(t)
	f.list("image", f.image(here(), f.layer(v1.MediaTypeImageLayer, tarOf(t, dir(".", 0o755))), f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, lower(t)...))))
	t.Run("distribution 3", func(t *testing.T) { roundTrip(t, f, distribution.V3) })
	f.list("image", f.image(here(), f.file(v1.MediaTypeImageLayerGzip, debian(t)), f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, lower(t)...))))
	t.Run("Debian at distribution 2", func(t *testing.T) { roundTrip(t, f, distribution.V2) })
}

// roundTrip pushes the image "image" as one layer, and has skopeo fetch it.
func roundTrip(t *testing.T, f *foreign, v distribution.Version) {
	r := distribution.Start(t, v, distribution.Config{})
	d := newDevice(t)
	d.must("pull", "-q", "oci:"+f.dir+":image")
	d.must("tag", "localhost/"+filepath.Base(f.dir)+":image", r.Host+"/deb:1")
	if got := d.sent("push", "--json", r.Host+"/deb:1"); !got.Flat {
		t.Errorf("push: %+v, want one layer", got)
	}
	back := t.TempDir()
	run(t, needProgram(t, "skopeo"), "copy", "--quiet", "--src-tls-verify=false", "docker://"+r.Host+"/deb:1", "oci:"+back+":back")
	same(t, "what skopeo fetched", snapshot(t, umoci(t, back, "back")), snapshot(t, umoci(t, f.dir, "image")))
	d.checkPeak()
}

func TestCopyIsByteExact(t *testing.T) {
	r := distribution.Start(t, distribution.V2, distribution.Config{})
	f := newForeign(t)
	other := v1.Platform{OS: "linux", Architecture: "s390x"}
	layer := f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, lower(t)...))
	ours, theirs := f.image(here(), layer), f.image(other, layer, f.layer(v1.MediaTypeImageLayerZstd, tarOf(t, file("other", large))))
	index := f.document(v1.MediaTypeImageIndex, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{theirs, ours},
	})
	f.list("both", index)
	d := newDevice(t)
	source := "oci:" + f.dir + ":both"
	dir := t.TempDir()

	for _, step := range []struct {
		args []string
		want digest.Digest
	}{
		{[]string{source, r.Host + "/one:1"}, ours.Digest},
		{[]string{"--platform", "linux/s390x", source, r.Host + "/one:2"}, theirs.Digest},
		{[]string{"--all", source, r.Host + "/all:1"}, index.Digest},
		{[]string{"--all", r.Host + "/all:1", "oci:" + dir + "/layout:x"}, index.Digest},
		{[]string{"--all", "oci:" + dir + "/layout:x", "oci-archive:" + dir + "/all.tar:y"}, index.Digest},
		{[]string{"oci-archive:" + dir + "/all.tar:y", "docker-archive:" + dir + "/docker.tar:some/app:z"}, ours.Digest},
		{[]string{"docker-archive:" + dir + "/docker.tar", "oci:" + dir + "/layout:back"}, ours.Digest},
		{[]string{"--all", "oci-archive:" + dir + "/all.tar:y", r.Host + "/all:2"}, index.Digest},
	} {
		if got := d.must(append([]string{"copy", "-q"}, step.args...)...); got != step.want.String() {
			t.Errorf("copy %q = %s, want %s", step.args, got, step.want)
		}
	}
	for _, one := range []v1.Descriptor{index, ours, theirs, layer.Descriptor} {
		name := "blobs/sha256/" + one.Digest.Encoded()
		if a, b := fileHash(t, filepath.Join(f.dir, name)), fileHash(t, filepath.Join(dir, "layout", name)); a != b {
			t.Errorf("%s came out as %s", a, b)
		}
	}
	if got := d.sent("copy", "--json", "--all", r.Host+"/all:1", r.Host+"/new:1"); got.SentBytes != 0 || got.MountedBytes == 0 {
		t.Errorf("copy at one registry: %+v, want all taken over", got)
	}
	if got := d.sent("copy", "--json", "--all", source, r.Host+"/all:3"); got.SentBytes != 0 || got.SkippedBytes == 0 {
		t.Errorf("copy of what is there: %+v, want nothing sent", got)
	}
}

func TestSavedArchiveIsForEverybody(t *testing.T) {
	f := small(t)
	d := newDevice(t)
	d.must("pull", "-q", "oci:"+f.dir+":small")
	local := "localhost/" + filepath.Base(f.dir) + ":small"
	d.must("tag", local, "example.org/app:1")
	d.must("tag", local, "example.org/app:2")
	want := snapshot(t, umoci(t, f.dir, "small"))
	for _, how := range []string{"none", "gzip"} {
		t.Run(how, func(t *testing.T) {
			archive := filepath.Join(t.TempDir(), "saved.tar")
			d.must("save", "--compress", how, "-o", archive, "example.org/app:1", "example.org/app:2")
			for _, place := range []string{"docker-archive:" + archive + ":example.org/app:2", "oci-archive:" + archive + ":1"} {
				back := t.TempDir()
				run(t, needProgram(t, "skopeo"), "copy", "--quiet", place, "oci:"+back+":back")
				same(t, place, snapshot(t, umoci(t, back, "back")), want)
			}
			again := newDevice(t)
			if got := again.must("load", "-q", "-i", archive); got != "Loaded image: example.org/app:1\nLoaded image: example.org/app:2" {
				t.Errorf("load printed %q", got)
			}
			exported := filepath.Join(t.TempDir(), "export.tar")
			again.must("export", "-o", exported, "example.org/app:2")
			same(t, "tare load", snapshot(t, gnuTar(t, exported)), want)
		})
	}
}

func TestImportMakesAnImageOfATree(t *testing.T) {
	archive := debian(t)
	d := newDevice(t)
	id := d.must("import", "-q", "-c", `CMD ["/bin/sh", "-l"]`, "-c", "ENV A=1 B='2 3'", "-c", "LABEL k=v", "-c", "WORKDIR /srv",
		"-c", "EXPOSE 80", "-c", "USER daemon", "-c", "ENTRYPOINT exec it", archive, "my/debian:1")
	if again := d.must("import", "-q", archive, "my/debian:2"); again == id {
		t.Errorf("import without changes is %s too", id)
	}
	exported := filepath.Join(t.TempDir(), "export.tar")
	d.must("export", "-o", exported, "my/debian:1")
	same(t, "export of import", snapshot(t, gnuTar(t, exported)), snapshot(t, gnuTar(t, archive)))
	d.checkPeak()

	var got []struct {
		RepoTags []string
		Config   v1.ImageConfig
		Size     int64
		Tare     struct{ Digest string }
	}
	if err := json.Unmarshal([]byte(d.must("inspect", "my/debian:1")), &got); err != nil {
		t.Fatal(err)
	}
	c := got[0].Config
	if got[0].Tare.Digest != id || got[0].Size == 0 || !slices.Equal(got[0].RepoTags, []string{"my/debian:1"}) ||
		!slices.Equal(c.Cmd, []string{"/bin/sh", "-l"}) || !slices.Equal(c.Env, []string{"A=1", "B=2 3"}) || c.Labels["k"] != "v" ||
		c.WorkingDir != "/srv" || c.User != "daemon" || !slices.Equal(c.Entrypoint, []string{"/bin/sh", "-c", "exec it"}) {
		t.Errorf("inspect: %+v", got[0])
	}
	if _, ok := c.ExposedPorts["80/tcp"]; !ok {
		t.Errorf("inspect: ports %v", c.ExposedPorts)
	}

	in, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if r := d.with(in, "import", "-q", "-"); r.code != 0 {
		t.Errorf("import from standard input: %s", r.err)
	}
}

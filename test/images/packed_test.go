package images

import (
	"os"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/test/built"
	"tare.dev/tare/test/distribution"
)

// TestPackedImagesMoveToo: their objects are nowhere but in compressed packs.
func TestPackedImagesMoveToo(t *testing.T) {
	needRoot(t)
	needProgram(t, "mkfs.erofs")
	f := newForeign(t)
	f.list("image", f.image(here(), f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, append([]thing{dir(".", 0o755)}, lower(t)...)...)),
		f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, upper(t)...))))
	want := snapshot(t, umoci(t, f.dir, "image"))
	r := distribution.Start(t, distribution.V2, distribution.Config{})
	run(t, built.Kit(t), "pack", "oci:"+f.dir+":image", r.Host+"/packed:1")

	d := newDevice(t)
	id := d.must("pull", "-q", r.Host+"/packed:1")
	if got := d.sent("push", "--json", r.Host+"/packed:1", r.Host+"/packed:2"); got.Digest != id || got.SentBytes != 0 {
		t.Errorf("push to where its packs are: %+v", got)
	}
	work := t.TempDir()
	d.must("export", "-o", work+"/export.tar", r.Host+"/packed:1")
	same(t, "export of packs", snapshot(t, gnuTar(t, work+"/export.tar")), want)
	d.must("push", "-q", r.Host+"/packed:1", "oci:"+work+"/flat:x")
	same(t, "push of packs", snapshot(t, umoci(t, work+"/flat", "x")), want)
	d.must("save", "-q", "-o", work+"/saved.tar", r.Host+"/packed:1")
	other := newDevice(t)
	other.must("load", "-q", "-i", work+"/saved.tar")
	other.must("export", "-o", work+"/again.tar", r.Host+"/packed:1")
	if a, b := fileHash(t, work+"/export.tar"), fileHash(t, work+"/again.tar"); a != b {
		t.Error("an image that was packed and one that was saved from it have other trees")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), d.run) {
		t.Errorf("mounts were left: %v", err)
	}
	d.must("rmi", r.Host+"/packed:1")
}

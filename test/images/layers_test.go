package images

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func dir(name string, mode int64) thing {
	return thing{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}}
}

func file(name, data string) thing {
	return thing{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, data: data}
}

func link(name, target string) thing {
	return thing{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}

func symlink(name, target string) thing {
	return thing{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

func (x thing) with(change func(*tar.Header)) thing {
	change(&x.Header)
	return x
}

// capability is CAP_NET_RAW, permitted and effective, as setcap(8) writes it.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func attributes(pairs ...string) func(*tar.Header) {
	return func(h *tar.Header) {
		h.PAXRecords = map[string]string{}
		for n := 0; n < len(pairs); n += 2 {
			h.PAXRecords["SCHILY.xattr."+pairs[n]] = pairs[n+1]
		}
	}
}

var large = strings.Repeat("more than stands in the tree itself. ", 1000)

// lower is a layer that the next one changes in every way it can.
func lower(t *testing.T) []thing {
	return []thing{
		dir("t", 0o755), file("t/replaced", "old "+large), file("t/gone", large),
		dir("t/gone-dir", 0o755), file("t/gone-dir/a", large), dir("t/gone-dir/b", 0o700), file("t/gone-dir/b/c", "c"),
		dir("t/opaque", 0o755), file("t/opaque/old", large), dir("t/opaque/old-dir", 0o755), file("t/opaque/old-dir/x", "x"),
		dir("t/dir-to-file", 0o755), file("t/dir-to-file/x", large), file("t/file-to-dir", large),
		file("t/hard-a", "hard "+large), link("t/hard-b", "t/hard-a"), link("t/hard-c", "t/hard-a"),
		file("t/cross", "cross "+large), file("t/small-cross", "small"),
		dir("t/meta", 0o755).with(attributes("user.old", "1")), file("t/meta/x", "stays"),
		symlink("t/symbolic", "meta"), symlink("t/dangling", "/no/such/../place"),
		file("t/capable", large).with(attributes("security.capability", capability)),
		file("t/attributed", "a").with(attributes("user.a", "1", "user.b", "\x00\n=", "trusted.c", strings.Repeat("c", 3000))),
		file("t/setuid", large).with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o6755, 1000, 70000 }),
		dir("t/sticky", 0o1777),
		file("t/before 1970", "").with(func(h *tar.Header) { h.ModTime = time.Unix(-100, 5) }),
		file("t/late", large).with(func(h *tar.Header) { h.ModTime = time.Unix(1<<32, 1) }),
		file("t/"+strings.Repeat("n", 255), "long"), file("t/\xff\xfe\n bytes", "bytes"),
		{Header: tar.Header{Typeflag: tar.TypeChar, Name: "t/null", Mode: 0o666, Devmajor: 1, Devminor: 3}},
		{Header: tar.Header{Typeflag: tar.TypeBlock, Name: "t/disk", Mode: 0o660, Devmajor: 259, Devminor: 300, Gid: 6}},
		{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "t/fifo", Mode: 0o600}},
		file("t/zeros", strings.Repeat("\x00", 1<<20)), dir("t/empty", 0o500),
	}
}

func upper(t *testing.T) []thing {
	return []thing{
		dir("t", 0o711), file("t/replaced", "new "+large), file("t/.wh.gone", ""), file("t/.wh.gone-dir", ""),
		dir("t/opaque", 0o755), file("t/opaque/.wh..wh..opq", ""), file("t/opaque/new", large),
		file("t/dir-to-file", large), dir("t/file-to-dir", 0o700), file("t/file-to-dir/x", large),
		file("t/hard-a", "not the others any more "+large), file("t/.wh.hard-c", ""),
		link("t/cross-linked", "t/cross"), link("t/small-cross-linked", "t/small-cross"),
		dir("t/meta", 0o2750).with(attributes("user.new", "2")).with(func(h *tar.Header) { h.Uid, h.Gid = 12, 34 }),
		symlink("t/dangling", "somewhere else"), file("t/late-link", "l"), link("t/late-link-2", "t/late-link"),
	}
}

// compareEverywhere shows an image of a layout to tare in each way, and compares with umoci.
func compareEverywhere(t *testing.T, f *foreign, tag string) {
	t.Helper()
	want := snapshot(t, umoci(t, f.dir, tag))
	for path, part := range map[string]string{
		"t/cross-linked": `links 2 same as "t/cross"`, "t/capable": `"security.capability"=`, "t/late": "4294967296.000000001",
		"t/meta": "42750 12:34",
	} {
		if !strings.Contains(want[path], part) || want["t/gone"] != "" {
			t.Fatalf("umoci made %q of %s: not the tree this test is about", want[path], path)
		}
	}
	d := newDevice(t)
	d.must("pull", "-q", "oci:"+f.dir+":"+tag)
	name := "localhost/" + filepath.Base(f.dir) + ":" + tag
	exported := filepath.Join(t.TempDir(), "export.tar")
	d.must("export", "-o", exported, name)
	same(t, "tare export", snapshot(t, gnuTar(t, exported)), want)

	// The one layer that tare makes of it must be the same tree for others.
	flat := filepath.Join(t.TempDir(), "flat")
	d.must("push", "-q", name, "oci:"+flat+":flat")
	same(t, "umoci after tare push", snapshot(t, umoci(t, flat, "flat")), want)

	// And the same again for tare itself.
	again := newDevice(t)
	again.must("pull", "-q", "oci:"+flat+":flat")
	second := filepath.Join(t.TempDir(), "second.tar")
	again.must("export", "-o", second, "localhost/flat:flat")
	if a, b := fileHash(t, exported), fileHash(t, second); a != b {
		t.Errorf("the image pulled again has another tree: %s and %s", a, b)
	}
}

func fileHash(t *testing.T, name string) string {
	t.Helper()
	sum, err := hashOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestLayersUnpackAsUmociUnpacksThem(t *testing.T) {
	needRoot(t)
	f := newForeign(t)
	base := tarOf(t, dir(".", 0o755), dir("etc", 0o755), file("etc/passwd", "root:x:0:0::/:/bin/sh\n"))
	f.list("layers", f.image(here(),
		f.layer(v1.MediaTypeImageLayer, base),
		f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, lower(t)...)),
		f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, upper(t)...))))
	compareEverywhere(t, f, "layers")
}

func TestDebianUnpacksAsUmociUnpacksIt(t *testing.T) {
	f := newForeign(t)
	f.list("debian", f.image(here(),
		f.file(v1.MediaTypeImageLayerGzip, debian(t)), f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, lower(t)...)),
		f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, append(upper(t), file("etc/.wh.passwd", ""), file("usr/share/.wh.zoneinfo", ""))...))))
	compareEverywhere(t, f, "debian")
}

func TestTwoStoresHaveTheSameTree(t *testing.T) {
	f := newForeign(t)
	f.list("debian", f.image(here(), f.file(v1.MediaTypeImageLayerZstd, debian(t)),
		f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, lower(t)...)), f.layer(v1.MediaTypeImageLayer, tarOf(t, upper(t)...))))
	var trees [2]string
	for n := range trees {
		d := newDevice(t)
		id := strings.TrimPrefix(d.must("pull", "-q", "oci:"+f.dir+":debian"), "sha256:")
		found, err := filepath.Glob(filepath.Join(d.root, "store/images", id, "tree*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("trees of the image: %q, %v", found, err)
		}
		trees[n] = fileHash(t, found[0])
		if fsck, err := os.Stat("/usr/bin/fsck.erofs"); err == nil && fsck.Mode().IsRegular() {
			run(t, "fsck.erofs", found[0])
		}
	}
	if trees[0] != trees[1] {
		t.Errorf("one image, two trees: %s and %s", trees[0], trees[1])
	}
}

package images

import (
	"path/filepath"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
)

// TestContainersSeeWhatUmociUnpacks looks at the mounted tree, with the kernel's eyes.
func TestContainersSeeWhatUmociUnpacks(t *testing.T) {
	f := newForeign(t)
	f.list("image", f.image(here(), f.file(v1.MediaTypeImageLayerGzip, debian(t)),
		f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, lower(t)...)), f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, upper(t)...))))
	want := snapshot(t, umoci(t, f.dir, "image"))
	d := newDevice(t)
	d.must("pull", "-q", "oci:"+f.dir+":image")

	s, err := store.Open(filepath.Join(d.root, "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, err := s.Images()
	if err != nil || len(all) != 1 {
		t.Fatalf("images %v, %v", all, err)
	}
	tree, err := all[0].TreePath()
	if err != nil {
		t.Fatal(err)
	}
	packs, err := all[0].SmallPacks()
	if err != nil || len(packs) == 0 {
		t.Fatalf("packs of small files %v, %v", packs, err)
	}
	var small []rootfs.Pack
	for _, p := range packs {
		small = append(small, rootfs.Pack{Key: p.Encoded(), File: s.PackPath(p)})
	}
	m := &rootfs.Mounter{Run: filepath.Join(t.TempDir(), "mnt")}
	key, target := all[0].Digest.Encoded(), t.TempDir()
	l, err := m.Mount(rootfs.Mount{Target: target, Tree: rootfs.Tree{
		Key: key, File: tree, Stubs: filepath.Join(t.TempDir(), "stubs"), Data: []string{s.Objects().Path()},
		Small: small,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
		if err := m.Release(key); err != nil {
			t.Errorf("release: %v", err)
		}
	})
	same(t, "mounted as "+l.String(), snapshot(t, target), want)
}

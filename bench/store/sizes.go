package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"

	"tare.dev/tare/bench/measure"
	"tare.dev/tare/test/rootfs"
)

// sizes are the bytes of the same trees as images of compressing file systems.
type sizes struct {
	Squashfs    int64 `json:"squashfs"`    // zstd, one for each image
	SquashfsAll int64 `json:"squashfsAll"` // zstd, one that holds all trees, each content once
	EROFS       int64 `json:"erofs"`       // lz4hc, one for each image
}

// measureSizes makes the images in memory. What is not installed stays 0.
func (b *bench) measureSizes(ctx context.Context) (*sizes, error) {
	trees := filepath.Join(b.dir, "trees")
	if err := os.Mkdir(trees, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(trees)
	out := filepath.Join(b.dir, "sized")
	size := func(argv ...string) (int64, error) {
		defer os.Remove(out)
		if _, err := exec.LookPath(argv[0]); err != nil {
			return 0, nil
		}
		if err := measure.Command(argv[0], argv[1:]...); err != nil {
			return 0, err
		}
		st, err := os.Stat(out)
		if err != nil {
			return 0, err
		}
		return st.Size(), nil
	}
	squash := func(dir string) (int64, error) {
		return size("mksquashfs", dir, out, "-comp", "zstd", "-quiet", "-no-progress", "-noappend")
	}
	var s sizes
	for _, i := range b.images {
		b.o.say("sizes of %s", i.name)
		dir := filepath.Join(trees, i.name)
		if err := rootfs.Extract(ctx, i.tar, dir); err != nil {
			return nil, err
		}
		n, err := squash(dir)
		if err != nil {
			return nil, err
		}
		s.Squashfs += n
		if n, err = size("mkfs.erofs", "-zlz4hc", out, dir); err != nil {
			return nil, err
		}
		s.EROFS += n
	}
	var err error
	s.SquashfsAll, err = squash(trees)
	return &s, err
}

// Package pack makes compressed packs of objects: EROFS images whose content is a directory of
// objects, "/a/bcd…", for a mount as a data-only layer of overlayfs below the metadata of
// images. It is for a workstation: mkfs.erofs of erofs-utils does the compressing.
//
// Every file in a pack has the digest of its name, and the same objects, choices and version of
// mkfs.erofs make the same bytes.
package pack

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
)

// Mkfs is the program that makes packs, of the Debian package erofs-utils.
const Mkfs = "mkfs.erofs"

// An Object is one to be packed, and how to read its bytes.
type Object struct {
	Digest object.Digest
	Open   func() (io.ReadCloser, error)
}

// Options are choices about a pack. The zero value is good.
type Options struct {
	// Compressor in the words of mkfs.erofs: "lz4hc" if empty, or "lz4", "lz4hc,12", and "zstd,12"
	// from erofs-utils 1.8 and Linux 6.10 on.
	Compressor string
	// Cluster is how many bytes a compressed piece may take, a multiple of 4096: 64 KiB if 0.
	// Larger ones save little and cost the device memory for each read.
	Cluster int
}

// Make makes a pack of the objects and returns its size in bytes. Each is hashed on its way: one
// with other bytes is object.ErrDamaged. The pack appears under its name when it is whole and
// lasts. Beside it there must be room for an uncompressed copy of all objects. It needs no root;
// without mkfs.erofs the error wraps exec.ErrNotFound.
func Make(ctx context.Context, objects []Object, out string, o Options) (int64, error) {
	size, err := build(ctx, objects, out, o)
	if err != nil {
		return 0, fmt.Errorf("make pack %s: %w", out, err)
	}
	return size, nil
}

func build(ctx context.Context, objects []Object, out string, o Options) (size int64, err error) {
	mkfs, err := exec.LookPath(Mkfs)
	if err != nil {
		return 0, fmt.Errorf("the package erofs-utils is needed: %w", err)
	}
	if len(objects) == 0 {
		return 0, errors.New("no objects")
	}
	objects = slices.Clone(objects)
	order.By(objects, func(a, b Object) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	objects = slices.CompactFunc(objects, func(a, b Object) bool { return a.Digest == b.Digest })

	stage, err := os.MkdirTemp(filepath.Dir(out), ".pack-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	content, image := filepath.Join(stage, "content"), filepath.Join(stage, "image")
	sizes, err := copyObjects(ctx, objects, content)
	if err != nil {
		return 0, err
	}
	if err := run(ctx, mkfs, arguments(o, objects, image, content)); err != nil {
		return 0, err
	}
	if err := check(image, objects, sizes); err != nil {
		return 0, err
	}
	return commit(image, out)
}

// copyObjects copies the objects below dir, where all have one mode, and returns their sizes.
func copyObjects(ctx context.Context, objects []Object, dir string) ([]int64, error) {
	if err := mkdir(dir); err != nil {
		return nil, err
	}
	sizes := make([]int64, len(objects))
	for i, o := range objects {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := filepath.Join(dir, o.Digest.Path())
		if err := mkdir(filepath.Dir(path)); err != nil {
			return nil, err
		}
		var err error
		if sizes[i], err = copyObject(o, path); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// mkdir makes a directory whose mode does not depend on the umask.
func mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chmod(path, 0o755)
}

func copyObject(o Object, path string) (size int64, err error) {
	in, err := o.Open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	hash := sha256.New()
	if size, err = io.Copy(io.MultiWriter(out, hash), in); err != nil {
		return 0, err
	}
	if got := object.Digest(hash.Sum(nil)); got != o.Digest {
		return 0, fmt.Errorf("object %s: its bytes have the digest %s: %w", o.Digest, got, object.ErrDamaged)
	}
	return size, out.Chmod(0o444)
}

// arguments of mkfs.erofs: all that would come from this machine is fixed. The UUID differs from
// pack to pack, since overlayfs tells its layers apart by it.
func arguments(o Options, objects []Object, image, content string) []string {
	return []string{
		"--quiet", "-T0", "--all-root", "-x-1", "-U" + uuid(objects),
		"-z" + cmp.Or(o.Compressor, "lz4hc"), "-C" + strconv.Itoa(cmp.Or(o.Cluster, 64<<10)),
		image, content,
	}
}

// uuid returns a UUID of version 8 (RFC 9562) made of the objects' digests.
func uuid(objects []Object) string {
	hash := sha256.New()
	for _, o := range objects {
		hash.Write(o.Digest[:])
	}
	u := uuid8([16]byte(hash.Sum(nil)))
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// uuid8 makes random bytes a UUID of version 8.
func uuid8(u [16]byte) [16]byte {
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return u
}

func run(ctx context.Context, program string, args []string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", Mkfs, err, bytes.TrimSpace(out))
	}
	return nil
}

// commit makes the image last under its name.
func commit(image, out string) (int64, error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := f.Chmod(0o644); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	if err := os.Rename(image, out); err != nil {
		return 0, err
	}
	dir, err := os.Open(filepath.Dir(out))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	return info.Size(), dir.Sync()
}

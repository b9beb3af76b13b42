// Command store measures what bringing images to a device costs: tare beside docker,
// containerd and podman, each on a file system of its own.
//
// # What is measured
//
// Five images are made from Debian packages: four sets of packages that have most files in
// common, and the first again with other time stamps. No two share a layer. Debian's
// docker-registry serves them on the loopback interface. Each engine starts on a new ext4 of
// 2 GB on a loop device, and its temporary files (TMPDIR, /var/tmp) are on that file system too,
// as on a device that has one flash chip.
//
// # What is counted
//
//   - Wall time: of the client's process, from before its fork to its reaping.
//   - CPU: user and system time of all processes of the engine, daemons too, by their control group.
//     What kernel threads do (writeback, the loop device) is counted for nobody.
//   - Memory: the highest sum of the resident sets of all processes of the engine, sampled every
//     5 ms, or the highest of one process by its own count (VmHWM) if that is more.
//   - Written: bytes that reach the block device (/sys/block/loopN/stat) from before the pull to
//     after sync and umount, metadata and journal included. It is compared with the sum of the sizes
//     of the files that no image before had, each content once.
//   - Barriers: calls that wait for the medium (fsync, fdatasync, syncfs, sync) as ext4 sees them,
//     and cache flushes of the device, both until the client ends.
//   - Disk: used blocks of the file system, after sync.
//   - The second read: both images run; every file below /usr that both have is read through the
//     first one's root, then through the second's. Its pages that are not in memory before the
//     second reading (mincore(2)) and the bytes read from the device should be none.
//   - Sizes: the tare store beside one squashfs and one EROFS for each image.
//
// # Noise
//
// The loop device's file is in memory unless -disk says otherwise, so a barrier costs next to nothing
// here and a pull is bound by processors. Everything measured runs at nice -15. Engines take turns; the
// lowest of -n rounds counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"tare.dev/tare/bench/measure"
)

type options struct {
	n       int
	images  int
	only    string
	tare    string
	disk    string
	cache   string
	sizes   bool
	json    bool
	verbose bool
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("store", flag.ContinueOnError)
	f.IntVar(&o.n, "n", 3, "`rounds` of the first pull")
	f.IntVar(&o.images, "images", 5, "`number` of images to pull, 2 to 5")
	f.StringVar(&o.only, "only", "", "comma-separated `engines` to measure (default: all that are installed)")
	f.StringVar(&o.tare, "tare", "bin/tare", "the tare `binary`, as `make build` makes it")
	f.StringVar(&o.disk, "disk", "", "`directory` for the loop device's file (default: memory)")
	f.StringVar(&o.cache, "cache", "build/rootfs", "`directory` where the images' trees are kept")
	f.BoolVar(&o.sizes, "sizes", true, "make squashfs and EROFS images to compare sizes with")
	f.BoolVar(&o.json, "json", false, "print JSON instead of tables")
	f.BoolVar(&o.verbose, "v", false, "say what happens")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.n < 1:
		return o, fmt.Errorf("-n %d: must be at least 1", o.n)
	case o.images < 2 || o.images > len(sets):
		return o, fmt.Errorf("-images %d: must be 2 to %d", o.images, len(sets))
	}
	for _, path := range []*string{&o.tare, &o.disk, &o.cache} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o options) say(format string, args ...any) {
	if o.verbose {
		fmt.Fprintf(os.Stderr, "store: "+format+"\n", args...)
	}
}

func main() {
	o, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(2)
	}
	os.Exit(measure.Inside("store", func(ctx context.Context, dir string) error { return inner(ctx, o, dir) }))
}

func inner(ctx context.Context, o options, dir string) (err error) {
	b := &bench{o: o, dir: dir}
	defer func() { err = errors.Join(err, b.cleanup()) }()
	r, err := b.measure(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return r.writeJSON(os.Stdout)
	}
	return r.writeTables(os.Stdout)
}

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
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// innerEnv marks the copy of this program that measures, in namespaces of its own.
const innerEnv = "TARE_BENCH_STORE_DIR"

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

func (o options) wants(name string) bool {
	if o.only == "" {
		return true
	}
	for s := range strings.SplitSeq(o.only, ",") {
		if s == name {
			return true
		}
	}
	return false
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
	if dir := os.Getenv(innerEnv); dir != "" {
		err = inner(o, dir)
	} else {
		err = outer()
	}
	var status *exec.ExitError
	if errors.As(err, &status) && status.Exited() && os.Getenv(innerEnv) == "" {
		os.Exit(status.ExitCode()) // the inner copy has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(1)
	}
}

// outer runs this program again as the first process of new namespaces: when it ends, however it
// ends, the kernel ends every daemon with it, and unmounts all that was mounted.
func outer() error {
	if os.Geteuid() != 0 {
		return errors.New("must run as root: it mounts and starts containers")
	}
	dir, err := os.MkdirTemp("", "tare-bench-store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), innerEnv+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL, Setsid: true,
	}
	return cmd.Run()
}

func inner(o options, dir string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	defer stop()
	if err := arrangeHost(dir); err != nil {
		return err
	}
	if err := prefer(); err != nil {
		return err
	}
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

// prefer makes other load on the machine wait for what is measured. With automatic groups a
// session's own number counts, else the process's (sched(7)).
func prefer() error {
	if err := os.WriteFile("/proc/self/autogroup", []byte("-15"), 0); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -15); err != nil {
		return fmt.Errorf("setpriority: %w", err)
	}
	return nil
}

// arrangeHost gives the bench a process table, a /run and a scratch directory of its own.
func arrangeHost(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, m := range []struct{ kind, at, data string }{
		{"proc", "/proc", ""}, {"tmpfs", "/run", "mode=755"}, {"tmpfs", dir, "mode=755,size=90%"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	// podman remembers here which registry had which blob, for all its stores.
	if err := os.MkdirAll("/var/lib/containers", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/var/lib/containers", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs on /var/lib/containers: %w", err)
	}
	return hideUnifiedControllers(dir)
}

// hideUnifiedControllers: crun up to 1.8.1 refuses to work where a hybrid host has left a
// controller in the v2 hierarchy.
func hideUnifiedControllers(dir string) error {
	const list = "/sys/fs/cgroup/unified/cgroup.controllers"
	content, err := os.ReadFile(list)
	if os.IsNotExist(err) || err == nil && strings.TrimSpace(string(content)) == "" {
		return nil
	}
	if err != nil {
		return err
	}
	empty := filepath.Join(dir, "no-controllers")
	if err := os.WriteFile(empty, nil, 0o444); err != nil {
		return err
	}
	if err := unix.Mount(empty, list, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cover %s: %w", list, err)
	}
	return nil
}

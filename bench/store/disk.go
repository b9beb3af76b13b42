package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// diskSize holds five images of the engine that needs the most for one.
const diskSize = 4 << 30

// A disk is an ext4 of its own on a loop device.
type disk struct {
	file string
	loop string   // "loop3"
	hold *os.File // the device goes with its last user, so it goes with this process
	dir  string   // where it is mounted
	dev  string   // "7,3", as trace events name it
}

// newDisk makes and mounts a file system. Its inode tables and journal are written at once, so that
// the kernel does not write them later, on somebody's bill.
func newDisk(file, dir string) (*disk, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(diskSize)
	f.Close()
	if err != nil {
		return nil, err
	}
	if err := command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", file); err != nil {
		return nil, err
	}
	d := &disk{file: file, dir: dir}
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("losetup %s: %w: %s", file, err, out)
	}
	device := strings.TrimSpace(string(out))
	d.loop = filepath.Base(device)
	if d.hold, err = os.Open(device); err != nil {
		return nil, err
	}
	// Detaching a device in use marks it to go with its last user (loop(4), LO_FLAGS_AUTOCLEAR).
	if err := command("losetup", "--detach", device); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", device, err)
	}
	d.dev = fmt.Sprintf("%d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := d.mount(); err != nil {
		return nil, err
	}
	return d, os.Mkdir(filepath.Join(dir, "tmp"), 0o1777)
}

func (d *disk) mount() error {
	if err := unix.Mount("/dev/"+d.loop, d.dir, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", d.loop, err)
	}
	return nil
}

func (d *disk) unmount() error {
	if err := unix.Unmount(d.dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.dir, err)
	}
	return nil
}

// remove takes the disk away, mounted or not.
func (d *disk) remove() error {
	_ = unix.Unmount(d.dir, unix.MNT_DETACH) // not mounted is fine
	d.hold.Close()
	return os.Remove(d.file)
}

func (d *disk) sync() error {
	fd, err := unix.Open(d.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", d.dir, err)
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("syncfs %s: %w", d.dir, err)
	}
	return nil
}

// used is the bytes in use.
func (d *disk) used() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", d.dir, err)
	}
	return int64(st.Blocks-st.Bfree) * int64(st.Bsize), nil
}

// traffic is what a block device did (kernel, Documentation/block/stat.rst).
type traffic struct {
	read, written  int64 // bytes
	writes, flushs int64
}

func (d *disk) traffic() (traffic, error) {
	name := "/sys/block/" + d.loop + "/stat"
	text, err := os.ReadFile(name)
	if err != nil {
		return traffic{}, err
	}
	f := strings.Fields(string(text))
	if len(f) < 17 {
		return traffic{}, fmt.Errorf("%s: %d fields, want 17 (Linux 5.5)", name, len(f))
	}
	at := func(i int) int64 {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		return n
	}
	return traffic{read: at(2) * 512, written: at(6) * 512, writes: at(4), flushs: at(15)}, nil
}

func (t traffic) minus(u traffic) traffic {
	return traffic{t.read - u.read, t.written - u.written, t.writes - u.writes, t.flushs - u.flushs}
}

// command runs a program that prints only when it goes wrong.
func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

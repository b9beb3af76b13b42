package measure

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

// A Disk is an ext4 of its own on a loop device.
type Disk struct {
	file string
	loop string   // "loop3"
	hold *os.File // the device goes with its last user, so it goes with this process
	Dir  string   // where it is mounted
	Dev  string   // "7,3", as trace events name it
}

// NewDisk makes and mounts a file system. Its inode tables and journal are written at once, so that
// the kernel does not write them later, on somebody's bill.
func NewDisk(file, dir string) (*Disk, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(diskSize)
	f.Close()
	if err != nil {
		return nil, err
	}
	if err := Command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", file); err != nil {
		return nil, err
	}
	d := &Disk{file: file, Dir: dir}
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
	if err := Command("losetup", "--detach", device); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", device, err)
	}
	d.Dev = fmt.Sprintf("%d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := d.Mount(); err != nil {
		return nil, err
	}
	return d, os.Mkdir(filepath.Join(dir, "tmp"), 0o1777)
}

// Mount mounts it.
func (d *Disk) Mount() error {
	if err := unix.Mount("/dev/"+d.loop, d.Dir, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", d.loop, err)
	}
	return nil
}

// Unmount unmounts it, which empties its part of the page cache.
func (d *Disk) Unmount() error {
	if err := unix.Unmount(d.Dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.Dir, err)
	}
	return nil
}

// Remove takes the disk away, mounted or not.
func (d *Disk) Remove() error {
	_ = unix.Unmount(d.Dir, unix.MNT_DETACH) // not mounted is fine
	d.hold.Close()
	return os.Remove(d.file)
}

// Sync makes everything last.
func (d *Disk) Sync() error {
	fd, err := unix.Open(d.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", d.Dir, err)
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("syncfs %s: %w", d.Dir, err)
	}
	return nil
}

// Used is the bytes in use.
func (d *Disk) Used() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.Dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", d.Dir, err)
	}
	return int64(st.Blocks-st.Bfree) * int64(st.Bsize), nil
}

// Traffic is what a block device did (kernel, Documentation/block/stat.rst).
type Traffic struct {
	Read, Written  int64 // bytes
	Writes, Flushs int64
}

// Traffic is what the disk did since it was made.
func (d *Disk) Traffic() (Traffic, error) {
	name := "/sys/block/" + d.loop + "/stat"
	text, err := os.ReadFile(name)
	if err != nil {
		return Traffic{}, err
	}
	f := strings.Fields(string(text))
	if len(f) < 17 {
		return Traffic{}, fmt.Errorf("%s: %d fields, want 17 (Linux 5.5)", name, len(f))
	}
	at := func(i int) int64 {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		return n
	}
	return Traffic{Read: at(2) * 512, Written: at(6) * 512, Writes: at(4), Flushs: at(15)}, nil
}

// Minus is what happened since u.
func (t Traffic) Minus(u Traffic) Traffic {
	return Traffic{t.Read - u.Read, t.Written - u.Written, t.Writes - u.Writes, t.Flushs - u.Flushs}
}

// Command runs a program that prints only when it goes wrong.
func Command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

package storetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A filesystem is a kind of file system that a device has its store on.
type filesystem struct {
	name    string
	size    int64
	mkfs    []string
	options string // while it is written: as restless as can be, so that a cut finds much half done
	replay  string // when it is mounted after a cut
}

// page is what a device writes whole or not at all. All three file systems take it for granted of
// their superblocks, and flash does it.
const page = 4096

func filesystems() []filesystem {
	return []filesystem{
		{"ext4", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"}, "commit=1", ""},
		{"btrfs", 128 << 20, []string{"mkfs.btrfs", "-q", "-f", "-K", "-m", "single"}, "commit=1,nodiscard", "nodiscard"},
		{"xfs", 320 << 20, []string{"mkfs.xfs", "-q", "-f", "-K"}, "", "nouuid"},
	}
}

// empty is a new file system.
func (k filesystem) empty(t *testing.T) *content {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty")
	f, err := os.Create(path)
	must(t, err)
	must(t, f.Truncate(k.size))
	must(t, f.Close())
	if _, err := exec.LookPath(k.mkfs[0]); err != nil {
		t.Fatal(err) // test/install.sh installs it
	}
	out, err := exec.Command(k.mkfs[0], append(k.mkfs[1:], path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", k.mkfs[0], err, out)
	}
	return readContent(t, path)
}

// A mounted file system is unmounted by its method, or with the test's mount namespace.
type mounted struct{ at string }

// mount mounts f, a file that holds the file system, through a loop device.
func (k filesystem) mount(f *os.File, at, options string) (*mounted, error) {
	dev, err := attach(f)
	if err != nil {
		return nil, err
	}
	defer dev.Close() // the mount keeps it
	if err := unix.Mount(dev.Name(), at, k.name, unix.MS_NOATIME, options); err != nil {
		return nil, fmt.Errorf("mount %s: %w", k.name, err)
	}
	return &mounted{at}, nil
}

func (m *mounted) unmount() error {
	// A child of another test may have a descriptor of ours for a moment, between its fork and exec.
	for try := 0; ; try++ {
		err := unix.Unmount(m.at, 0)
		if err != unix.EBUSY || try == 100 { //nolint // an errno as it came
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// needFilesystem skips where the kernel has no such file system.
func needFilesystem(t *testing.T, name string) {
	t.Helper()
	needRoot(t)
	text, err := os.ReadFile("/proc/filesystems")
	must(t, err)
	if !strings.Contains(string(text), "\t"+name+"\n") {
		t.Skipf("needs the kernel to have %s", name)
	}
}

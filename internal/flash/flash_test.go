package flash

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine makes a sysfs with an eMMC whose second partition has the file system.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	sys := t.TempDir()
	disk := "devices/platform/mmc/mmc0/mmc0:0001/block/mmcblk0"
	all := map[string]string{
		disk + "/stat":                "10 0 80 5 200 3 4096 9 0 1 2 0 0 0 0 77 4\n",
		disk + "/mmcblk0p2/stat":      "1 0 8 5 20 3 8 9 0 1 2\n",
		disk + "/mmcblk0p2/partition": "2\n", "fs/ext4/mmcblk0p2/lifetime_write_kbytes": "2097152\n",
	}
	for name, text := range files {
		all[strings.Replace(name, "DISK", disk, 1)] = text
	}
	for name, text := range all {
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(sys, "dev/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(sys, disk, "mmcblk0p2"), filepath.Join(sys, "dev/block/179:2")); err != nil {
		t.Fatal(err)
	}
	return sys
}

func TestRead(t *testing.T) {
	sys := machine(t, map[string]string{"DISK/device/life_time": "0x03 0x02\n", "DISK/device/pre_eol_info": "0x01\n"})
	r, err := read(sys, unix.Mkdev(179, 2), 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want := Report{Device: "mmcblk0", Written: 2 << 20, Since: 48 * time.Hour, Flushes: 77, Lifetime: 2 << 30, Wear: 30, EndNear: "normal"}
	if r != want {
		t.Errorf("read %+v\nwant %+v", r, want)
	}
	if r.PerDay() != 1<<20 {
		t.Errorf("%d bytes a day", r.PerDay())
	}
	// 2 GiB at 1 MiB a day are 2048 days for 30 %: 4778 for the rest.
	if days := int(r.Left().Hours() / 24); days != 4778 {
		t.Errorf("%d days left", days)
	}
}

func TestWhatNobodyTellsIsNotMadeUp(t *testing.T) {
	r, err := read(machine(t, nil), unix.Mkdev(179, 2), time.Hour)
	if err != nil || r.Wear != 0 || r.EndNear != "" || r.Left() != 0 {
		t.Errorf("read %+v, %v", r, err)
	}
	if _, err := read(t.TempDir(), unix.Mkdev(0, 31), time.Hour); err == nil || !strings.Contains(err.Error(), "no block device") {
		t.Errorf("err = %v", err)
	}
	odd := machine(t, map[string]string{"DISK/device/life_time": "nonsense 0xfff\n", "DISK/device/pre_eol_info": "9\n"})
	if r, err := read(odd, unix.Mkdev(179, 2), time.Hour); err != nil || r.Wear > 110 || r.EndNear != "" {
		t.Errorf("read %+v, %v", r, err)
	}
}

// Package flash tells what was written to the medium under a directory, and how worn it says it is.
//
// Sources: Linux, Documentation/admin-guide/iostats.rst, ABI/stable/sysfs-block, ABI/testing/sysfs-fs-ext4 and
// sysfs-fs-f2fs; for eMMC drivers/mmc/core/mmc.c and JESD84-B51, 7.4.37 (PRE_EOL_INFO) and 7.4.38 (DEVICE_LIFE_TIME_EST); for
// UFS ABI/testing/sysfs-driver-ufs; for UBI ABI/stable/sysfs-class-ubi.
package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Report is what is known of a medium. Zero is what nobody tells.
type Report struct {
	Device  string        `json:"device"` // as in /sys/block, of the whole medium
	Written int64         `json:"writtenBytes"`
	Since   time.Duration `json:"sinceNanoseconds"` // the boot
	Flushes int64         `json:"flushes"`
	// Lifetime is what the file system has written since it was made.
	Lifetime int64 `json:"lifetimeBytes,omitempty"`
	// Wear is how much of its life the medium says is used, the upper bound, in percent: eMMC and UFS tell in tenths.
	Wear int `json:"wearPercent,omitempty"`
	// EndNear is its own warning: "normal", "warning" (80 % of the reserved blocks are used) or "urgent" (90 %).
	EndNear string `json:"preEOL,omitempty"`
}

// PerDay is the bytes that a day takes at the rate since the boot.
func (r Report) PerDay() int64 {
	if r.Since <= 0 {
		return 0
	}
	return int64(float64(r.Written) / r.Since.Hours() * 24)
}

// Left is how long the medium goes on as it has so far; 0 when it cannot be told. Its age is what the file system's
// lifetime is at today's rate, so it is an estimate, and the coarser the younger the medium is.
func (r Report) Left() time.Duration {
	if r.Wear <= 0 || r.Wear >= 100 || r.Lifetime <= 0 || r.PerDay() <= 0 {
		return 0
	}
	days := float64(r.Lifetime) / float64(r.PerDay()) * float64(100-r.Wear) / float64(r.Wear)
	return time.Duration(days * float64(24*time.Hour))
}

// Read looks at the medium that has a directory.
func Read(dir string) (Report, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return Report{}, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	up, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return Report{}, err
	}
	return read("/sys", uint64(st.Dev), uptime(string(up)))
}

func uptime(text string) time.Duration {
	seconds, _, _ := strings.Cut(text, " ")
	f, _ := strconv.ParseFloat(seconds, 64)
	return time.Duration(f * float64(time.Second))
}

// read reads from a sysfs.
func read(sys string, dev uint64, since time.Duration) (Report, error) {
	r := Report{Since: since}
	link, err := filepath.EvalSymlinks(filepath.Join(sys, "dev/block", fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))))
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("no block device is under it (a file system in memory, of a network, on UBI or of several devices)")
	}
	if err != nil {
		return r, err
	}
	part := path.Base(link)
	if _, err := os.Stat(filepath.Join(link, "partition")); err == nil {
		link = filepath.Dir(link)
	}
	r.Device = path.Base(link)
	text, err := os.ReadFile(filepath.Join(link, "stat"))
	if err != nil {
		return r, err
	}
	f := strings.Fields(string(text))
	if len(f) > 6 {
		r.Written = integer(f[6]) * 512
	}
	if len(f) > 15 {
		r.Flushes = integer(f[15])
	}
	for _, kind := range []string{"ext4", "f2fs"} {
		if text, err := os.ReadFile(filepath.Join(sys, "fs", kind, part, "lifetime_write_kbytes")); err == nil {
			r.Lifetime = integer(strings.TrimSpace(string(text))) << 10
		}
	}
	r.health(link)
	return r, nil
}

// health reads what the medium says of itself.
func (r *Report) health(link string) {
	if text, err := os.ReadFile(filepath.Join(link, "device", "life_time")); err == nil { // eMMC: two kinds of cells
		for field := range strings.FieldsSeq(string(text)) {
			r.Wear = max(r.Wear, tenths(field))
		}
	}
	for _, name := range []string{"life_time_estimation_a", "life_time_estimation_b"} {
		if text, err := os.ReadFile(filepath.Join(link, "device/../../../health_descriptor", name)); err == nil { // UFS
			r.Wear = max(r.Wear, tenths(strings.TrimSpace(string(text))))
		}
	}
	for _, name := range []string{"device/pre_eol_info", "device/../../../health_descriptor/eol_info"} {
		if text, err := os.ReadFile(filepath.Join(link, name)); err == nil {
			r.EndNear = map[int64]string{1: "normal", 2: "warning", 3: "urgent"}[hexadecimal(strings.TrimSpace(string(text)))]
		}
	}
}

// tenths: 1 is 0 to 10 % of the life used, 11 is beyond it.
func tenths(s string) int { return int(min(max(hexadecimal(s), 0), 11)) * 10 }

func hexadecimal(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimPrefix(s, "0x"), 16, 32)
	return n
}

func integer(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

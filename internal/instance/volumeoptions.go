package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/quota"
)

// volumeOptions is what the options of docker's driver local come to. Without any, a volume is a
// directory on flash.
type volumeOptions struct {
	limit int64  // bytes, of one on flash
	bind  string // a directory of the host

	tmpfs bool
	flags uintptr // of mount(2)
	data  string
}

// parseVolumeOptions reads the options that docker documents for its driver local ("docker volume
// create", section "Driver-specific options"): type, device and o, which are those of mount(8).
func parseVolumeOptions(all map[string]string) (volumeOptions, error) {
	var o volumeOptions
	for key, value := range all {
		switch key {
		case "type", "device", "o":
		case "size":
			n, err := ParseSize(value)
			if err != nil {
				return o, fmt.Errorf("option size: %w", err)
			}
			o.limit = n
		default:
			return o, fmt.Errorf("option %s: not one of type, device, o, size", key)
		}
	}
	switch kind := all["type"]; {
	case kind == "tmpfs":
		o.tmpfs = true
		o.flags, o.data = mountOptions(all["o"])
	case kind == "" && all["device"] == "" && all["o"] == "":
		return o, nil
	case (kind == "none" || kind == "bind" || kind == "") && hasWord(all["o"], "bind", "rbind"):
		if !filepath.IsAbs(all["device"]) {
			return o, fmt.Errorf("option device: %q: want the path of a directory", all["device"])
		}
		o.bind = filepath.Clean(all["device"])
	default:
		return o, fmt.Errorf("option type: %q: want tmpfs, or none with o=bind", kind)
	}
	if o.limit > 0 {
		return o, errors.New("option size: is of volumes on flash (of one in memory: o=size=...)")
	}
	return o, nil
}

func hasWord(list string, words ...string) bool {
	for word := range strings.SplitSeq(list, ",") {
		for _, w := range words {
			if word == w {
				return true
			}
		}
	}
	return false
}

// mountOptions splits mount(8)'s option list in flags of mount(2) and data of the file system.
func mountOptions(list string) (uintptr, string) {
	flags := uintptr(unix.MS_NODEV)
	var data []string
	for word := range strings.SplitSeq(list, ",") {
		switch word {
		case "", "rw", "defaults", "nodev":
		case "ro":
			flags |= unix.MS_RDONLY
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "noexec":
			flags |= unix.MS_NOEXEC
		case "noatime":
			flags |= unix.MS_NOATIME
		default:
			data = append(data, word)
		}
	}
	return flags, strings.Join(data, ",")
}

// Limit bounds what is written below a directory, and says what to do where that cannot be.
func Limit(dir string, bytes int64) error {
	err := quota.Limit(dir, bytes)
	if errors.Is(err, quota.ErrNone) {
		return fmt.Errorf("%w; mount the file system with prjquota (ext4 made with -O quota,project; f2fs; xfs), "+
			"write to memory, or give no limit", err)
	}
	return err
}

// WriteLasting writes a small file that is whole when it has its name. All that was made on its file
// system before lasts, too.
func WriteLasting(path, text string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: dir.Name(), Err: err}
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return dir.Sync()
}

// ParseSize reads a number of bytes with a unit of 1024, as docker's --memory has them.
func ParseSize(s string) (int64, error) {
	number, shift := strings.ToLower(s), 0
	number = strings.TrimSuffix(number, "b")
	if i := strings.IndexAny(number, "kmgt"); i >= 0 && i == len(number)-1 {
		shift = 10 * (1 + strings.IndexByte("kmgt", number[i]))
		number = number[:i]
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n <= 0 || n*float64(int64(1)<<shift) > 1<<60 {
		return 0, fmt.Errorf("%s: want a size such as 64m or 1g", s)
	}
	return int64(n * float64(int64(1)<<shift)), nil
}

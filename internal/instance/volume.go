package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Volumes are directories on flash that containers share and that outlast them, one below Dir for each.
// A volume that was made with labels or options has a file beside it, which is written before it is made
// and removed after it: a file without its directory is no volume.
type Volumes struct {
	Dir string // ROOT/volumes
	Run string // RUN/volumes, where those in memory are mounted
}

// VolumesOf are the volumes of an engine, or of commands without one, by its folders on flash and in memory.
func VolumesOf(root, run string) Volumes {
	return Volumes{Dir: filepath.Join(root, "volumes"), Run: filepath.Join(run, "volumes")}
}

// A VolumeSpec is what a volume was asked for with.
type VolumeSpec struct {
	Labels map[string]string `json:"labels,omitempty"`
	// Options are those of docker's driver local, type, device and o, and size: a limit in bytes, with a
	// unit of 1024 if any, of one on flash.
	Options map[string]string `json:"options,omitempty"`
}

// A Volume is one that is there.
type Volume struct {
	VolumeSpec
	Name    string
	Path    string // what containers have mounted
	Created time.Time
}

var (
	// ErrVolume is a volume that is not there.
	ErrVolume = errors.New("no such volume")
	// ErrInvalid is a name that cannot be one, or options that are not understood.
	ErrInvalid = errors.New("invalid")
)

// Create makes a volume, or finds the one that has the name already: made is false then, and the spec
// has no effect.
func (v Volumes) Create(name string, spec VolumeSpec) (vol Volume, made bool, err error) {
	if vol, err = v.Get(name); !errors.Is(err, ErrVolume) {
		return vol, false, err
	}
	o, err := parseVolumeOptions(spec.Options)
	if err != nil {
		return vol, false, fmt.Errorf("volume %s: %w: %w", name, ErrInvalid, err)
	}
	at := filepath.Join(v.Dir, name)
	if err := os.MkdirAll(v.Dir, 0o755); err != nil {
		return vol, false, err
	}
	if err := v.writeSpec(name, spec); err != nil {
		return vol, false, fmt.Errorf("volume %s: %w", name, err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		return vol, false, err
	}
	if o.limit > 0 {
		if err := Limit(at, o.limit); err != nil {
			return vol, false, errors.Join(fmt.Errorf("volume %s: %w", name, err), os.Remove(at), v.dropSpec(name))
		}
	}
	vol, err = v.Get(name)
	return vol, true, err
}

// Get finds a volume. ErrVolume says that it is not there.
func (v Volumes) Get(name string) (Volume, error) {
	vol := Volume{Name: name, Path: filepath.Join(v.Dir, name)}
	if err := CheckName(name); err != nil {
		return vol, fmt.Errorf("volume %w", err)
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, vol.Path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME|unix.STATX_CTIME, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return vol, fmt.Errorf("volume %s: %w", name, ErrVolume)
	}
	if err != nil {
		return vol, &fs.PathError{Op: "statx", Path: vol.Path, Err: err}
	}
	made := st.Btime
	if st.Mask&unix.STATX_BTIME == 0 {
		made = st.Ctime // not every file system keeps when a file was made
	}
	vol.Created = time.Unix(made.Sec, int64(made.Nsec)).UTC()
	text, err := os.ReadFile(v.specPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return vol, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &vol.VolumeSpec)
	}
	if err != nil {
		return vol, fmt.Errorf("volume %s: %w", name, err)
	}
	o, err := parseVolumeOptions(vol.Options)
	switch {
	case err != nil:
		return vol, fmt.Errorf("volume %s: %w", name, err)
	case o.tmpfs:
		vol.Path = filepath.Join(v.Run, name)
	case o.bind != "":
		vol.Path = o.bind
	}
	return vol, nil
}

// List lists all volumes, by name.
func (v Volumes) List() ([]Volume, error) {
	entries, err := os.ReadDir(v.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := []Volume{}
	for _, e := range entries {
		if !e.IsDir() || CheckName(e.Name()) != nil {
			continue
		}
		vol, err := v.Get(e.Name())
		if errors.Is(err, ErrVolume) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, vol)
	}
	return all, nil
}

// Mount makes that a volume can be mounted by its path: one in memory is made when it is first used, and
// is there until the volume is removed or the machine reboots.
func (v Volumes) Mount(vol Volume) error {
	o, err := parseVolumeOptions(vol.Options)
	if err != nil || !o.tmpfs {
		return err
	}
	if err := os.MkdirAll(vol.Path, 0o755); err != nil {
		return err
	}
	if mounted(vol.Path) {
		return nil
	}
	if err := unix.Mount("tare", vol.Path, "tmpfs", o.flags, o.data); err != nil {
		return fmt.Errorf("volume %s: %w", vol.Name, &fs.PathError{Op: "mount tmpfs on", Path: vol.Path, Err: err})
	}
	return nil
}

// Remove removes a volume and what is in it. A directory of the host that one stands for stays. The
// caller knows that no container has it.
func (v Volumes) Remove(name string) error {
	if _, err := v.Get(name); err != nil {
		return err
	}
	at := filepath.Join(v.Run, name)
	if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err == nil {
		if err := os.Remove(at); err != nil {
			return err
		}
	} else if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "unmount", Path: at, Err: err}
	}
	return errors.Join(Bury(filepath.Join(v.Dir, name)), v.dropSpec(name))
}

func (v Volumes) specPath(name string) string { return filepath.Join(v.Dir, "."+name+".json") }

func (v Volumes) writeSpec(name string, spec VolumeSpec) error {
	if len(spec.Labels) == 0 && len(spec.Options) == 0 {
		return v.dropSpec(name)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return WriteLasting(v.specPath(name), string(text)+"\n")
}

func (v Volumes) dropSpec(name string) error {
	err := os.Remove(v.specPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// CheckName holds the name of a container or volume to what a file's can be.
func CheckName(name string) error {
	ok := name != "" && len(name) <= 128 && name[0] != '.' && name[0] != '-'
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_.-+", c))
	}
	if !ok {
		return fmt.Errorf("%q: %w: want a name of letters, digits and _ . -", name, ErrInvalid)
	}
	return nil
}

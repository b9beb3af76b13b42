package engine

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"tare.dev/tare/internal/instance"
)

// resolveMounts makes one list of all that is to be mounted: binds, mounts, volumes of the image and of
// other containers. Volumes that lack are made.
func (e *Engine) resolveMounts(r *Record) error {
	if err := e.mountsFrom(r); err != nil {
		return err
	}
	for _, b := range r.Host.Binds {
		m, err := parseBind(b)
		if err != nil {
			return err
		}
		if err := r.addMount(m); err != nil {
			return err
		}
	}
	for i := range r.Host.Mounts {
		m, err := parseMount(&r.Host.Mounts[i])
		if err != nil {
			return err
		}
		if err := r.addMount(m); err != nil {
			return err
		}
	}
	for at, options := range r.Host.Tmpfs {
		m := Mount{MountPoint: container.MountPoint{Type: mount.TypeTmpfs, Destination: path.Clean(at), RW: true}}
		m.Options = tmpfsOptions(options)
		if err := r.addMount(m); err != nil {
			return err
		}
	}
	for at := range r.Config.Volumes {
		if !mountedOver(r, path.Clean(at)) {
			m := Mount{MountPoint: container.MountPoint{Type: mount.TypeVolume, Destination: path.Clean(at), RW: true}}
			if err := r.addMount(m); err != nil {
				return err
			}
		}
	}
	return e.makeVolumes(r)
}

// mountsFrom takes those of --volumes-from.
func (e *Engine) mountsFrom(r *Record) error {
	for _, from := range r.Host.VolumesFrom {
		name, mode, _ := strings.Cut(from, ":")
		other, err := e.Find(name)
		if err != nil {
			return err
		}
		for _, m := range other.View().Mounts {
			m.RW = m.RW && mode != "ro"
			m.Anonymous = false // it is the other's
			if err := r.addMount(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// addMount: a place is taken once; of others' volumes and one's own, one's own counts.
func (r *Record) addMount(m Mount) error {
	if !path.IsAbs(m.Destination) {
		return Errorf(Invalid, "invalid mount config: mount path must be absolute: %q", m.Destination)
	}
	if m.Destination == "/" {
		return Errorf(Invalid, "invalid specification: destination can't be '/'")
	}
	for i := range r.Mounts {
		if r.Mounts[i].Destination != m.Destination {
			continue
		}
		if len(r.Host.VolumesFrom) > 0 {
			r.Mounts[i] = m
			return nil
		}
		return Errorf(Invalid, "Duplicate mount point: %s", m.Destination)
	}
	r.Mounts = append(r.Mounts, m)
	return nil
}

// parseBind reads SOURCE:DESTINATION[:OPTIONS].
func parseBind(s string) (Mount, error) {
	f := strings.Split(s, ":")
	if len(f) < 2 || len(f) > 3 || f[0] == "" || f[1] == "" {
		return Mount{}, Errorf(Invalid, "invalid volume specification: '%s'", s)
	}
	m := Mount{MountPoint: container.MountPoint{Type: mount.TypeBind, Source: f[0], Destination: path.Clean(f[1]), RW: true}}
	if !path.IsAbs(f[0]) {
		m.Type, m.Name, m.Source, m.Driver, m.Mode = mount.TypeVolume, f[0], "", "local", "z"
		if !validName(f[0]) {
			return m, Errorf(Invalid, "create %s: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. "+
				"If you intended to pass a host directory, use absolute path", f[0], f[0])
		}
	} else if err := makeBindSource(f[0]); err != nil {
		return m, err
	}
	if len(f) < 3 {
		return m, nil
	}
	m.Mode = f[2]
	for _, o := range strings.Split(f[2], ",") {
		switch {
		case o == "ro":
			m.RW = false
		case o == "rw", o == "z", o == "Z", o == "nocopy", o == "cached", o == "delegated", o == "consistent", o == "":
		case slices.Contains(mount.Propagations, mount.Propagation(o)):
			m.Propagation = mount.Propagation(o)
		default:
			return m, Errorf(Invalid, "invalid mode: %s", f[2])
		}
	}
	return m, nil
}

// makeBindSource makes a directory that lacks, as docker does for -v but not for --mount.
func makeBindSource(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		if _, there := os.Stat(dir); there == nil {
			return nil // a file
		}
		return Errorf(Invalid, "error while creating mount source path '%s': %w", dir, err)
	}
	return nil
}

func parseMount(from *mount.Mount) (Mount, error) {
	m := Mount{MountPoint: container.MountPoint{
		Type: from.Type, Source: from.Source, Destination: path.Clean(from.Target), RW: !from.ReadOnly,
	}}
	switch from.Type {
	case mount.TypeBind:
		if !path.IsAbs(from.Source) {
			return m, Errorf(Invalid, "invalid mount config for type \"bind\": invalid mount path: '%s' mount path must be absolute", from.Source)
		}
		if o := from.BindOptions; o != nil {
			m.Propagation = o.Propagation
			if o.CreateMountpoint {
				if err := makeBindSource(from.Source); err != nil {
					return m, err
				}
			}
		}
		if _, err := os.Stat(from.Source); err != nil {
			return m, Errorf(Invalid, "invalid mount config for type \"bind\": bind source path does not exist: %s", from.Source)
		}
	case mount.TypeVolume:
		m.Name, m.Source, m.Driver, m.Mode = from.Source, "", "local", "z"
		if o := from.VolumeOptions; o != nil {
			m.Subpath = o.Subpath
		}
	case mount.TypeTmpfs:
		m.Source = ""
		m.Options = tmpfsOptions("")
		if o := from.TmpfsOptions; o != nil {
			if o.SizeBytes > 0 {
				m.Options = append(m.Options, fmt.Sprintf("size=%d", o.SizeBytes))
			}
			if o.Mode != 0 {
				m.Options = append(m.Options, fmt.Sprintf("mode=%o", o.Mode))
			}
		}
	default:
		return m, Errorf(NotOffered, "mounts of type %q are not offered: use bind, volume or tmpfs", from.Type)
	}
	return m, nil
}

func tmpfsOptions(more string) []string {
	options := []string{"nosuid", "nodev", "noexec"}
	for _, o := range strings.Split(more, ",") {
		if plain, ok := strings.CutPrefix(o, "no"); !ok && o != "" {
			options = slices.DeleteFunc(options, func(have string) bool { return have == "no"+o })
		} else if ok {
			options = slices.DeleteFunc(options, func(have string) bool { return have == plain })
		}
		if o != "" {
			options = append(options, o)
		}
	}
	return options
}

// makeVolumes makes the volumes that lack, and gives those without a name one.
func (e *Engine) makeVolumes(r *Record) error {
	for i := range r.Mounts {
		m := &r.Mounts[i]
		if m.Type != mount.TypeVolume {
			continue
		}
		if m.Name == "" {
			m.Name, m.Anonymous = newID(), true
		}
		m.Driver = "local"
		var err error
		if m.Source, err = e.makeVolume(m.Name, m.Anonymous); err != nil {
			return err
		}
	}
	return nil
}

// anonymousLabel marks a volume that nobody gave a name, as docker does.
const anonymousLabel = "com.docker.volume.anonymous"

func (e *Engine) volumes() instance.Volumes { return instance.VolumesOf(e.o.Root, e.o.Run) }

func (e *Engine) makeVolume(name string, anonymous bool) (string, error) {
	spec := instance.VolumeSpec{}
	if anonymous {
		spec.Labels = map[string]string{anonymousLabel: ""}
	}
	v, made, err := e.volumes().Create(name, spec)
	if errors.Is(err, instance.ErrInvalid) {
		return "", &Error{Invalid, err}
	}
	if err != nil {
		return "", err
	}
	if made {
		e.Publish("volume", "create", name, map[string]string{"driver": "local"})
	}
	return v.Path, nil
}

// volumePath is the directory of a volume, which is mounted if it is one that has to be.
func (e *Engine) volumePath(name string) (string, error) {
	all := e.volumes()
	v, err := all.Get(name)
	if errors.Is(err, instance.ErrVolume) { // a person removed it
		if _, err := e.makeVolume(name, false); err != nil {
			return "", err
		}
		v, err = all.Get(name)
	}
	if err != nil {
		return "", err
	}
	if err := all.Mount(v); err != nil {
		return "", err
	}
	return v.Path, nil
}

func (e *Engine) removeVolume(name string) error {
	err := e.volumes().Remove(name)
	if errors.Is(err, instance.ErrVolume) {
		return nil
	}
	if err == nil {
		e.Publish("volume", "destroy", name, map[string]string{"driver": "local"})
	}
	return err
}

// UsersOfVolume is the ids of the containers that have the volume.
func (e *Engine) UsersOfVolume(name string) []string {
	return e.users(func(v View) bool {
		return slices.ContainsFunc(v.Mounts, func(m Mount) bool { return m.Type == mount.TypeVolume && m.Name == name })
	})
}

// UsersOfImage is the ids of the containers that were made from the image of a digest.
func (e *Engine) UsersOfImage(digest string) []string {
	return e.users(func(v View) bool { return v.Image == digest })
}

func (e *Engine) users(is func(View) bool) []string {
	var ids []string
	for _, c := range e.Containers() {
		if is(c.View()) {
			ids = append(ids, c.id)
		}
	}
	slices.Sort(ids)
	return ids
}

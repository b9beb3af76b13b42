package program

import (
	"sort"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// mount is a parsed entry of the spec's mounts.
type mount struct {
	index  int
	dest   string // absolute, clean
	kind   string // file system type; "bind" for bind mounts
	source string

	recursive bool // rbind
	remount   bool
	copyUp    bool // tmpcopyup
	idmap     bool
	noFollow  bool // copy the link instead of what it points to (src-nofollow)

	set, clear   uint64   // MOUNT_ATTR_*
	rset, rclear uint64   // the same for the whole tree
	super        []string // superblock flags by their fsconfig(2) names
	msFlags      uintptr  // the same as MS_* for mount(2)
	propagation  []uintptr
	data         []string // options that are the file system's own

	tree  sysprog.Arg // the detached mount
	fd    int         // fixed number of the source, on kernels without the mount API
	group bool        // a cgroup mount that is attached as any other
}

// attrOptions are the options that set or clear a mount's attribute. Each has
// a form with r in front that applies to the whole tree.
var attrOptions = [...]struct {
	name       string
	set, clear uint64
}{
	{"ro", unix.MOUNT_ATTR_RDONLY, 0},
	{"rw", 0, unix.MOUNT_ATTR_RDONLY},
	{"nosuid", unix.MOUNT_ATTR_NOSUID, 0},
	{"suid", 0, unix.MOUNT_ATTR_NOSUID},
	{"nodev", unix.MOUNT_ATTR_NODEV, 0},
	{"dev", 0, unix.MOUNT_ATTR_NODEV},
	{"noexec", unix.MOUNT_ATTR_NOEXEC, 0},
	{"exec", 0, unix.MOUNT_ATTR_NOEXEC},
	{"nodiratime", unix.MOUNT_ATTR_NODIRATIME, 0},
	{"diratime", 0, unix.MOUNT_ATTR_NODIRATIME},
	{"relatime", unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
	{"norelatime", unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
	{"noatime", unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME},
	{"atime", unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
	{"strictatime", unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
	{"nostrictatime", unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
	{"nosymfollow", unix.MOUNT_ATTR_NOSYMFOLLOW, 0},
	{"symfollow", 0, unix.MOUNT_ATTR_NOSYMFOLLOW},
}

// superOptions are flags of the superblock: MS_* of mount(2), names for fsconfig(2).
var superOptions = [...]struct {
	name, key string
	flag      uintptr
}{
	{"sync", "sync", unix.MS_SYNCHRONOUS},
	{"async", "async", 0},
	{"dirsync", "dirsync", unix.MS_DIRSYNC},
	{"mand", "mand", unix.MS_MANDLOCK},
	{"nomand", "nomand", 0},
	{"lazytime", "lazytime", unix.MS_LAZYTIME},
	{"nolazytime", "nolazytime", 0},
	{"iversion", "", unix.MS_I_VERSION},
	{"noiversion", "", 0},
	{"silent", "", unix.MS_SILENT},
	{"loud", "", 0},
	{"defaults", "", 0},
}

var propagationOptions = [...]struct {
	name string
	flag uintptr
}{
	{"private", unix.MS_PRIVATE},
	{"rprivate", unix.MS_PRIVATE | unix.MS_REC},
	{"shared", unix.MS_SHARED},
	{"rshared", unix.MS_SHARED | unix.MS_REC},
	{"slave", unix.MS_SLAVE},
	{"rslave", unix.MS_SLAVE | unix.MS_REC},
	{"unbindable", unix.MS_UNBINDABLE},
	{"runbindable", unix.MS_UNBINDABLE | unix.MS_REC},
}

// MountOptions lists the mount options that Compile understands itself.
func MountOptions() []string {
	s := []string{"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap", "src-nofollow"}
	for _, o := range attrOptions {
		s = append(s, o.name, "r"+o.name)
	}
	for _, o := range superOptions {
		s = append(s, o.name)
	}
	for _, o := range propagationOptions {
		s = append(s, o.name)
	}
	sort.Strings(s)
	return s
}

// parseMount sorts the options of a mount by who must act on them.
func parseMount(i int, m *specs.Mount, bundle string) (*mount, error) {
	p := &mount{index: i, kind: m.Type, source: m.Source, dest: clean(m.Destination)}
	for _, o := range m.Options {
		if err := p.option(o); err != nil {
			return nil, specErr("mounts[%d] %s: %v", i, m.Destination, err)
		}
	}
	if p.kind == "bind" {
		p.source = join(bundle, m.Source)
		if m.Source == "" {
			return nil, specErr("mounts[%d] %s: bind mount without a source", i, m.Destination)
		}
	}
	if p.kind == "" && !p.remount {
		return nil, specErr("mounts[%d] %s: no type", i, m.Destination)
	}
	if p.copyUp && p.kind != "tmpfs" {
		return nil, specErr("mounts[%d] %s: tmpcopyup is for tmpfs only", i, m.Destination)
	}
	if p.idmap = p.idmap || len(m.UIDMappings) > 0; p.idmap && p.kind != "bind" {
		return nil, specErr("mounts[%d] %s: id mappings are for bind mounts only", i, m.Destination)
	}
	if p.dest == "/" {
		return nil, specErr("mounts[%d]: destination is the root itself", i)
	}
	return p, nil
}

func (p *mount) option(o string) error {
	switch o {
	case "bind", "rbind":
		p.kind, p.recursive = "bind", p.recursive || o == "rbind"
		return nil
	case "remount":
		p.remount = true
		return nil
	case "tmpcopyup":
		p.copyUp = true
		return nil
	case "idmap", "ridmap":
		p.idmap = true
		return nil
	case "src-nofollow":
		p.noFollow = true
		return nil
	}
	for _, a := range attrOptions {
		switch o {
		case a.name:
			p.set, p.clear = p.set&^a.clear|a.set, p.clear&^a.set|a.clear
			return nil
		case "r" + a.name:
			p.rset, p.rclear = p.rset&^a.clear|a.set, p.rclear&^a.set|a.clear
			return nil
		}
	}
	for _, s := range superOptions {
		if o == s.name {
			p.msFlags |= s.flag
			if s.key != "" {
				p.super = append(p.super, s.key)
			}
			return nil
		}
	}
	for _, s := range propagationOptions {
		if o == s.name {
			p.propagation = append(p.propagation, s.flag)
			return nil
		}
	}
	p.data = append(p.data, o)
	return nil
}

// CopiesUp tells whether m is a tmpfs that starts with what it covers.
func CopiesUp(m *specs.Mount) bool {
	for _, o := range m.Options {
		if o == "tmpcopyup" {
			return true
		}
	}
	return false
}

// clean makes a destination absolute, as the specification asks of old
// bundles, without . and .. in it.
func clean(path string) string {
	var parts []string
	for _, s := range strings.Split(path, "/") {
		switch s {
		case "", ".":
		case "..":
			if len(parts) > 0 {
				parts = parts[:len(parts)-1]
			}
		default:
			parts = append(parts, s)
		}
	}
	return "/" + strings.Join(parts, "/")
}

// bindFlags are the attributes of a mount as MS_* flags of mount(2).
func (p *mount) bindFlags() uintptr { return msFlags(p.set) }

// msFlags are attributes (MOUNT_ATTR_*) as MS_* flags of mount(2).
func msFlags(attrs uint64) (f uintptr) {
	for _, a := range [...]struct {
		attr uint64
		flag uintptr
	}{
		{unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY},
		{unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID},
		{unix.MOUNT_ATTR_NODEV, unix.MS_NODEV},
		{unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC},
		{unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME},
		{unix.MOUNT_ATTR_NOATIME, unix.MS_NOATIME},
		{unix.MOUNT_ATTR_STRICTATIME, unix.MS_STRICTATIME},
		{unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MS_NOSYMFOLLOW},
	} {
		if attrs&a.attr != 0 {
			f |= a.flag
		}
	}
	return f
}

// TmpfsOptions returns the attributes (MOUNT_ATTR_*) and the file system's own
// options of a tmpfs that the parent makes.
func TmpfsOptions(m *specs.Mount) (attrs uint64, data []string) {
	var p mount
	for _, o := range m.Options {
		_ = p.option(o) // Compile reports what is wrong
	}
	return p.set, append(p.super, p.data...)
}

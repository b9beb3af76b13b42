package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/sysprog"
)

// prepareTrees makes the mounts that need the parent: tmpfs with a copy of
// what it covers, and mounts with an id map. The child attaches them.
func (k *creation) prepareTrees() error {
	k.in.Trees = map[int]int{}
	for i := range k.spec.Mounts {
		m := &k.spec.Mounts[i]
		var fd int
		var err error
		switch {
		case program.CopiesUp(m):
			if !k.caller.MountAPI {
				continue // see copyUpOld
			}
			fd, err = k.copyUp(m)
		case has(m.Options, "idmap"), has(m.Options, "ridmap"), len(m.UIDMappings) > 0:
			fd, err = k.idMapped(m)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
		k.in.Trees[i] = k.pipes.add(fd)
	}
	return nil
}

func has(options []string, o string) bool {
	for _, x := range options {
		if x == o {
			return true
		}
	}
	return false
}

// copyUp makes a tmpfs that holds what the rootfs has at m's destination.
func (k *creation) copyUp(m *specs.Mount) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("tmpcopyup: open tmpfs: %w", err)
	}
	defer unix.Close(fs)
	attrs, data := program.TmpfsOptions(m)
	for _, d := range data {
		key, value, isString := strings.Cut(d, "=")
		if isString {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return -1, fmt.Errorf("option %s: %w", d, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("tmpcopyup: make tmpfs: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(attrs&^unix.MOUNT_ATTR_RDONLY))
	if err != nil {
		return -1, fmt.Errorf("tmpcopyup: mount tmpfs: %w", err)
	}
	if err := k.copyTree(m.Destination, fd); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("tmpcopyup: %w", err)
	}
	return fd, nil
}

// copyTree copies what the rootfs has at dest into directory fd.
func (k *creation) copyTree(dest string, fd int) error {
	root, err := unix.Open(k.in.Rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	src, err := openDirIn(root, dest)
	if errors.Is(err, unix.ENOENT) {
		return k.giveToRoot(fd)
	}
	if err != nil {
		return err
	}
	defer unix.Close(src)
	return copyDir(src, fd)
}

// openDirIn opens a directory of the tree below root for reading.
func openDirIn(root int, path string) (int, error) {
	fd, err := resolveIn(root, path, nil)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	return unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// giveToRoot gives a new file system to the container's root.
func (k *creation) giveToRoot(fd int) error {
	if k.spec.Linux == nil {
		return nil
	}
	uid, gid := hostID(k.spec.Linux.UIDMappings), hostID(k.spec.Linux.GIDMappings)
	if uid <= 0 && gid <= 0 {
		return nil
	}
	return unix.Fchown(fd, uid, gid)
}

// copyUpOld fills the next tmpfs with tmpcopyup, which the child has mounted
// and waits at: kernels without the mount API have no mounts that we could
// hand over.
func (k *creation) copyUpOld() error {
	for k.copied < len(k.spec.Mounts) && !program.CopiesUp(&k.spec.Mounts[k.copied]) {
		k.copied++
	}
	if k.copied == len(k.spec.Mounts) {
		return errors.New("process asks to fill an unknown mount")
	}
	dest := k.spec.Mounts[k.copied].Destination
	k.copied++
	root, err := unix.Open("/proc/"+strconv.Itoa(k.pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mount %s: tmpcopyup: %w", dest, err)
	}
	defer unix.Close(root)
	fd, err := openDirIn(root, dest)
	if err != nil {
		return fmt.Errorf("mount %s: tmpcopyup: %w", dest, err)
	}
	defer unix.Close(fd)
	if err := k.copyTree(dest, fd); err != nil {
		return fmt.Errorf("mount %s: tmpcopyup: %w", dest, err)
	}
	return nil
}

// copyDir copies the content, modes, owners and times of directory src into
// dst. Links are copied, never followed; device nodes are made anew.
func copyDir(src, dst int) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	again, err := unix.Openat(src, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(again), "directory")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyEntry(src, dst, name); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	own := "/proc/self/fd/" + strconv.Itoa(dst)
	if err := unix.Chown(own, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Chmod(own, st.Mode&0o7777)
}

func copyEntry(src, dst int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return copySubdir(src, dst, name)
	case unix.S_IFLNK:
		b := make([]byte, 4096)
		n, err := unix.Readlinkat(src, name, b)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(b[:n]), dst, name); err != nil {
			return err
		}
	case unix.S_IFREG:
		if err := copyFile(src, dst, name); err != nil {
			return err
		}
	default:
		if err := unix.Mknodat(dst, name, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
	}
	if err := unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Fchmodat(dst, name, st.Mode&0o7777, 0); err != nil {
			return err
		}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(dst, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

func copySubdir(src, dst int, name string) error {
	if err := unix.Mkdirat(dst, name, 0o700); err != nil {
		return err
	}
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	s, err := unix.Openat(src, name, flags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	d, err := unix.Openat(dst, name, flags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(d)
	return copyDir(s, d)
}

func copyFile(src, dst int, name string) error {
	s, err := unix.Openat(src, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(s), name)
	defer in.Close()
	d, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(d), name)
	defer out.Close()
	_, err = out.ReadFrom(in)
	return err
}

// idMapped clones the mount source and gives the clone an id map: the mount's
// own, or the container's.
func (k *creation) idMapped(m *specs.Mount) (int, error) {
	uids, gids := m.UIDMappings, m.GIDMappings
	if len(uids) == 0 && k.spec.Linux != nil {
		uids, gids = k.spec.Linux.UIDMappings, k.spec.Linux.GIDMappings
	}
	if len(uids) == 0 || len(gids) == 0 {
		return -1, errors.New("id-mapped mount: no id mappings in the mount or the container")
	}
	ns, err := userNamespace(uids, gids)
	if err != nil {
		return -1, err
	}
	defer unix.Close(ns)
	source := m.Source
	if !filepath.IsAbs(source) {
		source = filepath.Join(k.in.Bundle, source)
	}
	flags, attrFlags := uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC), uint(unix.AT_EMPTY_PATH)
	if has(m.Options, "rbind") {
		flags |= unix.AT_RECURSIVE
	}
	if has(m.Options, "ridmap") {
		attrFlags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, flags)
	if err != nil {
		return -1, fmt.Errorf("open mount source %s: %w", source, err)
	}
	err = unix.MountSetattr(fd, "", attrFlags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns)})
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("id-map %s: %w (its file system may not support it, or the kernel is older than 5.12)", source, err)
	}
	return fd, nil
}

// userNamespace returns a descriptor of a new user namespace with these maps.
// A child holds it open until then.
func userNamespace(uids, gids []specs.LinuxIDMapping) (int, error) {
	var l sysprog.List
	var p pipes
	defer p.closeAll()
	parent, child, err := p.pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return -1, err
	}
	pid, in := l.Slot("pid"), l.Label("child")
	l.Do("make user namespace", "clone", sysprog.Int(unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))).To(pid).IfZero(in)
	l.Do("", sysprog.Done)
	l.Here(in)
	b := l.Buf(make([]byte, 1))
	l.Do("", "close", sysprog.Int(parent))
	l.Do("", "read", sysprog.Int(child), sysprog.Ptr(b, 0), sysprog.Int(1)).OK(sysprog.AnyErrno)
	l.Do("", "exit_group", sysprog.Int(0))
	mem, err := load(&l, false)
	if err != nil {
		return -1, err
	}
	defer mem.Free()
	if err := mem.Run(); err != nil {
		return -1, err
	}
	n := int(mem.Word(pid))
	defer kill(n)
	if err := writeMaps(n, uids, gids, os.Geteuid(), os.Getegid()); err != nil {
		return -1, err
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(n)+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open user namespace: %w", err)
	}
	return fd, nil
}

// findRootMount finds the mount point below which the rootfs lies, which is
// needed when it is mounted there and mounts stay shared with the host.
func (k *creation) findRootMount() error {
	if !program.LatePivot(&k.in) || k.spec.Linux == nil || !strings.Contains(k.spec.Linux.RootfsPropagation, "shared") {
		return nil
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("find mount of rootfs: %w", err)
	}
	best := "/"
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		point := f[4]
		if len(point) > len(best) && (k.in.Rootfs == point || strings.HasPrefix(k.in.Rootfs, point+"/")) {
			best = point
		}
	}
	k.in.RootfsMount = best
	return nil
}

// findSourceFlags finds what flags the mounts have that bind sources lie on.
// A user namespace may not take them away, and nobody asked for it.
func (k *creation) findSourceFlags() {
	if k.caller.MountSetattr {
		return
	}
	k.in.SourceFlags = map[int]uintptr{}
	for i, m := range k.spec.Mounts {
		if m.Type != "bind" && !has(m.Options, "bind") && !has(m.Options, "rbind") {
			continue
		}
		source := m.Source
		if !filepath.IsAbs(source) {
			source = filepath.Join(k.in.Bundle, source)
		}
		var st unix.Statfs_t
		if unix.Statfs(source, &st) != nil {
			continue // the program will say what is wrong
		}
		for _, f := range [...]struct {
			st int64
			ms uintptr
		}{
			{unix.ST_RDONLY, unix.MS_RDONLY},
			{unix.ST_NOSUID, unix.MS_NOSUID},
			{unix.ST_NODEV, unix.MS_NODEV},
			{unix.ST_NOEXEC, unix.MS_NOEXEC},
			{unix.ST_NOATIME, unix.MS_NOATIME},
			{unix.ST_NODIRATIME, unix.MS_NODIRATIME},
			{unix.ST_RELATIME, unix.MS_RELATIME},
		} {
			if int64(st.Flags)&f.st != 0 {
				k.in.SourceFlags[i] |= f.ms
			}
		}
	}
}

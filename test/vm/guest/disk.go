package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	path       = "/vm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

var systemMounts = []struct{ source, dir, fstype, data string }{
	{"proc", "/proc", "proc", ""},
	{"sysfs", "/sys", "sysfs", ""},
	{"cgroup2", cgroupRoot, "cgroup2", "nsdelegate,memory_recursiveprot"},
	{"securityfs", "/sys/kernel/security", "securityfs", ""},
	{"bpf", "/sys/fs/bpf", "bpf", ""},
	{"devpts", "/dev/pts", "devpts", "ptmxmode=0666,mode=620,gid=5"},
	{"shm", "/dev/shm", "tmpfs", "mode=1777"},
	{"mqueue", "/dev/mqueue", "mqueue", ""},
	{"run", "/run", "tmpfs", "mode=755"},
	{"tmp", "/tmp", "tmpfs", "mode=1777"},
}

// disk is the first process once the disk is the root: it makes the system whole, has the suites run,
// and collects every orphan they leave.
func disk() error {
	for _, m := range systemMounts {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.dir, m.fstype, 0, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	for link, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2",
	} {
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte("tare-vm")); err != nil {
		return err
	}
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	// The kernel loads most modules when they are used; these must be there to be found.
	if out, err := exec.Command("modprobe", "--all", "fuse", "overlay", "bfq", "erofs", "loop").CombinedOutput(); err != nil {
		return fmt.Errorf("modprobe: %w: %s", err, out)
	}
	if err := enterCgroup(); err != nil {
		return err
	}
	if err := runSuites(); err != nil {
		return err
	}
	suites, err := readSuites(true)
	if err != nil || len(suites) == 0 {
		return err
	}
	return startSystemd()
}

// enterCgroup turns every controller on for the groups below the root and leaves the root group, as
// an init system does: a group with processes cannot hand controllers on.
func enterCgroup() error {
	controllers, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(controllers)) {
		if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return err
		}
	}
	group := filepath.Join(cgroupRoot, "guest")
	if err := os.Mkdir(group, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0)
}

// runSuites starts this program again for the suites and waits for every child meanwhile: the first
// process inherits whatever a container leaves.
func runSuites() error {
	p, err := os.StartProcess("/vm/guest", []string{"/vm/guest", "run"}, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if pid == p.Pid && status.ExitStatus() != 0 {
			return fmt.Errorf("run: status %#x", int(status))
		}
		if pid == p.Pid {
			return nil
		}
	}
}

// startSystemd becomes systemd, with a unit that runs the suites meant for it. systemd takes the
// group it starts in for the root of all.
func startSystemd() error {
	if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	if err := removeGroup(filepath.Join(cgroupRoot, "guest")); err != nil {
		return err
	}
	unit := "[Unit]\nAfter=dbus.service\nRequires=dbus.service\n" +
		"[Service]\nType=oneshot\nTimeoutSec=infinity\nDelegate=yes\nExecStart=/vm/guest systemd\n"
	if err := os.WriteFile("/etc/systemd/system/tare-suites.service", []byte(unit), 0o644); err != nil {
		return err
	}
	wants := "/etc/systemd/system/multi-user.target.wants"
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	if err := os.Symlink("../tare-suites.service", filepath.Join(wants, "tare-suites.service")); err != nil {
		return err
	}
	return unix.Exec("/lib/systemd/systemd", []string{"systemd", "--log-target=console"}, []string{"PATH=" + path})
}

// removeGroup ends what failed tests have left in a group and removes it with all below it.
func removeGroup(group string) error {
	// Linux < 5.14 has no such file; there, what failed tests leave stays, and is an error below.
	kill, err := os.OpenFile(filepath.Join(group, "cgroup.kill"), os.O_WRONLY, 0)
	if err == nil {
		_, err = kill.WriteString("1")
		err = errors.Join(err, kill.Close())
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for range 500 {
		for pid := 1; pid > 0; { // collect what was killed: we are everyone's parent
			pid, _ = unix.Wait4(-1, nil, unix.WNOHANG, nil)
		}
		var below []string
		err = filepath.WalkDir(group, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				below = append(below, path)
			}
			return err
		})
		for _, dir := range slices.Backward(below) {
			err = errors.Join(err, os.Remove(dir))
		}
		if err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

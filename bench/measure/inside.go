package measure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// innerEnv marks the copy of a program that measures, in namespaces of its own.
const innerEnv = "TARE_BENCH_DIR"

// Inside has the work done by a copy of this program that is the first process of new namespaces, with a /run and a
// scratch directory of its own, before other load on the machine. When it ends, however it ends, the kernel ends every
// daemon with it, and unmounts all that was mounted. It prints an error after name, and returns the exit status.
func Inside(name string, work func(ctx context.Context, dir string) error) int {
	dir, inside := os.LookupEnv(innerEnv)
	var err error
	if inside {
		err = inner(dir, work)
	} else {
		err = outer(name)
	}
	var status *exec.ExitError
	if errors.As(err, &status) && status.Exited() && !inside {
		return status.ExitCode() // the inner copy has said why
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

func inner(dir string, work func(ctx context.Context, dir string) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	defer stop()
	if err := arrangeHost(dir); err != nil {
		return err
	}
	if err := prefer(); err != nil {
		return err
	}
	return work(ctx, dir)
}

func outer(name string) error {
	if os.Geteuid() != 0 {
		return errors.New("must run as root: it mounts and starts containers")
	}
	dir, err := os.MkdirTemp("", "tare-bench-"+name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), innerEnv+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL, Setsid: true,
	}
	return cmd.Run()
}

// prefer makes other load on the machine wait for what is measured. With automatic groups a
// session's own number counts, else the process's (sched(7)).
func prefer() error {
	if err := os.WriteFile("/proc/self/autogroup", []byte("-15"), 0); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -15); err != nil {
		return fmt.Errorf("setpriority: %w", err)
	}
	return nil
}

// arrangeHost gives the bench a process table, a /run and a scratch directory of its own.
func arrangeHost(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, m := range []struct{ kind, at, data string }{
		{"proc", "/proc", ""}, {"tmpfs", "/run", "mode=755"}, {"tmpfs", dir, "mode=755,size=90%"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	// podman remembers here which registry had which blob, for all its stores.
	if err := os.MkdirAll("/var/lib/containers", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/var/lib/containers", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs on /var/lib/containers: %w", err)
	}
	return HideUnifiedControllers(dir)
}

// HideUnifiedControllers covers the hybrid v2 hierarchy's list of controllers with an empty file in dir: crun
// up to 1.8.1 refuses to work where a hybrid host has left a controller there ("cgroups in hybrid mode not
// supported, drop all controllers from cgroupv2").
func HideUnifiedControllers(dir string) error {
	const list = "/sys/fs/cgroup/unified/cgroup.controllers"
	content, err := os.ReadFile(list)
	if os.IsNotExist(err) || err == nil && strings.TrimSpace(string(content)) == "" {
		return nil
	}
	if err != nil {
		return err
	}
	empty := filepath.Join(dir, "no-controllers")
	if err := os.WriteFile(empty, nil, 0o444); err != nil {
		return err
	}
	if err := unix.Mount(empty, list, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cover %s: %w", list, err)
	}
	return nil
}

// EndAll ends all processes in the namespaces of Inside but the caller, and removes the control groups that engines
// leave: the parent of their containers' and, of work that was interrupted, their own. parent begins with a slash.
func EndAll(parent string) error {
	if os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL) // nothing left is no error
	}
	var errs []error
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		left, _ := filepath.Glob(pattern + parent + "*")
		for _, dir := range left {
			errs = append(errs, removeGroups(dir))
		}
	}
	return errors.Join(errs...)
}

// removeGroups removes a control group with those in it: rmdir(2) is all that a group's directory
// takes, and its files go along.
func removeGroups(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	slices.Reverse(dirs)
	for _, d := range dirs {
		rmErr := unix.Rmdir(d)
		for try := 0; errors.Is(rmErr, unix.EBUSY) && try < 200; try++ {
			time.Sleep(10 * time.Millisecond)
			rmErr = unix.Rmdir(d)
		}
		if rmErr != nil {
			err = errors.Join(err, fmt.Errorf("remove %s: %w", d, rmErr))
		}
	}
	return err
}

// Package measure is what benchmarks of engines measure with: a control group that counts the processor time of all
// of an engine's processes, and a disk of its own that counts what is written to it.
package measure

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Group is a control group of the v2 hierarchy, which counts processor time without any
// controller, so it is there on hybrid hosts too. All processes of one engine live in it.
type Group struct {
	dir  string
	fd   int
	self string // the bench's own program
}

// NewGroup makes a group whose name begins with that path.
func NewGroup(name string) (*Group, error) {
	base := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(base); err != nil {
		base = "/sys/fs/cgroup"
	}
	if _, err := os.Stat(filepath.Join(base, "cgroup.procs")); err != nil {
		return nil, fmt.Errorf("find the v2 control groups: %w", err)
	}
	g := &Group{dir: filepath.Join(base, fmt.Sprintf("%s-%d", name, time.Now().UnixNano()))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if g.self, err = os.Readlink("/proc/self/exe"); err != nil {
		return nil, err
	}
	if g.fd, err = unix.Open(g.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open %s: %w", g.dir, err)
	}
	return g, nil
}

// Adopt makes cmd start in the group.
func (g *Group) Adopt(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: g.fd}
}

// CPU is the user and system time of all processes that are or were in the group.
func (g *Group) CPU() (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("%s/cpu.stat: no usage_usec", g.dir)
}

// Processes are those in the group.
func (g *Group) Processes() []int {
	text, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var all []int
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if pid, err := strconv.Atoi(s.Text()); err == nil && pid > 0 {
			all = append(all, pid)
		}
	}
	return all
}

// Memory is what a look at the processes tells, in bytes.
type Memory struct {
	Sum  int64 // of the resident sets
	High int64 // the highest that one process ever had (VmHWM, proc(5))
}

// Memory looks. A process that ends meanwhile has none; one that has not executed its program yet
// still shows the bench's own, and is passed over.
func (g *Group) Memory() (m Memory) {
	for _, pid := range g.Processes() {
		dir := fmt.Sprintf("/proc/%d", pid)
		if program, err := os.Readlink(dir + "/exe"); err != nil || program == g.self {
			continue
		}
		text, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue
		}
		m.Sum += Kilobytes(text, "VmRSS:")
		m.High = max(m.High, Kilobytes(text, "VmHWM:"))
	}
	return m
}

// Kilobytes is a number of a process's status, in bytes.
func Kilobytes(status []byte, name string) int64 {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(line)), " kB"), 10, 64)
	return n << 10
}

// Watch looks every 5 ms until the returned function is called, which tells the highest values.
func (g *Group) Watch() (stop func() Memory) {
	done := make(chan struct{})
	var high Memory
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			now := g.Memory()
			high.Sum, high.High = max(high.Sum, now.Sum), max(high.High, now.High)
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() Memory {
		close(done)
		wg.Wait()
		return high
	}
}

// End ends all processes that are left, and removes the group.
func (g *Group) End(ctx context.Context) error {
	defer unix.Close(g.fd)
	for range 200 {
		left := g.Processes()
		if len(left) == 0 {
			break
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		Pause(ctx, 10*time.Millisecond)
	}
	if err := os.Remove(g.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Pause waits for what tells nobody when it is there.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

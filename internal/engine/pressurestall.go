package engine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pressureFile is where the kernel tells how long processes have waited for memory: PSI, Documentation/accounting/psi.rst.
// Linux has it since 4.20, where it is built in and not switched off (psi=0).
const pressureFile = "/proc/pressure/memory"

// A stall source tells when processes wait for memory, and how much of it is left.
type stallSource interface {
	// wait returns when the kernel has seen a stall, or at the end of ctx.
	wait(ctx context.Context) error
	// read returns how long some process has waited since the boot, and what part of the memory is left, in percent.
	read() (waited time.Duration, available int, err error)
	close() error
}

// kernelStalls is the stall source that the kernel is.
type kernelStalls struct{ f *os.File }

// stallWindow is what the kernel looks at. Who has not CAP_SYS_RESOURCE may only ask for multiples of it.
const stallWindow = 2 * time.Second

// openStalls asks the kernel to tell of stalls. A poller sees those alone that were asked for before it was given the
// file.
func openStalls(o PressureOptions) (*kernelStalls, error) {
	fd, err := unix.Open(pressureFile, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", pressureFile, err)
	}
	trigger := fmt.Sprintf("some %d %d\x00", o.Stall.Microseconds(), stallWindow.Microseconds())
	if _, err := unix.Write(fd, []byte(trigger)); err != nil {
		_ = unix.Close(fd) // nothing was written
		return nil, fmt.Errorf("ask %s for %q: %w", pressureFile, trigger[:len(trigger)-1], err)
	}
	return &kernelStalls{os.NewFile(uintptr(fd), pressureFile)}, nil
}

// wait sleeps in the poller of the Go runtime, which takes no thread. The kernel calls its priority event only to who
// polls for that alone; to be woken a second time is to be told. There may be one wake too many, at the beginning.
func (k *kernelStalls) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = k.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := k.f.SyscallConn()
	if err != nil {
		return err
	}
	woken := false
	err = raw.Read(func(uintptr) bool {
		was := woken
		woken = true
		return was
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (k *kernelStalls) read() (waited time.Duration, available int, err error) {
	text, err := os.ReadFile(pressureFile)
	if err != nil {
		return 0, 0, err
	}
	if waited, err = parseStalls(text); err != nil {
		return 0, 0, err
	}
	text, err = os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	available, err = parseAvailable(text)
	return waited, available, err
}

func (k *kernelStalls) close() error { return k.f.Close() }

// parseStalls reads the total of the line "some", in microseconds.
func parseStalls(text []byte) (time.Duration, error) {
	for line := range bytes.Lines(text) {
		_, total, ok := strings.Cut(strings.TrimSpace(string(line)), "total=")
		if !ok || !bytes.HasPrefix(line, []byte("some ")) {
			continue
		}
		n, err := strconv.ParseInt(total, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: total %q is no number", pressureFile, total)
		}
		return time.Duration(n) * time.Microsecond, nil
	}
	return 0, fmt.Errorf("%s: has no line \"some\"", pressureFile)
}

// parseAvailable reads what part of the memory is available, in percent: proc_meminfo(5).
func parseAvailable(text []byte) (int, error) {
	var total, available uint64
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "MemTotal:":
			total, _ = strconv.ParseUint(f[1], 10, 64)
		case "MemAvailable:":
			available, _ = strconv.ParseUint(f[1], 10, 64)
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("/proc/meminfo: has no MemTotal")
	}
	return int(available * 100 / total), nil
}

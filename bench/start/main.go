// Command start measures what starting a container costs: wall and processor
// time of whole processes, for tare, crun, runc and a static C program that
// makes the same system calls and nothing else (floor/floor.c).
//
// All of them run interleaved in random order, so that other load on the
// machine meets each of them alike, and every start's exit status is checked.
//
// # What is counted
//
// Wall time is from before the fork of the runtime to its reaping. Processor
// time is user and system time, from wait4(2), of the runtime's process and
// every descendant: this program is a subreaper (PR_SET_CHILD_SUBREAPER), so a
// detached container's process becomes its child when the runtime ends, is
// reaped by it, and none of its time is lost. What kernel threads do afterwards
// (freeing of a network namespace, RCU callbacks) is counted for nobody.
//
// # The same again, or new
//
// "tare" runs the same command line for the same bundle again and again, which
// tare remembers (docs/design). "tare-new" gives each container a new name, as
// an engine does: Go starts and compiles each time, but for the start and the
// delete, which create stores ahead. The peers remember nothing.
//
// # Noise
//
// Wall time on a busy machine is mostly other people's. Trust the minimum and
// the tenth percentile of wall time and any column of processor time. With
// -fifo the commands run at SCHED_FIFO priority 50, which other load does not
// preempt; the v1 "cpu" hierarchy is then hidden from them, because a real-time
// process may not join a group of it that has no real-time budget.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// innerEnv marks the copy of this program that measures, inside a mount
// namespace of its own; its value is the directory it works in.
const innerEnv = "TARE_BENCH_DIR"

type options struct {
	n       int
	json    bool
	fifo    bool
	warm    bool
	gap     time.Duration
	only    string
	tare    string
	profile string
	verbose bool
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("start", flag.ContinueOnError)
	f.IntVar(&o.n, "n", 40, "measured `repetitions` of each command")
	f.BoolVar(&o.json, "json", false, "print JSON instead of tables")
	f.BoolVar(&o.fifo, "fifo", false, "run the commands at SCHED_FIFO priority 50")
	f.BoolVar(&o.warm, "warm", true, "measure exec from a warm process too")
	f.DurationVar(&o.gap, "gap", 10*time.Millisecond, "pause between two commands")
	f.StringVar(&o.only, "only", "", "comma-separated `programs` to measure, or \"warm\" for exec from a warm process alone (default: all that are installed)")
	f.StringVar(&o.tare, "tare", "bin/tare", "the tare `binary`, as `make build` makes it")
	f.StringVar(&o.profile, "profile", "/usr/share/containers/seccomp.json", "seccomp profile in Docker's `file` form")
	f.BoolVar(&o.verbose, "v", false, "say what happens")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.n < 1 {
		return o, fmt.Errorf("-n %d: must be at least 1", o.n)
	}
	var err error
	o.tare, err = filepath.Abs(o.tare)
	return o, err
}

func main() {
	o, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(2)
	}
	if dir := os.Getenv(innerEnv); dir != "" {
		err = inner(o, dir)
	} else {
		err = outer(o)
	}
	var status *exec.ExitError
	if errors.As(err, &status) && status.Exited() {
		os.Exit(status.ExitCode()) // the inner copy has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

// outer runs this program again in a mount namespace of its own, where the host's view can be arranged without harm.
func outer(o options) error {
	if os.Geteuid() != 0 {
		return errors.New("must run as root: it starts containers")
	}
	dir, err := os.MkdirTemp("", "tare-bench-")
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
	// The inner copy removes its containers when it is told to stop.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), innerEnv+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd.Run()
}

func (o options) wants(name string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), name)
}

func inner(o options, dir string) error {
	// SIGPIPE too: a reader that goes away must not keep us from cleaning up.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	defer stop()
	// The scheduling class and the subreaper's children belong to one thread's
	// forks; stay on it.
	runtime.LockOSThread()
	if err := arrangeHost(dir, o.fifo); err != nil {
		return err
	}
	if o.fifo {
		if err := realTime(); err != nil {
			return err
		}
	}
	b, err := newBench(o, dir)
	if err != nil {
		return err
	}
	defer b.cleanup()
	report, err := b.measure(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return report.writeJSON(os.Stdout)
	}
	return report.writeTables(os.Stdout)
}

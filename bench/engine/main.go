// Command engine measures what an engine costs a device: tare's daemon beside dockerd (with its containerd) and
// podman's service, all asked the same through the Docker Engine API by the same client.
//
// # What is measured
//
// One image, of a static busybox, is loaded into each engine, whose disk is an ext4 of its own in memory. Then:
//
//   - start: from the request to start a created container to the answer that it runs.
//   - run --rm: create, start, wait for the end of `true`, removal included.
//   - exec: create and start an exec of `true`, until its output ends.
//   - memory: the proportional set size (smaps_rollup, proc(5)) of all processes of the engine, so not of the
//     containers', with 0, 1, 10 and 50 containers that sleep.
//   - idle: processor time and bytes written in -idle seconds with five containers.
//   - written: bytes that reach the disk, sync included, by twenty starts and stops, and by 10 MiB of output.
//   - installed: the size of the programs.
//
// # What is counted
//
// Processor time is that of the engine's control group, from before a request until its processes have been at rest
// for a while after it. Containers have no network, because dockerd's needs iptables. Everything runs at nice -15.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tare.dev/tare/bench/measure"
)

type options struct {
	n       int
	only    string
	tare    string
	idle    time.Duration
	json    bool
	verbose bool
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("engine", flag.ContinueOnError)
	f.IntVar(&o.n, "n", 20, "`repetitions` of each measured request")
	f.StringVar(&o.only, "only", "", "comma-separated `engines` to measure (default: all that are installed)")
	f.StringVar(&o.tare, "tare", "bin/tare", "the tare `binary`, as `make build` makes it")
	f.DurationVar(&o.idle, "idle", time.Minute, "how long idling is watched")
	f.BoolVar(&o.json, "json", false, "print JSON instead of tables")
	f.BoolVar(&o.verbose, "v", false, "say what happens")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.n < 1:
		return o, fmt.Errorf("-n %d: must be at least 1", o.n)
	}
	var err error
	o.tare, err = filepath.Abs(o.tare)
	return o, err
}

func (o options) say(format string, args ...any) {
	if o.verbose {
		fmt.Fprintf(os.Stderr, "engine: "+format+"\n", args...)
	}
}

func main() {
	o, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(2)
	}
	os.Exit(measure.Inside("engine", func(ctx context.Context, dir string) error { return run(ctx, o, dir) }))
}

func run(ctx context.Context, o options, dir string) (err error) {
	b := &bench{o: o, dir: dir, parent: "/" + filepath.Base(dir)}
	defer func() { err = errors.Join(err, measure.EndAll(b.parent)) }()
	r, err := b.all(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return r.writeJSON(os.Stdout)
	}
	return r.writeTables(os.Stdout)
}

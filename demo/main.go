// Demo shows what Tare does, step by step, on a container made from Debian packages. Each step
// checks what it claims, and the program fails when a claim does not hold.
//
// RUNTIME=crun (or any runtime with runc's command line) runs the same steps with another runtime.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// id is the name of the one container that the demo uses at any time.
const id = "tare-demo"

// A demo is the state that the steps share.
type demo struct {
	runtime []string // the command and its first arguments
	state   string   // directory of the runtime's state
	bundle  string   // directory with config.json
	rootfs  string   // the Debian
	cache   string   // directory for what may be kept
	before  machine  // what was there when the demo began
}

var steps = []struct {
	title string
	run   func(*demo, context.Context) error
}{
	{"A root filesystem from Debian packages", (*demo).makeRootfs},
	{"A bundle with limits", (*demo).makeBundle},
	{"A process sees only itself", (*demo).showView},
	{"The memory limit kills what goes over it, and nothing else", (*demo).showMemoryLimit},
	{"A container runs, is looked into, stops for a moment, and ends", (*demo).showLife},
	{"How long a start takes", (*demo).showStart},
	{"Two images that share files, but no layer", (*demo).showImages},
	{"A compose project of three services, and an engine that dies", (*demo).showCompose},
	{"Nothing is left behind", (*demo).showNothingLeft},
}

func main() {
	timing := flag.Bool("timing", false, "used by the demo itself: measure in a mount namespace of its own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *timing {
		err = measure(ctx, flag.Args())
	} else {
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("must run as root: it makes namespaces, mounts and control groups")
	}
	d, err := newDemo()
	if err != nil {
		return err
	}
	defer d.clean()
	for i, step := range steps {
		fmt.Printf("\n%s\n\n", bold(fmt.Sprintf("%d. %s", i+1, step.title)))
		if err := step.run(d, ctx); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	fmt.Println()
	return nil
}

func newDemo() (*demo, error) {
	cache, err := filepath.Abs("build")
	if err != nil {
		return nil, err
	}
	d := &demo{
		runtime: []string{filepath.Join(filepath.Dir(cache), "bin", "tare"), "runtime"},
		cache:   cache,
		bundle:  filepath.Join(cache, "demo"),
		state:   filepath.Join(cache, "demo", "state"),
	}
	if other := os.Getenv("RUNTIME"); other != "" {
		d.runtime = []string{other}
	}
	if err := errors.Join(os.RemoveAll(d.bundle), os.MkdirAll(d.state, 0o700)); err != nil {
		return nil, err
	}
	d.before, err = lookAround()
	return d, err
}

// clean removes what a failed step may have left.
func (d *demo) clean() {
	if _, err := d.call(context.Background(), "state", id); err == nil {
		d.call(context.Background(), "delete", "--force", id)
	}
	os.RemoveAll(d.bundle)
}

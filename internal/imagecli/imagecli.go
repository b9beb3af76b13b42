// Package imagecli is the commands about images and the store.
package imagecli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
)

// Options say what the program is.
type Options struct {
	Version string
	// Runtime runs a command line of the OCI runtime, and returns its exit status.
	Runtime func(std cli.IO, args []string) int
}

// session is what the commands have in common.
type session struct {
	Options
	root, run string
}

// Flags are those of the whole program: where its two folders are.
func (s *session) flags(f *cli.Flags) {
	f.String(&s.root, "root", "", "`DIR` on flash: images and volumes ($TARE_ROOT, or /var/lib/tare)")
	f.String(&s.run, "run", "", "`DIR` in memory: mounts and running containers ($TARE_RUN, or /run/tare)")
}

// Commands returns the flags that stand before the verbs, the two folders that they name, and the verbs.
func Commands(o Options) (flags func(*cli.Flags), dirs func() (root, run string), verbs []cli.Command) {
	s := &session{Options: o, root: folder("TARE_ROOT", "/var/lib/tare"), run: folder("TARE_RUN", "/run/tare")}
	return s.flags, func() (root, run string) { return s.root, s.run }, []cli.Command{
		runCommand(s), rmCommand(s), volumeCommand(s),
		storeCommand(s), pullCommand(s), imagesCommand(s), rmiCommand(s), tagCommand(s),
		pushCommand(s), copyCommand(), saveCommand(s), loadCommand(s), importCommand(s), exportCommand(s),
		inspectCommand(s), historyCommand(s),
	}
}

// folder is a variable of the environment, or what it is without.
func folder(name, otherwise string) string {
	if dir := os.Getenv(name); dir != "" {
		return dir
	}
	return otherwise
}

// work bounds the memory of a command that moves images, which the starting of containers does
// without: the collector is off there.
func work() {
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(16 << 20)
}

// interruptible ends the context on the first SIGINT or SIGTERM, so that nothing is left behind.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
}

func (s *session) mounter() *rootfs.Mounter {
	return &rootfs.Mounter{Run: filepath.Join(s.run, "mnt")}
}

// onStore is the Run of a command that works on the open store, in little memory.
func (s *session) onStore(run func(*cli.Call, *store.Store) error) func(*cli.Call) error {
	return func(c *cli.Call) error {
		work()
		st, err := s.open()
		if err != nil {
			return err
		}
		defer st.Close()
		return run(c, st)
	}
}

func (s *session) open() (*store.Store, error) {
	root, err := filepath.Abs(s.root)
	if err != nil {
		return nil, fmt.Errorf("--root %s: %w", s.root, err)
	}
	holders := []string{filepath.Join(root, "containers"), filepath.Join(s.run, "containers")}
	return store.Open(filepath.Join(root, "store"), store.Options{Holders: holders})
}

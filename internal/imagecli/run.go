package imagecli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tare.dev/tare/internal/bundle"
	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
)

const runLong = `Run a command in a new container of an image that is in the store, and wait for its end. The
exit status is the command's: 127 when it is not there, and 126 when it cannot be executed.

What the container writes stays in memory, within --write-size, and is gone after it; nothing is written
to flash. With --write flash it goes to flash, and is kept for the next container of this --name and image
("tare rm NAME" removes it); without a name it is removed. --write DIR keeps it in a directory of yours.
On flash, --write-size is held by the file system's project quotas, and must be given: none is no limit.
Volumes are for data that outlasts its container ("tare volume").`

type run struct {
	o         bundle.Options
	name      string
	entry     string
	memory    string
	cpus      string
	pids      int
	write     string
	writeSize string
	network   string
	volumes   []string
	layout    string
	rm        bool

	layer *upperLayer // nil unless it writes to flash
	once  bool        // the layer goes with the container
}

func runCommand(s *session) cli.Command {
	var r run
	return cli.Command{
		Name: "run", Args: "IMAGE [COMMAND...]", MinArgs: 1, MaxArgs: cli.Many, StopAtArg: true,
		Short: "run a command in a new container",
		Long:  runLong,
		Flags: r.flags,
		Run:   func(c *cli.Call) error { return r.run(s, c) },
	}
}

func (r *run) flags(f *cli.Flags) {
	f.Bool(&r.rm, "rm", "", "remove what it wrote to flash, too, after its end")
	f.String(&r.name, "name", "", "`NAME` of the container")
	f.Strings(&r.o.Env, "env", "e", "`NAME=VALUE` in the environment; may be given again")
	f.String(&r.o.User, "user", "u", "`USER[:GROUP]` to run as")
	f.String(&r.o.Dir, "workdir", "w", "`DIR` to start in")
	f.String(&r.entry, "entrypoint", "", "`COMMAND` in place of the image's entry point")
	f.String(&r.o.Hostname, "hostname", "h", "`NAME` of the host inside")
	f.Bool(&r.o.Terminal, "tty", "t", "give it a terminal")
	f.Bool(new(bool), "interactive", "i", "keep standard input open, which it is always")
	f.Bool(&r.o.ReadOnly, "read-only", "", "nothing can be written but to volumes")
	f.String(&r.memory, "memory", "m", "at most `SIZE` of memory: 64m, 1g")
	f.String(&r.cpus, "cpus", "", "at most `NUMBER` of CPUs: 0.5")
	f.Int(&r.pids, "pids-limit", "", "at most `NUMBER` of processes")
	f.String(&r.network, "network", "", "`none` (its own loopback alone) or host")
	f.String(&r.write, "write", "", "`WHERE` what it writes goes: memory, flash, or a directory (memory)")
	f.String(&r.writeSize, "write-size", "", "at most `SIZE` of what it writes (64m of memory; flash: to be given), or none")
	f.Strings(&r.volumes, "volume", "v", "`NAME-OR-DIR:PATH[:ro]` a volume, or a directory of the host; may be given again")
	f.String(&r.layout, "layout", "", "mount the image in this `WAY`, whatever the kernel can")
}

func (r *run) run(s *session, c *cli.Call) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("run: only root can mount images; tare runtime run --rootless runs a bundle without")
	}
	// May start the program anew, so it comes before anything is made.
	if err := container.ProtectProgram(); err != nil {
		return err
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	defer st.Close()
	image, err := find(st, c.Args[0])
	if err != nil {
		return fmt.Errorf("%w; tare pull %s fetches it", err, c.Args[0])
	}
	in, err := r.prepare(s, st, image, c.Args[1:])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.remove(in)) }()
	status := s.Runtime(c.IO, []string{"--root", filepath.Join(s.run, "runtime"), "run", "--bundle", in.Dir, in.ID})
	if status == 0 {
		return nil
	}
	return &cli.Exit{Status: status}
}

func (r *run) prepare(s *session, st *store.Store, image *store.Image, args []string) (_ *instance.Instance, err error) {
	if err := r.options(s, args); err != nil {
		return nil, err
	}
	mounter := s.mounter()
	if r.layout != "" {
		l, err := rootfs.ParseLayout(r.layout)
		if err != nil {
			return nil, err
		}
		mounter.Force = &l
	}
	if err := s.sweep(); err != nil {
		return nil, err
	}
	in, err := instance.New(s.run, r.o.ID, mounter)
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.remove(in))
		}
	}()
	// When this command is killed, its lock goes, and the container may go on.
	if err := in.Use(image); err != nil {
		return nil, err
	}
	// With --read-only, too: the places to mount on are made there, before nothing can be written.
	upper, work, err := r.writable(s, in, image)
	if err != nil {
		return nil, err
	}
	if err := in.Mount(st, upper, work); err != nil {
		return nil, err
	}
	return in, r.config(in, image)
}

// config writes the bundle's config.json.
func (r *run) config(in *instance.Instance, image *store.Image) error {
	config, _, err := image.Config()
	if err != nil {
		return err
	}
	r.o.Rootfs = in.Rootfs()
	accounts, err := instance.Accounts(r.o.Rootfs)
	if err != nil {
		return err
	}
	spec, err := bundle.Spec(config.Config, accounts, r.o)
	if err != nil {
		return fmt.Errorf("image %s: %w", image.Digest, err)
	}
	return in.WriteSpec(spec)
}

// remove takes the container back, and what it wrote to flash if that is not kept.
func (r *run) remove(in *instance.Instance) error {
	return errors.Join(in.Remove(), r.closeLayer())
}

// options checks what was asked for.
func (r *run) options(s *session, args []string) error {
	r.o.ID, r.o.Args = r.name, args
	if r.name == "" {
		r.o.ID = instance.NewID()
	}
	if err := instance.CheckName(r.o.ID); err != nil {
		return fmt.Errorf("--name %w", err)
	}
	if err := r.checkWrite(); err != nil {
		return err
	}
	if r.entry != "" {
		r.o.Entry = &r.entry
	}
	switch r.network {
	case "", "none":
	case "host":
		r.o.HostNet = true
	default:
		return fmt.Errorf("--network %s: want none or host", r.network)
	}
	var err error
	if r.memory != "" {
		if r.o.Memory, err = instance.ParseSize(r.memory); err != nil {
			return fmt.Errorf("--memory %w", err)
		}
	}
	if r.cpus != "" {
		if r.o.CPUs, err = parseCPUs(r.cpus); err != nil {
			return err
		}
	}
	r.o.Pids = int64(r.pids)
	return r.mountVolumes(s)
}

package imagecli

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/bundle"
	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
)

const runLong = `Run a command in a new container of an image that is in the store, and wait for its end. The
exit status is the command's.

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
	defer func() { err = errors.Join(err, in.remove()) }()
	status := s.Runtime(c.IO, []string{"--root", filepath.Join(s.run, "runtime"), "run", "--bundle", in.dir, in.id})
	if status == 0 {
		return nil
	}
	return &cli.Exit{Status: status}
}

// An instance is a container's directory in memory: its bundle, its root file system, what it writes.
type instance struct {
	id, dir string
	mounter *rootfs.Mounter
	own     *os.File // its lock: see sweep
	image   *store.Image
	use     *store.Lock
	layer   *upperLayer // nil unless it writes to flash
	once    bool        // the layer goes with the container
	mounts  []string    // to be unmounted, the last first
}

func (r *run) prepare(s *session, st *store.Store, image *store.Image, args []string) (_ *instance, err error) {
	if err := r.options(s, args); err != nil {
		return nil, err
	}
	in := &instance{id: r.o.ID, dir: filepath.Join(s.run, "containers", r.o.ID)}
	in.mounter = s.mounter()
	if r.layout != "" {
		l, err := rootfs.ParseLayout(r.layout)
		if err != nil {
			return nil, err
		}
		in.mounter.Force = &l
	}
	if err := os.MkdirAll(filepath.Dir(in.dir), 0o711); err != nil {
		return nil, err
	}
	if err := s.sweep(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(in.dir, 0o711); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("run: a container %s is there already", r.o.ID)
		}
		return nil, err
	}
	if in.own, err = lockDir(in.dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.remove())
		}
	}()
	if in.use, err = image.Use(); err != nil {
		return nil, err
	}
	// When this command is killed, its lock goes, and the container may go on.
	err = os.WriteFile(filepath.Join(in.dir, store.HolderImage), []byte(image.Digest.String()), 0o600)
	if err != nil {
		return nil, err
	}
	if err := r.mount(s, in, st, image); err != nil {
		return nil, err
	}
	return in, r.config(in, image)
}

// mount mounts the root file system at DIR/rootfs.
func (r *run) mount(s *session, in *instance, st *store.Store, image *store.Image) error {
	r.o.Rootfs = filepath.Join(in.dir, "rootfs")
	if err := os.Mkdir(r.o.Rootfs, 0o755); err != nil {
		return err
	}
	file, err := image.TreePath()
	if err != nil {
		return err
	}
	in.image = image
	key := image.Digest.Encoded()
	mt := rootfs.Mount{
		Tree: rootfs.Tree{
			Key: key, File: file, Stubs: filepath.Join(st.Dir(), "stubs", key),
			Data: []string{st.Objects().Path()},
		},
		Target: r.o.Rootfs,
	}
	// With --read-only, too: the places to mount on are made there, before nothing can be written.
	if mt.Upper, mt.Work, err = r.writable(s, in); err != nil {
		return err
	}
	if _, err := in.mounter.Mount(mt); err != nil {
		return err
	}
	in.mounts = append(in.mounts, mt.Target)
	return nil
}

// config writes the bundle's config.json.
func (r *run) config(in *instance, image *store.Image) error {
	config, _, err := image.Config()
	if err != nil {
		return err
	}
	accounts, err := readAccounts(r.o.Rootfs)
	if err != nil {
		return err
	}
	spec, err := bundle.Spec(config.Config, accounts, r.o)
	if err != nil {
		return fmt.Errorf("image %s: %w", image.Digest, err)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(in.dir, "config.json"), text, 0o600)
}

// readAccounts reads through an os.Root: a link in the image leads nowhere else.
func readAccounts(dir string) (bundle.Accounts, error) {
	var a bundle.Accounts
	root, err := os.OpenRoot(dir)
	if err != nil {
		return a, err
	}
	defer root.Close()
	for name, to := range map[string]*string{"etc/passwd": &a.Passwd, "etc/group": &a.Group} {
		f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // an image without accounts has numbers
		}
		text, err := io.ReadAll(io.LimitReader(f, 1<<20))
		f.Close()
		if err != nil {
			return a, err
		}
		*to = string(text)
	}
	return a, nil
}

// remove takes the container back: its mounts, its directory, its hold on the image.
func (in *instance) remove() error {
	var errs []error
	for i := len(in.mounts) - 1; i >= 0; i-- {
		if err := unix.Unmount(in.mounts[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			errs = append(errs, &fs.PathError{Op: "unmount", Path: in.mounts[i], Err: err})
		}
	}
	if len(errs) == 0 { // never remove through a mount
		errs = append(errs, os.RemoveAll(in.dir), in.closeLayer())
	}
	if in.own != nil {
		in.own.Close()
	}
	if in.use != nil {
		errs = append(errs, in.use.Close())
	}
	if in.image != nil {
		errs = append(errs, release(in.mounter, in.image))
	}
	return errors.Join(errs...)
}

// release unmounts the tree of an image when no container uses it any more.
func release(m *rootfs.Mounter, i *store.Image) error {
	l, ok, err := i.Alone()
	if err != nil || !ok {
		return err
	}
	defer l.Close()
	packs, err := i.Packs()
	if err != nil {
		return err
	}
	errs := []error{m.Release(i.Digest.Encoded())}
	for _, d := range packs {
		errs = append(errs, m.ReleasePack(d.Encoded()))
	}
	return errors.Join(errs...)
}

// mountPacks mounts the packs of an image, and returns their directories of objects.
func mountPacks(m *rootfs.Mounter, st *store.Store, i *store.Image) ([]string, error) {
	packs, err := i.Packs()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, d := range packs {
		dir, err := m.Pack(d.Encoded(), st.PackPath(d))
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// options checks what was asked for.
func (r *run) options(s *session, args []string) error {
	r.o.ID, r.o.Args = r.name, args
	if r.name == "" {
		r.o.ID = newID()
	}
	if err := checkName(r.o.ID); err != nil {
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
		if r.o.Memory, err = parseSize(r.memory); err != nil {
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

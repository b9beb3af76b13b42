package enginecli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
	"tare.dev/tare/internal/dockerapi"
	"tare.dev/tare/internal/engine"
	"tare.dev/tare/internal/keeper"
	"tare.dev/tare/internal/resident"
)

const daemonLong = `Run the engine: it looks after containers and serves the Docker Engine API on the socket RUN/tare.sock,
or where --host says. It is two processes: a keeper, which is the parent of the containers and does nothing
else, and the engine, which the keeper starts again when it dies. Containers do not notice.

"tare daemon upgrade PROGRAM" has the running engine and keeper go on as another program, under the same number,
without a container noticing. When that program's engine does not come up, the old one goes on.`

// engineMemory is what the engine's heap is to stay below, in bytes.
const engineMemory = 24 << 20

// restAfter is how long after a request the engine gives back what it needs no more.
const restAfter = time.Second

// restLater is when it does so again: what goes on behind a request, as the collecting of output, is over then.
const restLater = 8 * time.Second

// DaemonOptions say what the program is.
type DaemonOptions struct {
	Version, Commit string
	// Dirs are the program's two folders, by its flags.
	Dirs func() (root, run string)
}

type daemon struct {
	o     DaemonOptions
	hosts []string
	certs certificates
	mem   memoryRules
	debug bool
}

// Daemon is the command that runs the engine.
func Daemon(o DaemonOptions) cli.Command {
	d := &daemon{o: o}
	return cli.Command{
		Name: "daemon", Args: "[upgrade PROGRAM]", MaxArgs: 2, Short: "run the engine", Long: daemonLong,
		Flags: func(f *cli.Flags) {
			f.Strings(&d.hosts, "host", "H", "`unix://PATH or tcp://ADDRESS:PORT` to serve the API at; may be given again (RUN/tare.sock)")
			d.certs.flags(f)
			d.mem.flags(f)
			f.Bool(&d.debug, "debug", "D", "tell more of what goes on")
		},
		Run: func(c *cli.Call) error { return d.run(c) },
	}
}

func (d *daemon) run(c *cli.Call) error {
	if len(c.Args) > 0 {
		return d.upgrade(c)
	}
	if os.Geteuid() != 0 {
		return errors.New("daemon: only root can run containers for others")
	}
	root, run := d.o.Dirs()
	root, err1 := filepath.Abs(root)
	run, err2 := filepath.Abs(run)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if len(d.hosts) == 0 {
		d.hosts = []string{"unix://" + filepath.Join(run, "tare.sock")}
	}
	if err := d.certs.check(d.hosts); err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	if _, err := d.mem.options(); err != nil {
		return err
	}
	if os.Getenv(keeper.Env) != "" {
		return d.engine(c, root, run)
	}
	program, err := ownFile()
	if err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	args := []string{program, "--root", root, "--run", run, "daemon"}
	for _, h := range d.hosts {
		args = append(args, "--host", h)
	}
	args = append(args, d.certs.arguments()...)
	args = append(args, d.mem.arguments()...)
	if d.debug {
		args = append(args, "--debug")
	}
	unlock, err := lockFolders(root, run)
	if err != nil && !keeper.Replaces() {
		return fmt.Errorf("daemon: %w", err)
	}
	defer unlock()
	status, err := keeper.Run(context.Background(), keeper.Options{Args: args, Log: c.Err})
	if err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	return &cli.Exit{Status: status}
}

// ownFile is the path of this program's file. /proc/self/exe does not tell: it may be executed through
// a mount of its own (container.ProtectProgram).
func ownFile() (string, error) {
	running, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", err
	}
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	if named, err := os.Stat(path); err != nil || !os.SameFile(running, named) {
		return "", fmt.Errorf("%s is not the file of this program", path)
	}
	return path, nil
}

// engine is the second process.
func (d *daemon) engine(c *cli.Call, root, run string) error {
	if err := container.ProtectProgram(); err != nil {
		return err
	}
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(engineMemory)
	_ = os.WriteFile("/proc/self/comm", []byte("tare-engine"), 0) // a name for people alone
	level := slog.LevelInfo
	if d.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(c.Err, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	pressure, err := d.mem.options()
	if err != nil {
		return err
	}
	e, err := engine.Open(engine.Options{Root: root, Run: run, Log: log, Program: os.Args[0], Reserve: d.mem.reserve, Pressure: pressure})
	if err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	err = d.serve(ctx, e, log)
	return errors.Join(err, e.Close())
}

// serve answers requests until it is told to end, or the keeper is gone.
func (d *daemon) serve(ctx context.Context, e *engine.Engine, log *slog.Logger) error {
	var listeners []net.Listener
	for _, h := range d.hosts {
		l, err := d.certs.listen(e, h)
		if err != nil {
			return fmt.Errorf("--host %s: %w", h, err)
		}
		listeners = append(listeners, l)
	}
	rest, later := time.AfterFunc(restAfter, resident.Trim), time.AfterFunc(restLater, resident.Trim)
	server := &http.Server{
		ConnState: func(net.Conn, http.ConnState) {
			rest.Reset(restAfter)
			later.Reset(restLater)
		},
		Handler:           dockerapi.New(e, dockerapi.Options{Version: d.o.Version, Commit: d.o.Commit}),
		ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return e.Context() },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelError),
	}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- server.Serve(l) }()
	}
	log.Info("the engine serves", "hosts", d.hosts)
	select {
	case err := <-ended:
		return err
	case <-e.Gone:
		log.Error("the keeper has ended")
	case <-e.Replaced:
		log.Info("the engine makes way for another program, the containers go on")
		time.Sleep(100 * time.Millisecond) // for the answer to who asked
	case <-ctx.Done():
		log.Info("the engine ends, the containers go on")
	}
	return server.Close()
}

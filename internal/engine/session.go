package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	runtime "tare.dev/tare/internal/container"
	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/keeper"
	"tare.dev/tare/internal/logs"
)

// sessionKept is how long one can ask how a session ended.
const sessionKept = 5 * time.Minute

// sessions are the processes that were added to containers, by their ids. They are in memory alone: a
// client's connection ends with the engine, and a session with it.
type sessions struct {
	mu  sync.Mutex
	all map[string]*Session
}

func newSessions() *sessions { return &sessions{all: map[string]*Session{}} }

// Session is a process that is added to a container: exec.
type Session struct {
	ID     string
	c      *Container
	config container.ExecCreateRequest

	mu       sync.Mutex
	started  bool
	running  bool
	pid      int
	exitCode *int
	terminal *logs.Input
	ready    chan struct{} // closed when it runs, or failed to
}

// Exec makes a session; nothing runs yet.
func (c *Container) Exec(config container.ExecCreateRequest) (*Session, error) {
	if len(config.Cmd) == 0 {
		return nil, Errorf(Invalid, "No exec command specified")
	}
	if err := c.canExec(); err != nil {
		return nil, err
	}
	x := &Session{ID: newID(), c: c, config: config, ready: make(chan struct{})}
	s := c.e.execs
	s.mu.Lock()
	s.all[x.ID] = x
	s.mu.Unlock()
	c.publish("exec_create: "+strings.Join(config.Cmd, " "), "execID", x.ID)
	return x, nil
}

func (c *Container) canExec() error {
	switch v := c.View(); v.State {
	case container.StateRunning:
		return nil
	case container.StatePaused:
		return Errorf(Conflict, "Container %s is paused, unpause the container before exec", c.id)
	case container.StateRestarting:
		return Errorf(Conflict, "Container %s is restarting, wait until the container is running", c.id)
	}
	return Errorf(Conflict, "container %s is not running", c.id)
}

// Session finds a session.
func (e *Engine) Session(id string) (*Session, error) {
	e.execs.mu.Lock()
	defer e.execs.mu.Unlock()
	if x := e.execs.all[id]; x != nil {
		return x, nil
	}
	return nil, Errorf(NotFound, "No such exec instance: %s", id)
}

// of is the ids of a container's sessions that run; nil for none.
func (s *sessions) of(c *Container) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, x := range s.all {
		if x.c == c && x.isRunning() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// endOf is for the end of a container: sessions that never began go with it.
func (s *sessions) endOf(c *Container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, x := range s.all {
		if x.c == c && !x.begun() {
			delete(s.all, id)
		}
	}
}

func (x *Session) isRunning() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.running
}

func (x *Session) begun() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.started
}

// Inspect is what is known of the session.
func (x *Session) Inspect() container.ExecInspectResponse {
	x.mu.Lock()
	defer x.mu.Unlock()
	privileged := x.config.Privileged
	return container.ExecInspectResponse{
		ID: x.ID, Running: x.running, ExitCode: x.exitCode, ContainerID: x.c.id, Pid: x.pid, CanRemove: !x.running,
		OpenStdin: x.config.AttachStdin, OpenStdout: x.config.AttachStdout, OpenStderr: x.config.AttachStderr, DetachKeys: []byte(x.config.DetachKeys),
		ProcessConfig: &container.ExecProcessConfig{
			Tty: x.config.Tty, Entrypoint: x.config.Cmd[0], Arguments: x.config.Cmd[1:], User: x.config.User, Privileged: &privileged,
		},
	}
}

// Tty tells whether it has a terminal.
func (x *Session) Tty() bool { return x.config.Tty }

// Resize sets the size of the session's terminal, once there is one.
func (x *Session) Resize(ctx context.Context, rows, columns uint16) error {
	select {
	case <-x.ready:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(resizePatience):
		return Errorf(Invalid, "timeout waiting for exec session ready")
	}
	x.mu.Lock()
	terminal, running := x.terminal, x.running
	x.mu.Unlock()
	if !running {
		return Errorf(Conflict, "exec instance %s is not running", x.ID)
	}
	return resize(terminal, rows, columns)
}

// execDrain is how long the end of a session waits for its last output.
const execDrain = time.Second

const resizePatience = 10 * time.Second

// StartOptions of a session.
type StartOptions struct {
	Detach bool
	Size   *[2]uint // of the terminal: rows, columns
	Stdin  io.Reader
	// Write gets what it prints, from one goroutine for each stream.
	Write func(stream byte, p []byte) error
}

// Begin claims the session for the one start that it can have.
func (x *Session) Begin() error {
	if err := x.c.canExec(); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.started {
		return Errorf(Conflict, "exec instance %s was started already", x.ID)
	}
	x.started = true
	return nil
}

// Start runs the session's process, after Begin, and returns at its end; at once with Detach.
func (x *Session) Start(ctx context.Context, o StartOptions) error {
	p, err := x.c.newProcess(processOptions{config: &x.config, size: o.Size, discard: o.Detach})
	if err != nil {
		code := execCode(err, x.config.Cmd[0])
		x.mu.Lock()
		x.exitCode = &code
		x.mu.Unlock()
		close(x.ready)
		x.forget()
		return err
	}
	x.mu.Lock()
	x.running, x.pid, x.terminal = true, p.pid, p.terminal
	x.mu.Unlock()
	close(x.ready)
	x.c.publish("exec_start: "+strings.Join(x.config.Cmd, " "), "execID", x.ID)
	finish := func() {
		code := <-p.exited
		p.drain()
		x.mu.Lock()
		x.running, x.exitCode, x.terminal = false, &code, nil
		x.mu.Unlock()
		p.close()
		x.c.publish("exec_die", "execID", x.ID, "exitCode", strconv.Itoa(code))
		x.forget()
	}
	if o.Detach {
		go finish()
		return nil
	}
	stdin := o.Stdin
	if !x.config.AttachStdin {
		stdin = nil
	}
	p.connect(ctx, stdin, func(stream byte, b []byte) error {
		if stream == 1 && !x.config.AttachStdout || stream == 2 && !x.config.AttachStderr {
			return nil
		}
		return o.Write(stream, b)
	})
	finish()
	return nil
}

// execCode is what docker exec ends with when the process could not be made.
func execCode(err error, command string) int {
	text := err.Error()
	if strings.Contains(text, notFoundInPath) || errors.Is(err, unix.ENOENT) && strings.Contains(text, strconv.Quote(command)) {
		return 127
	}
	return 126
}

// forget lets go of the session, after a while.
func (x *Session) forget() {
	s := x.c.e.execs
	time.AfterFunc(sessionKept, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, x.ID)
	})
}

// process is what a session, or a health check, runs.
type process struct {
	pid      int
	exited   chan int // gets the exit code
	terminal *logs.Input
	stdin    *os.File
	outputs  [3]*os.File // to read from; nil: none
	copies   sync.WaitGroup
}

type processOptions struct {
	config  *container.ExecCreateRequest
	size    *[2]uint
	discard bool // nobody reads what it prints
}

// newProcess adds a process to the running container.
func (c *Container) newProcess(o processOptions) (p *process, err error) {
	r, err := c.runtime()
	if err != nil {
		return nil, err
	}
	spec, err := c.execSpec(r, o.config)
	if err != nil {
		return nil, err
	}
	made := &process{exited: make(chan int, 1)}
	defer func() {
		if err != nil {
			made.close()
		}
	}()
	files, err := made.open(o)
	defer closeFiles(files)
	if err != nil {
		return nil, err
	}
	c.e.exits.begin()
	run, err := r.Exec(runtime.ExecOptions{Process: spec, Stdio: files, Console: made.console(o.size), Parent: true})
	if err != nil {
		c.e.exits.none()
		if errors.Is(err, runtime.ErrNotRunning) {
			return nil, Errorf(Conflict, "container %s is not running", c.id)
		}
		return nil, Errorf(Invalid, "OCI runtime exec failed: exec failed: unable to start container process: %w", err)
	}
	run.Release()
	made.pid = run.Pid
	c.e.exits.made(made.pid, func(x keeper.Exit) { made.exited <- exitCode(x.Status) })
	return made, nil
}

func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// execSpec is the container's own process with what the session changes.
func (c *Container) execSpec(r *runtime.Container, x *container.ExecCreateRequest) (*specs.Process, error) {
	spec, err := r.Spec()
	if err != nil {
		return nil, err
	}
	p := spec.Process
	p.Args, p.Terminal = x.Cmd, x.Tty
	p.Env = mergeEnv(p.Env, x.Env)
	if x.Tty {
		p.Env = mergeEnv([]string{"TERM=xterm"}, p.Env)
	}
	if x.WorkingDir != "" {
		p.Cwd = x.WorkingDir
	}
	accounts, err := instance.Accounts(c.in.Rootfs())
	if err != nil {
		return nil, err
	}
	if x.User != "" {
		umask := p.User.Umask
		if p.User, err = userOf(accounts, x.User); err != nil {
			return nil, err
		}
		p.User.Umask = umask
	}
	if !hasHome(c.View().Config.Env) {
		p.Env = slices.DeleteFunc(p.Env, isHome) // that of the container's user
	}
	setHome(p, accounts)
	caps := p.Capabilities
	if x.Privileged {
		s := &specs.Spec{Process: p}
		if err := capabilities(s, &container.HostConfig{Privileged: true}); err != nil {
			return nil, err
		}
		return p, nil
	}
	caps.Effective, caps.Permitted = nil, nil
	if p.User.UID == 0 {
		caps.Effective, caps.Permitted = caps.Bounding, caps.Bounding
	}
	return p, nil
}

// user finds a user of the container.
func (c *Container) user(name string) (specs.User, error) {
	accounts, err := instance.Accounts(c.in.Rootfs())
	if err != nil {
		return specs.User{}, err
	}
	return userOf(accounts, name)
}

// open makes the ends that the process gets, and ours.
func (p *process) open(o processOptions) (files [3]*os.File, err error) {
	if o.config.Tty {
		return files, nil
	}
	for n := range files {
		wanted := n > 0 && !o.discard || n == 0 && o.config.AttachStdin && !o.discard
		if !wanted {
			if files[n], err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return files, err
			}
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return files, err
		}
		if n == 0 {
			files[0], p.stdin = r, w
		} else {
			files[n], p.outputs[n] = w, r
		}
	}
	return files, nil
}

func (p *process) console(size *[2]uint) func(*os.File) error {
	return func(master *os.File) error {
		if err := unix.SetNonblock(int(master.Fd()), true); err != nil {
			return err
		}
		fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		p.outputs[1] = os.NewFile(uintptr(fd), "terminal")
		if p.terminal, err = logs.NewInput(master); err != nil {
			return err
		}
		if size != nil && size[0] > 0 && size[1] > 0 {
			return resize(p.terminal, uint16(size[0]), uint16(size[1]))
		}
		return nil
	}
}

// connect copies between the process and a client.
func (p *process) connect(ctx context.Context, stdin io.Reader, write func(byte, []byte) error) {
	for n, f := range p.outputs {
		if f == nil {
			continue
		}
		p.copies.Go(func() {
			b := make([]byte, 8<<10)
			for {
				k, err := f.Read(b)
				if k > 0 && write(byte(n), b[:k]) != nil {
					write = func(byte, []byte) error { return nil } // it goes on without a client
				}
				if err != nil {
					return
				}
			}
		})
	}
	if stdin == nil {
		p.closeInput()
		return
	}
	go func() {
		b := make([]byte, 4<<10)
		for {
			n, err := stdin.Read(b)
			if n > 0 && p.typed(b[:n]) != nil || err != nil {
				p.closeInput()
				return
			}
		}
	}()
}

func (p *process) typed(b []byte) error {
	if p.terminal != nil {
		_, err := p.terminal.Write(b)
		return err
	}
	_, err := p.stdin.Write(b)
	return err
}

func (p *process) closeInput() {
	if p.stdin != nil {
		p.stdin.Close()
	}
}

// kill ends the process, and waits until it has ended.
func (p *process) kill() {
	_ = unix.Kill(p.pid, unix.SIGKILL) // ours until its end is taken note of, and that is below
	<-p.exited
}

// drain waits for the last output. Another process may have inherited the pipes and keep them open for
// ever.
func (p *process) drain() {
	done := make(chan struct{})
	go func() { p.copies.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(execDrain):
	}
}

func (p *process) close() {
	p.closeInput()
	if p.terminal != nil {
		_ = p.terminal.Close() // a terminal whose process has ended
	}
	for _, f := range p.outputs {
		if f != nil {
			f.Close()
		}
	}
}

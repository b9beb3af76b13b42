package runtimecli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

// fakeStore is a store in memory that writes down what is asked of it.
type fakeStore struct {
	root     string
	boxes    map[string]*fakeBox
	bad      []error // what List complains of
	unlisted error   // what List fails with
	fail     error   // what Create and Run answer

	created container.CreateOptions
	calls   []string
	process *fakeProcess // what Run and Exec start
}

func (f *fakeStore) note(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fakeStore) Create(id string, o container.CreateOptions) (handle, error) {
	f.note("create %s", id)
	f.created = o
	if f.fail != nil {
		return nil, f.fail
	}
	if f.boxes[id] != nil {
		return nil, container.ErrExist
	}
	b := newBox(f, id, specs.StateCreated)
	return b, nil
}

func (f *fakeStore) Run(id string, o container.CreateOptions) (handle, process, error) {
	f.note("run %s", id)
	f.created = o
	if f.fail != nil {
		return nil, nil, f.fail
	}
	b := newBox(f, id, specs.StateRunning)
	if o.Before != nil {
		o.Before()
	}
	if o.Console != nil && f.process.master != nil {
		if err := o.Console(f.process.master); err != nil {
			return nil, nil, err
		}
	}
	return b, f.process, nil
}

func (f *fakeStore) Load(id string) (handle, error) {
	if b := f.boxes[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("load %s: %w", id, container.ErrNotExist)
}

func (f *fakeStore) List(bad func(error)) ([]handle, error) {
	var all []handle
	for _, err := range f.bad {
		bad(err)
	}
	for _, b := range f.boxes {
		all = append(all, b)
	}
	return all, f.unlisted
}

type fakeBox struct {
	store   *fakeStore
	state   container.State
	spec    specs.Spec
	pids    []int
	exec    container.ExecOptions
	updated *specs.LinuxResources
	oom     chan struct{}
	err     error
}

func newBox(f *fakeStore, id string, status specs.ContainerState) *fakeBox {
	b := &fakeBox{store: f, spec: *exampleSpec(false), oom: make(chan struct{}, 8)}
	b.state.ID, b.state.Status, b.state.Version = id, status, "1.3.0"
	b.state.Pid, b.state.Bundle, b.state.Rootfs, b.state.Owner = 4711, "/b/"+id, "/b/"+id+"/rootfs", "root"
	b.state.Created = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	f.boxes[id] = b
	return b
}

func (b *fakeBox) ID() string                      { return b.state.ID }
func (b *fakeBox) State() (container.State, error) { return b.state, nil }
func (b *fakeBox) Spec() (*specs.Spec, error)      { return &b.spec, nil }
func (b *fakeBox) Start() error                    { b.store.note("start %s", b.ID()); return b.err }

func (b *fakeBox) Pause() error { b.store.note("pause %s", b.ID()); return b.err }

func (b *fakeBox) Resume() error { b.store.note("resume %s", b.ID()); return b.err }

func (b *fakeBox) Signal(sig unix.Signal, all bool) error {
	b.store.note("signal %s %d %v", b.ID(), sig, all)
	if b.state.Status == specs.StateStopped {
		return fmt.Errorf("kill %s: %w", b.ID(), container.ErrNotRunning)
	}
	return b.err
}

func (b *fakeBox) Delete(force bool) error {
	b.store.note("delete %s %v", b.ID(), force)
	if b.state.Status != specs.StateStopped && !force {
		return fmt.Errorf("delete %s: %w", b.ID(), container.ErrNotStopped)
	}
	delete(b.store.boxes, b.ID())
	return b.err
}

func (b *fakeBox) Update(r *specs.LinuxResources) error {
	b.updated = r
	return b.err
}
func (b *fakeBox) Stats() (*cgroup.Stats, error) { return &cgroup.Stats{}, b.err }
func (b *fakeBox) Pids() ([]int, error)          { return b.pids, b.err }
func (b *fakeBox) OOMEvents(context.Context) (<-chan struct{}, error) {
	return b.oom, b.err
}

func (b *fakeBox) Exec(o container.ExecOptions) (process, error) {
	b.store.note("exec %s %s", b.ID(), strings.Join(o.Process.Args, " "))
	b.exec = o
	if b.err != nil {
		return nil, b.err
	}
	if o.Before != nil {
		o.Before()
	}
	return b.store.process, nil
}

// fakeProcess ends when it is signalled, or at once with a status.
type fakeProcess struct {
	status  int
	master  *os.File
	signals chan unix.Signal // nil: ends at once
	wait    func()
}

func (p *fakeProcess) Wait() (int, error) {
	if p.wait != nil {
		p.wait()
	}
	if p.signals != nil {
		return 128 + int(<-p.signals), nil
	}
	return p.status, nil
}

func (p *fakeProcess) Signal(sig unix.Signal) error {
	if p.signals == nil {
		return unix.ESRCH
	}
	p.signals <- sig
	return nil
}

// stage is one command line against a fake store.
type stage struct {
	*fakeStore
	env  map[string]string
	in   io.Reader
	name string
}

func newStage() *stage {
	return &stage{
		fakeStore: &fakeStore{boxes: map[string]*fakeBox{}, process: &fakeProcess{}},
		env:       map[string]string{},
		name:      "tare",
	}
}

func (g *stage) run(args ...string) (status int, out, errs string) {
	s := newSession(Options{
		Name: g.name, Version: "1.2.3", Commit: func() string { return "abc" }, LikeRunc: g.name != "tare",
	})
	s.getenv = func(name string) string { return g.env[name] }
	s.open = func(root string) store { g.root = root; return g.fakeStore }
	s.protect = func() error { return nil }
	s.log.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	var o, e strings.Builder
	cmd := s.command()
	cmd.Name = g.name
	status = cli.Main(&cmd, cli.IO{In: g.in, Out: &o, Err: &e}, args)
	return status, o.String(), e.String()
}

// line runs a command line given as one string and wants it to succeed.
func (g *stage) line(t *testing.T, line string) (out string) {
	t.Helper()
	status, out, errs := g.run(strings.Fields(line)...)
	if status != 0 || errs != "" {
		t.Fatalf("%s: status %d, stderr %q", line, status, errs)
	}
	return out
}

func (g *stage) wantCalls(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(g.calls, want) {
		t.Errorf("calls %q, want %q", g.calls, want)
	}
	g.calls = nil
}

var errBoom = errors.New("boom")

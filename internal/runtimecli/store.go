package runtimecli

import (
	"context"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/container"
)

// store, handle and process are container.Store, *container.Container and
// *container.Process as this package uses them; the tests bring a fake.
type store interface {
	Create(id string, o container.CreateOptions) (handle, error)
	Run(id string, o container.CreateOptions) (handle, process, error)
	Load(id string) (handle, error)
	List(bad func(error)) ([]handle, error)
}

type handle interface {
	ID() string
	State() (container.State, error)
	Spec() (*specs.Spec, error)
	Start() error
	Signal(sig unix.Signal, all bool) error
	Delete(force bool) error
	Pause() error
	Resume() error
	Update(*specs.LinuxResources) error
	Stats() (*cgroup.Stats, error)
	Pids() ([]int, error)
	OOMEvents(context.Context) (<-chan struct{}, error)
	Exec(container.ExecOptions) (process, error)
}

type process interface {
	Wait() (status int, err error)
	Signal(unix.Signal) error
}

// disk is the real store.
type disk struct{ container.Store }

func (d disk) Create(id string, o container.CreateOptions) (handle, error) {
	c, err := d.Store.Create(id, o)
	if err != nil {
		return nil, err
	}
	return kept{c}, nil
}

func (d disk) Run(id string, o container.CreateOptions) (handle, process, error) {
	c, p, err := d.Store.Run(id, o)
	if err != nil {
		return nil, nil, err
	}
	return kept{c}, p, nil
}

func (d disk) Load(id string) (handle, error) {
	c, err := d.Store.Load(id)
	if err != nil {
		return nil, err
	}
	return kept{c}, nil
}

func (d disk) List(bad func(error)) ([]handle, error) {
	found, err := d.Store.List(bad)
	all := make([]handle, len(found))
	for i, c := range found {
		all[i] = kept{c}
	}
	return all, err
}

// kept is a container in the real store.
type kept struct{ *container.Container }

func (k kept) Exec(o container.ExecOptions) (process, error) {
	p, err := k.Container.Exec(o)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// streams is what becomes a process's standard input, output and error: ours.
func streams() [3]*os.File { return [3]*os.File{os.Stdin, os.Stdout, os.Stderr} }

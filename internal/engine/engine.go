// Package engine runs a device's containers: their states, their supervision, their recovery.
//
// One goroutine owns each container and does all that changes it, one thing after the other; what others
// see of it is a copy that never changes. The engine may be killed at any moment: what it knows lies in
// memory (RUN) and, where it must outlive a boot, on flash (ROOT/engine), and the next engine reads it.
// How a process is made is package container's business, how the API looks package dockerapi's.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tare.dev/tare/internal/container"
	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/keeper"
	"tare.dev/tare/internal/logs"
	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
)

// Options of Open.
type Options struct {
	Root string // on flash; absolute
	Run  string // in memory; absolute
	Log  *slog.Logger

	// WriteLimit is how much a container may write to its own file system, in bytes of memory; 0 is 64 MiB.
	WriteLimit int64
	// Reserve is how much memory is kept for the device's own programs when containers are guaranteed some, in bytes;
	// 0 is a tenth of it, and 32 MiB at least.
	Reserve int64
	// BootWait is how long a boot waits for what a container depends on; 0 is two minutes.
	BootWait time.Duration
	// Pressure is when and how the engine acts when memory is short.
	Pressure PressureOptions
	// Program is the file of this program, which is bound into containers that want an init.
	Program string
}

// startsAtOnce bounds the threads that starts take, which Go never gives back: each waits in the kernel for namespaces
// and mounts.
const startsAtOnce = 8

// Engine is the containers of a device.
type Engine struct {
	o       Options
	log     *slog.Logger
	runtime container.Store
	mounter *rootfs.Mounter
	events  *eventLog
	exits   *exits
	keep    *keeper.Client
	// collector reads what the containers print.
	collector *logs.Collector
	nets      *networks
	store     *store.Store
	execs     *sessions
	starts    chan struct{}      // as many containers are started at once as it has room
	stop      context.CancelFunc // ends what goes on in the background
	ctx       context.Context

	guarantees guarantees
	blind      string // why lack of memory is not seen; "": it is

	// Gone is closed when the keeper has ended: then an engine can do nothing but end, too.
	Gone chan struct{}
	// Replaced is closed when another program is to take this one's place: see Upgrade.
	Replaced chan struct{}
	replaced sync.Once

	work sync.WaitGroup

	// mu guards the registry; nothing is locked under it.
	mu    sync.Mutex
	all   map[string]*Container // by id
	names map[string]string     // id by name
}

// Open starts the engine: it takes over the containers that are there, and starts those that a boot has
// ended and that are to be started again.
func Open(o Options) (*Engine, error) {
	if o.WriteLimit == 0 {
		o.WriteLimit = 64 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		o: o, log: o.Log, all: map[string]*Container{}, names: map[string]string{},
		runtime: container.Store{Root: filepath.Join(o.Run, "runtime")},
		mounter: &rootfs.Mounter{Run: filepath.Join(o.Run, "mnt")},
		starts:  make(chan struct{}, startsAtOnce),
		events:  newEvents(), Gone: make(chan struct{}), Replaced: make(chan struct{}),
	}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.execs = newSessions()
	for _, dir := range []string{e.recordsDir(), filepath.Join(o.Run, "containers")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, err
		}
	}
	var err error
	e.store, err = store.Open(filepath.Join(o.Root, "store"), store.Options{
		Holders: []string{filepath.Join(o.Root, "containers"), filepath.Join(o.Run, "containers")},
	})
	if err != nil {
		return nil, err
	}
	if e.keep, err = keeper.Connect(); err != nil {
		return nil, err
	}
	if e.collector, err = logs.NewCollector(); err != nil {
		return nil, err
	}
	if e.nets, err = openNetworks(e); err != nil {
		return nil, err
	}
	e.exits = newExits(e.keep)
	if err := e.recover(); err != nil {
		return nil, err
	}
	e.guarantees.mu.Lock()
	e.shareCPUs(false)
	e.guarantees.mu.Unlock()
	e.watchPressure()
	go func() {
		e.exits.serve()
		close(e.Gone)
	}()
	return e, nil
}

// Close ends the engine. The containers go on.
func (e *Engine) Close() error {
	e.stop()
	e.work.Wait()
	return errors.Join(e.nets.close(), e.collector.Close(), e.store.Close(), e.keep.Close())
}

// Context ends with the engine.
func (e *Engine) Context() context.Context { return e.ctx }

// Root is the folder on flash.
func (e *Engine) Root() string { return e.o.Root }

// Program is the file that the engine is.
func (e *Engine) Program() string { return e.o.Program }

// Run is the folder in memory.
func (e *Engine) Run() string { return e.o.Run }

// Store is the images; it is closed with the engine.
func (e *Engine) Store() *store.Store { return e.store }

func (e *Engine) recordsDir() string { return filepath.Join(e.o.Root, "engine", "containers") }

// Listening is how many listen to events.
func (e *Engine) Listening() int { return e.events.listening() }

// Find finds a container by its name, its id, or the beginning of its id.
func (e *Engine) Find(name string) (*Container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := trimSlash(name)
	if c := e.all[e.names[key]]; c != nil {
		return c, nil
	}
	if c := e.all[key]; c != nil {
		return c, nil
	}
	var found *Container
	for id, c := range e.all {
		if key == "" || len(id) < len(key) || id[:len(key)] != key {
			continue
		}
		if found != nil {
			return nil, Errorf(Invalid, "multiple IDs found with provided prefix: %s", key)
		}
		found = c
	}
	if found == nil {
		return nil, Errorf(NotFound, "No such container: %s", name)
	}
	return found, nil
}

// Containers returns all containers, in no order.
func (e *Engine) Containers() []*Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]*Container, 0, len(e.all))
	for _, c := range e.all {
		list = append(list, c)
	}
	return list
}

// register gives a container its name.
func (e *Engine) register(c *Container, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id, taken := e.names[name]; taken {
		return Errorf(Conflict, "Conflict. The container name %q is already in use by container %q. "+
			"You have to remove (or rename) that container to be able to reuse that name.", "/"+name, id)
	}
	e.names[name] = c.id
	e.all[c.id] = c
	return nil
}

func (e *Engine) unregister(c *Container) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.all, c.id)
	for name, id := range e.names {
		if id == c.id {
			delete(e.names, name)
		}
	}
}

func (e *Engine) place(id string) (*instance.Instance, error) {
	in, err := instance.Open(e.o.Run, id, e.mounter)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", id, err)
	}
	return in, nil
}

func trimSlash(name string) string {
	if len(name) > 1 && name[0] == '/' {
		return name[1:]
	}
	return name
}

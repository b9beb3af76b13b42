package engine

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"

	runtime "tare.dev/tare/internal/container"
	"tare.dev/tare/internal/instance"
)

// Container is one container. All that changes it is done by the goroutine own, one after the other.
type Container struct {
	e     *Engine
	id    string
	calls chan func()
	gone  chan struct{} // closed when it has been removed
	now   atomic.Pointer[View]

	loaded atomic.Pointer[loadedRun] // what exec used last

	settling atomic.Pointer[chan struct{}] // closed when the last end is finished with; nil: there was none

	// What follows belongs to own.
	in      *instance.Instance
	io      *streams
	waiters []*waiter
	again   *time.Timer // until it is started again
	backoff time.Duration
	health  *prober
	parts   []string // of volumes, mounted for the start that is under way
	stays   bool     // its end does not remove it: it is about to be started again
}

// View is a container as it was at a moment. It does not change.
type View struct {
	*Record
	Memory
}

func (e *Engine) newContainer(r *Record, m Memory) *Container {
	c := &Container{e: e, id: r.ID, calls: make(chan func()), gone: make(chan struct{})}
	c.now.Store(&View{r, m})
	return c
}

// loadedRun is a container as package container has it, of one run: it keeps the program of the last exec, which is most
// often the next one's, too.
type loadedRun struct {
	run int
	of  *runtime.Container
}

// runtime is the container of the run that goes on, loaded once.
func (c *Container) runtime() (*runtime.Container, error) {
	run := c.View().Runs
	if l := c.loaded.Load(); l != nil && l.run == run {
		return l.of, nil
	}
	r, err := c.e.runtime.Load(c.id)
	if err == nil {
		c.loaded.Store(&loadedRun{run, r})
	}
	return r, err
}

// ID is the container's id.
func (c *Container) ID() string { return c.id }

// View is the container as it is.
func (c *Container) View() View { return *c.now.Load() }

// own is the goroutine of the container.
func (c *Container) own() {
	for {
		select {
		case call := <-c.calls:
			call()
		case <-c.gone:
			return
		}
	}
}

// do has own do something, and waits for it.
func (c *Container) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case c.calls <- func() { done <- c.safely(f) }:
		return <-done
	case <-c.gone:
		return Errorf(NotFound, "No such container: %s", c.id)
	}
}

// safely does something for one container, and takes a bug of ours in it for an error: it must not take the engine down,
// and with it, at each new start, the care for all others.
func (c *Container) safely(f func() error) (err error) {
	defer func() {
		if bug := recover(); bug != nil {
			c.e.log.Error("a bug in the engine", "container", c.id, "panic", bug, "stack", string(debug.Stack()))
			err = fmt.Errorf("container %s: a bug in the engine: %v", c.id, bug)
		}
	}()
	return f()
}

// post has own do something, later.
func (c *Container) post(f func()) {
	safe := func() {
		_ = c.safely(func() error { // it has told of its bug
			f()
			return nil
		})
	}
	go func() {
		select {
		case c.calls <- safe:
		case <-c.gone:
		}
	}()
}

// change is a transition. Only own calls it.
func (c *Container) change(on event, edit func(*Memory)) error {
	v := c.View()
	to, ok := next(v.State, on)
	if !ok {
		return Errorf(Conflict, "container %s: cannot %s: it is %s", c.id, on, v.State)
	}
	return c.edit(func(m *Memory) {
		m.State = to
		if edit != nil {
			edit(m)
		}
	})
}

// edit changes what is known of the container, in memory and in RUN. Only own calls it.
func (c *Container) edit(change func(*Memory)) error {
	v := c.View()
	m := v.Memory
	change(&m)
	c.now.Store(&View{v.Record, m})
	return c.saveMemory()
}

func (c *Container) saveMemory() error {
	text, err := json.Marshal(c.View().Memory)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(c.e.dir(c.id), memoryFile), text)
}

// setRecord puts another record in the place of the container's. Only own calls it.
func (c *Container) setRecord(r *Record) error {
	if err := c.e.saveRecord(r); err != nil {
		return err
	}
	c.now.Store(&View{r, c.View().Memory})
	return nil
}

// publish tells of something that happened to the container, with its labels, name and image.
func (c *Container) publish(action string, more ...string) {
	v := c.View()
	attributes := make(map[string]string, len(v.Config.Labels)+2+len(more)/2)
	for k, value := range v.Config.Labels {
		attributes[k] = value
	}
	attributes["name"], attributes["image"] = v.Name, v.Config.Image
	for i := 0; i+1 < len(more); i += 2 {
		attributes[more[i]] = more[i+1]
	}
	c.e.Publish("container", action, c.id, attributes)
}

// Running tells whether it has a process.
func (v *View) Running() bool {
	return v.State == container.StateRunning || v.State == container.StatePaused
}

package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

// RemoveOptions of Remove.
type RemoveOptions struct {
	Force   bool // kill it first
	Volumes bool // its volumes without a name, too
}

// Remove takes a container away, with all it wrote.
func (c *Container) Remove(ctx context.Context, o RemoveOptions) error {
	v := c.View()
	err := c.tryRemove(o)
	for range forceTries { // somebody, or its policy, starts it again meanwhile
		if !o.Force || KindOf(err) != Conflict || err == nil || ctx.Err() != nil {
			break
		}
		err = c.tryRemove(o)
	}
	if KindOf(err) == NotFound && v.Host.AutoRemove && err != nil {
		return nil // its end has removed it
	}
	return err
}

// forceTries is how often a container that is to be removed by force is killed again.
const forceTries = 20

func (c *Container) tryRemove(o RemoveOptions) error {
	if v := c.View(); v.Running() && o.Force {
		if err := c.Kill("KILL"); err != nil && KindOf(err) != Conflict && KindOf(err) != NotFound {
			return err
		}
	}
	return c.do(func() error {
		v := c.View()
		switch {
		case v.Running():
			return Errorf(Conflict, "cannot remove container %q: container is running: stop the container before removing or force remove", "/"+v.Name)
		case v.State == container.StateRestarting && !o.Force:
			return Errorf(Conflict, "cannot remove container %q: container is restarting: stop the container before removing or force remove", "/"+v.Name)
		}
		return c.remove(o.Volumes)
	})
}

// remove is the last thing that own does.
func (c *Container) remove(volumes bool) error {
	c.stopTimer()
	if err := c.change(evRemove, nil); err != nil {
		if KindOf(err) == Conflict {
			return err
		}
		c.e.log.Error("write a container's state", "container", c.id, "error", err) // memory may be full: this frees some
	}
	v := c.View()
	errs := []error{c.e.nets.release(c)}
	c.dropStreams()
	if r, err := c.e.runtime.Load(c.id); err == nil {
		errs = append(errs, r.Delete(true))
	}
	if c.in == nil {
		var err error
		c.in, err = c.e.place(c.id)
		errs = append(errs, err)
	}
	if c.in != nil {
		errs = append(errs, c.in.Remove())
	}
	errs = append(errs, c.e.removeRecord(v.Record))
	if err := errors.Join(errs...); err != nil {
		err = fmt.Errorf("remove container %s: %w", c.id, err)
		return errors.Join(err, c.change(evStay, func(m *Memory) { m.Error = err.Error() }))
	}
	c.e.unregister(c)
	c.publish("destroy")
	c.ended(true)
	close(c.gone)
	if volumes {
		return c.e.removeVolumesOf(v.Record)
	}
	return nil
}

// removeVolumesOf removes the volumes that nobody gave a name.
func (e *Engine) removeVolumesOf(r *Record) error {
	var errs []error
	for _, m := range r.Mounts {
		if m.Type == mount.TypeVolume && m.Anonymous && len(e.UsersOfVolume(m.Name)) == 0 {
			errs = append(errs, e.removeVolume(m.Name))
		}
	}
	return errors.Join(errs...)
}

// Rename gives the container another name.
func (c *Container) Rename(name string) error {
	name = trimSlash(name)
	if !validName(name) {
		return Errorf(Invalid, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	return c.do(func() error {
		old := c.View().Record
		if old.Name == name {
			return Errorf(Invalid, "Renaming a container with the same name as its current name")
		}
		if err := c.e.register(c, name); err != nil {
			return err
		}
		r := *old
		r.Name = name
		if err := c.setRecord(&r); err != nil {
			c.e.forgetName(name)
			return err
		}
		c.e.forgetName(old.Name)
		c.e.nets.rename(c)
		c.publish("rename", "oldName", "/"+old.Name)
		return nil
	})
}

func (e *Engine) forgetName(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.names, name)
}

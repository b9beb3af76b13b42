package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"tare.dev/tare/bench/measure"
)

func arch() string { return runtime.GOARCH }

type bench struct {
	o      options
	dir    string
	parent string // control group
}

// counts is with how many containers memory is looked at.
var counts = []int{0, 1, 10, 50}

func (b *bench) all(ctx context.Context) (*report, error) {
	image, err := archive()
	if err != nil {
		return nil, err
	}
	r := newReport(b.o)
	disk, memory := filepath.Join(b.dir, "disk"), "/run/bench"
	if err := os.MkdirAll(memory, 0o755); err != nil {
		return nil, err
	}
	for _, e := range b.engines(disk, memory) {
		b.o.say("%s", e.name)
		x := &result{Name: e.name, Version: e.version, Installed: e.installed()}
		if err := b.one(ctx, e, disk, image, x); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		r.Engines = append(r.Engines, x)
	}
	return r, nil
}

// one measures an engine on a disk of its own.
func (b *bench) one(ctx context.Context, e engine, dir string, image []byte, r *result) (err error) {
	d, err := measure.NewDisk(filepath.Join(b.dir, "disk.img"), dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Remove()) }()
	s, err := b.begin(ctx, e, d)
	if s != nil {
		defer func() { err = errors.Join(err, s.end(ctx)) }()
	}
	if err != nil {
		return err
	}
	if err := s.do(ctx, "POST", "/images/load", bytes.NewReader(image), nil); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *session, *result) error{
		b.starts, b.runs, b.execs, b.memory, b.idle, b.output,
	} {
		if err := step(ctx, s, r); err != nil {
			return fmt.Errorf("%w; the daemon says: %s", err, s.tail())
		}
	}
	return nil
}

// timed measures requests, after a first one that warms up.
func (b *bench) timed(ctx context.Context, s *session, request func() error, after func() error) (cost, error) {
	var walls, cpus []time.Duration
	for n := range b.o.n + 1 {
		before, err := s.group.CPU()
		if err != nil {
			return cost{}, err
		}
		began := time.Now()
		if err := request(); err != nil {
			return cost{}, err
		}
		wall := time.Since(began)
		measure.Pause(ctx, 150*time.Millisecond) // what it does after the answer is part of it
		now, err := s.group.CPU()
		if err != nil {
			return cost{}, err
		}
		if n > 0 {
			walls, cpus = append(walls, wall), append(cpus, now-before)
		}
		if err := after(); err != nil {
			return cost{}, err
		}
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	return cost{Wall: walls[len(walls)/2], CPU: cpus[len(cpus)/2]}, nil
}

// starts measures the start of a created container, and what starts and stops write.
func (b *bench) starts(ctx context.Context, s *session, r *result) (err error) {
	var id string
	next := func() (err error) {
		if id != "" {
			if err := s.remove(ctx, id); err != nil {
				return err
			}
		}
		id, err = s.create(ctx, false, "sleep", "1000000")
		return err
	}
	if err := next(); err != nil {
		return err
	}
	if r.Start, err = b.timed(ctx, s, func() error { return s.start(ctx, id) }, next); err != nil {
		return err
	}
	r.StartWrites, err = s.writes(func() error {
		for range 20 {
			if err := s.start(ctx, id); err != nil {
				return err
			}
			if err := s.do(ctx, "POST", "/containers/"+id+"/kill", nil, nil); err != nil {
				return err
			}
			if err := s.wait(ctx, id, "not-running"); err != nil {
				return err
			}
		}
		return nil
	})
	r.StartWrites /= 20
	return errors.Join(err, s.remove(ctx, id))
}

// writes is the bytes that reach the disk.
func (s *session) writes(do func() error) (int64, error) {
	if err := s.disk.Sync(); err != nil {
		return 0, err
	}
	before, err := s.disk.Traffic()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	if err := s.disk.Sync(); err != nil {
		return 0, err
	}
	after, err := s.disk.Traffic()
	return after.Minus(before).Written, err
}

// runs measures create, start, end and removal of a container.
func (b *bench) runs(ctx context.Context, s *session, r *result) (err error) {
	r.Run, err = b.timed(ctx, s, func() error {
		id, err := s.create(ctx, true, "true")
		if err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() { done <- s.wait(ctx, id, "removed") }()
		if err := s.start(ctx, id); err != nil {
			return err
		}
		return <-done
	}, func() error { return nil })
	return err
}

func (b *bench) execs(ctx context.Context, s *session, r *result) error {
	id, err := s.create(ctx, false, "sleep", "1000000")
	if err == nil {
		err = s.start(ctx, id)
	}
	if err != nil {
		return err
	}
	r.Exec, err = b.timed(ctx, s, func() error { return s.exec(ctx, id, "true") }, func() error { return nil })
	return errors.Join(err, s.remove(ctx, id))
}

// memory looks at the engine with ever more containers, and leaves five for idle.
func (b *bench) memory(ctx context.Context, s *session, r *result) error {
	var ids []string
	for _, count := range counts {
		for len(ids) < count {
			id, err := s.create(ctx, false, "sleep", "1000000")
			if err == nil {
				err = s.start(ctx, id)
			}
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		measure.Pause(ctx, 2*time.Second)
		sum, err := s.pss()
		if err != nil {
			return err
		}
		r.Memory = append(r.Memory, sum)
	}
	for _, id := range ids[5:] {
		if err := s.remove(ctx, id); err != nil {
			return err
		}
	}
	measure.Pause(ctx, 2*time.Second)
	var err error
	r.Five, err = s.pss()
	return err
}

func (b *bench) idle(ctx context.Context, s *session, r *result) error {
	before, err := s.group.CPU()
	if err != nil {
		return err
	}
	if r.IdleWrites, err = s.writes(func() error { measure.Pause(ctx, b.o.idle); return ctx.Err() }); err != nil {
		return err
	}
	after, err := s.group.CPU()
	r.IdleCPU = (after - before).Seconds() / b.o.idle.Seconds()
	return err
}

// output has a container print 10 MiB.
func (b *bench) output(ctx context.Context, s *session, r *result) error {
	id, err := s.create(ctx, false, "sh", "-c", "yes 0123456789abcdef0123456789abcdef | head -c 10485760")
	if err != nil {
		return err
	}
	before, err := s.group.CPU()
	if err != nil {
		return err
	}
	r.OutputWrites, err = s.writes(func() error {
		if err := s.start(ctx, id); err != nil {
			return err
		}
		return s.wait(ctx, id, "not-running")
	})
	if err != nil {
		return err
	}
	after, err := s.group.CPU()
	r.OutputCPU = after - before
	return errors.Join(err, s.remove(ctx, id))
}

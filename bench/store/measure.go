package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/bench/measure"
)

// bench is one run.
type bench struct {
	o       options
	dir     string
	parent  string
	images  []*image
	server  *server
	tracer  *tracer
	place   place
	current *measure.Disk
}

// figures are what one pull cost. Bytes, unless they say otherwise.
type figures struct {
	Wall     time.Duration `json:"wallNanoseconds"`
	CPU      time.Duration `json:"cpuNanoseconds"`
	Memory   int64         `json:"memory"`
	Written  int64         `json:"written"`
	Writes   int64         `json:"writeRequests"`
	Flushes  int64         `json:"flushes"`
	Barriers int           `json:"barriers"`        // -1: not counted
	Used     int64         `json:"used"`            // of the file system, after this pull and all before
	Trees    int64         `json:"trees,omitempty"` // of these, Tare's metadata: names, modes, times
	First    *start        `json:"firstExec,omitempty"`
}

// start is what a first container of an image cost.
type start struct {
	Wall    time.Duration `json:"wallNanoseconds"`
	CPU     time.Duration `json:"cpuNanoseconds"`
	Written int64         `json:"written"`
}

// result is one engine's.
type result struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Rounds  []figures `json:"rounds"` // of the first pull
	Pulls   []figures `json:"pulls"`  // of each image, in the last round
	Read    *reading  `json:"secondRead,omitempty"`
}

// measure does all rounds; the engines take turns.
func (b *bench) measure(ctx context.Context) (*report, error) {
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	engines, err := b.o.engines(b.place)
	if err != nil {
		return nil, err
	}
	r := newReport(b)
	for _, e := range engines {
		r.Engines = append(r.Engines, &result{Name: e.name, Version: e.version})
	}
	for round := range b.o.n {
		for i, e := range engines {
			b.o.say("round %d: %s", round+1, e.name)
			count := 1
			if round == b.o.n-1 {
				count = len(b.images)
			}
			if err := b.round(ctx, e, r.Engines[i], count); err != nil {
				return nil, fmt.Errorf("%s: %w", e.name, err)
			}
		}
	}
	if b.o.sizes {
		if r.Sizes, err = b.measureSizes(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (b *bench) prepare(ctx context.Context) error {
	b.parent = "/" + filepath.Base(b.dir)
	layout := filepath.Join(b.dir, "layout")
	if err := os.MkdirAll(filepath.Join(layout, "blobs/sha256"), 0o755); err != nil {
		return err
	}
	var err error
	if b.images, err = makeImages(ctx, b.o, b.dir, layout); err != nil {
		return err
	}
	if b.server, err = startRegistry(ctx, b.dir); err != nil {
		return err
	}
	b.o.say("push to %s", b.server.host)
	if err := b.server.push(layout, b.images); err != nil {
		return err
	}
	if b.tracer, err = newTracer(b.dir); err != nil {
		return err
	}
	b.place = place{disk: filepath.Join(b.dir, "disk"), memory: "/run/bench", host: b.server.host, parent: b.parent}
	return os.MkdirAll(b.place.memory, 0o755)
}

// cleanup removes what the end of the namespaces does not.
func (b *bench) cleanup() error {
	var errs []error
	if b.current != nil {
		errs = append(errs, b.current.Remove())
	}
	if b.tracer != nil {
		errs = append(errs, b.tracer.remove())
	}
	if b.server != nil {
		b.server.stop()
	}
	if b.parent == "" {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, measure.EndAll(b.parent))...)
}

// round pulls count images into an empty disk.
func (b *bench) round(ctx context.Context, e engine, r *result, count int) error {
	file := filepath.Join(b.dir, "disk.img")
	if b.o.disk != "" {
		file = filepath.Join(b.o.disk, filepath.Base(b.dir)+".img")
	}
	d, err := measure.NewDisk(file, b.place.disk)
	if d != nil {
		b.current = d
	}
	if err != nil {
		return err
	}
	empty, err := d.Used()
	if err != nil {
		return err
	}
	for n, i := range b.images[:count] {
		b.o.say("  pull %s", i.name)
		f, err := b.pull(ctx, e, d, i, n < 2)
		if err != nil {
			return err
		}
		f.Used -= empty
		if n == 0 {
			r.Rounds = append(r.Rounds, f)
		}
		if count > 1 {
			r.Pulls = append(r.Pulls, f)
		}
		if n == 1 {
			b.o.say("  second read")
			if r.Read, err = b.read(ctx, e, d); err != nil {
				return err
			}
		}
	}
	b.current = nil
	return d.Remove()
}

// pull measures one. The daemon is started before and stopped after, so that what it writes late is
// counted too, and the first container starts with cold caches.
func (b *bench) pull(ctx context.Context, e engine, d *measure.Disk, i *image, first bool) (f figures, err error) {
	s, err := e.begin(ctx, b.place)
	if err != nil {
		return f, err
	}
	if err := b.fetch(s, d, i, &f); err != nil {
		return f, errors.Join(err, s.end(ctx))
	}
	before, err := d.Traffic()
	if err != nil {
		return f, err
	}
	if err := b.restart(ctx, s, d); err != nil {
		return f, err
	}
	after, err := d.Traffic()
	if err != nil {
		return f, err
	}
	f.Written += after.Written - before.Written
	if f.Used, err = d.Used(); err != nil {
		return f, err
	}
	f.Trees = treeBytes(d.Dir)
	if first {
		f.First, err = b.firstExec(ctx, e, d, i)
	}
	return f, err
}

// treeBytes is the size of all trees in a store of Tare's on the disk.
func treeBytes(dir string) (sum int64) {
	trees, _ := filepath.Glob(filepath.Join(dir, "*", "store", "images", "*", "tree-*")) // the pattern is right
	for _, path := range trees {
		if st, err := os.Stat(path); err == nil {
			sum += st.Size()
		}
	}
	return sum
}

// restart ends the session and mounts the disk anew, which empties its part of the page cache.
func (b *bench) restart(ctx context.Context, s *session, d *measure.Disk) error {
	if err := s.end(ctx); err != nil {
		return err
	}
	if err := detach(b.place, d); err != nil {
		return err
	}
	return d.Mount()
}

// fetch is the pull itself.
func (b *bench) fetch(s *session, d *measure.Disk, i *image, f *figures) error {
	if err := d.Sync(); err != nil {
		return err
	}
	if b.tracer != nil {
		if err := b.tracer.clear(); err != nil {
			return err
		}
	}
	before, err := d.Traffic()
	if err != nil {
		return err
	}
	cpu, err := s.group.CPU()
	if err != nil {
		return err
	}
	cmd := s.command(s.engine.pull(b.server.ref(i)))
	high := s.group.Watch()
	began := time.Now()
	out, err := cmd.CombinedOutput()
	f.Wall = time.Since(began)
	m := high()
	if err != nil {
		return fmt.Errorf("pull: %w: %s", err, out)
	}
	f.Memory = max(m.Sum, m.High)
	now, err := s.group.CPU()
	if err != nil {
		return err
	}
	f.CPU = now - cpu
	if err := b.barriers(s, d, f); err != nil {
		return err
	}
	ended, err := d.Traffic()
	if err != nil {
		return err
	}
	f.Flushes = ended.Minus(before).Flushs
	if err := d.Sync(); err != nil {
		return err
	}
	synced, err := d.Traffic()
	f.Written, f.Writes = synced.Minus(before).Written, synced.Minus(before).Writes
	return err
}

func (b *bench) barriers(s *session, d *measure.Disk, f *figures) (err error) {
	f.Barriers = -1
	if b.tracer != nil {
		f.Barriers, err = b.tracer.count(d.Dev, s.processes)
	}
	return err
}

// firstExec runs `true` in the image's first container.
func (b *bench) firstExec(ctx context.Context, e engine, d *measure.Disk, i *image) (*start, error) {
	s, err := e.begin(ctx, b.place)
	if err != nil {
		return nil, err
	}
	if err := d.Sync(); err != nil {
		return nil, err
	}
	before, err := d.Traffic()
	if err != nil {
		return nil, err
	}
	cpu, err := s.group.CPU()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := s.do(s.run(b.server.ref(i), "first", "true")); err != nil {
		return nil, errors.Join(err, s.end(ctx))
	}
	x := &start{Wall: time.Since(began)}
	now, err := s.group.CPU()
	if err != nil {
		return nil, err
	}
	x.CPU = now - cpu
	if err := d.Sync(); err != nil {
		return nil, err
	}
	after, err := d.Traffic()
	if err != nil {
		return nil, err
	}
	x.Written = after.Minus(before).Written
	return x, b.restart(ctx, s, d)
}

// detach unmounts what the engine left mounted on top of the disk, then the disk.
func detach(p place, d *measure.Disk) error {
	for _, at := range mountsBelow(p.memory, d.Dir+"/") {
		_ = unix.Unmount(at, 0) // what is still in use shows when the disk is unmounted
	}
	return d.Unmount()
}

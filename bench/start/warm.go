package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"tare.dev/tare/internal/container"
)

// warmContainers is how many containers run at once while their price in the
// starting process is weighed.
const warmContainers = 20

// measureWarm uses the runtime as an engine would: in this process, which has
// run for a while.
func (b *bench) measureWarm() (*warmRow, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	w := &warm{
		bench: b, store: container.Store{Root: filepath.Join(b.dir, "root-warm")},
		stdio: [3]*os.File{null, null, null},
	}
	defer w.remove()
	r := new(warmRow)
	if err := w.start(r); err != nil {
		return nil, fmt.Errorf("from a warm process: %w", err)
	}
	if err := w.exec(r); err != nil {
		return nil, fmt.Errorf("from a warm process: %w", err)
	}
	return r, nil
}

type warm struct {
	*bench
	store      container.Store
	stdio      [3]*os.File
	containers []*container.Container
}

// start starts the containers and fills in what that left in the heap.
func (w *warm) start(r *warmRow) error {
	// One first, for what is made once.
	if err := w.startOne(0); err != nil {
		return err
	}
	before := heap()
	for i := range warmContainers {
		if err := w.startOne(i + 1); err != nil {
			return err
		}
	}
	after := heap()
	r.StartBytes = (after.TotalAlloc - before.TotalAlloc) / warmContainers
	r.KeptPerRunning = (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / warmContainers
	return nil
}

func (w *warm) startOne(i int) error {
	c, err := w.target(&subject{name: "warm"}, fmt.Sprint(i), false, "/bin/payload", "pause")
	if err != nil {
		return err
	}
	x, err := w.store.Create(c.id, container.CreateOptions{Bundle: c.bundle, Stdio: w.stdio})
	if err != nil {
		return err
	}
	w.containers = append(w.containers, x)
	return x.Start()
}

// exec measures from the request to the executed program: Exec returns when
// the child has executed it.
func (w *warm) exec(r *warmRow) error {
	c := w.containers[0]
	spec, err := c.Spec()
	if err != nil {
		return err
	}
	process := *spec.Process
	process.Args = []string{"/bin/payload"}
	var list []time.Duration
	before := heap()
	for range warmups + w.o.n {
		time.Sleep(w.o.gap)
		begin := time.Now()
		p, err := c.Exec(container.ExecOptions{Process: &process, Stdio: w.stdio})
		if err != nil {
			return err
		}
		list = append(list, time.Since(begin))
		status, err := p.Wait()
		if err != nil {
			return err
		}
		if status != 0 {
			return fmt.Errorf("exec: exit status %d, want 0", status)
		}
	}
	after := heap()
	r.ExecBytes = (after.TotalAlloc - before.TotalAlloc) / uint64(len(list))
	r.Exec = summarize(list[warmups:])
	return nil
}

func (w *warm) remove() {
	for _, c := range w.containers {
		if err := c.Delete(true); err != nil {
			fmt.Fprintln(os.Stderr, "start: clean up:", err)
		}
	}
	sweep()
}

// heap collects garbage and returns the heap's figures.
func heap() runtime.MemStats {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m
}

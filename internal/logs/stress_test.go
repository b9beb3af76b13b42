package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyContainersAtOnce has everything happen at once, and nothing left behind: no
// goroutine, no descriptor.
func TestManyContainersAtOnce(t *testing.T) {
	files, routines := openFiles(t), runtime.NumGoroutine()
	c, err := NewCollector()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 40 {
		dir := t.TempDir()
		wg.Go(func() {
			if err := liveThrough(c, dir, uint64(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			c.tidy()
			time.Sleep(time.Millisecond)
		}
	})
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	runtime.GC()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > routines && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n, f := runtime.NumGoroutine(), openFiles(t); n > routines || f > files {
		t.Errorf("%d goroutines were %d, %d descriptors were %d", n, routines, f, files)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	runtime.GC()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// liveThrough is a container's life of three runs, with clients of all kinds.
func liveThrough(c *Collector, dir string, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 0))
	l, err := c.Open(Options{Budget: MinBudget})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var clients sync.WaitGroup
	for range 3 {
		whole := l.Attach(AttachOptions{Hold: time.Minute, Stdout: true})
		lazy := l.Attach(AttachOptions{})
		e, err := Pipe(dir)
		if err != nil {
			return err
		}
		if err := l.Start(e.Sources); err != nil {
			return err
		}
		clients.Go(func() {
			for range l.Read(ctx, ReadOptions{Tail: 10, Follow: true}) {
				runtime.Gosched()
			}
		})
		clients.Go(func() {
			for range 5 {
				_ = l.Trim(20 << 10)
				l.Stats()
				time.Sleep(time.Millisecond)
			}
		})
		size := rnd.IntN(300 << 10)
		text := strings.Repeat(fmt.Sprintf("%x and more\n", rnd.Uint64()), size/20+1)
		var got strings.Builder
		var failed error
		clients.Go(func() {
			for {
				ch, err := whole.Next(ctx)
				if err == io.EOF {
					return
				}
				if failed = err; err != nil {
					return
				}
				got.Write(ch.Data)
			}
		})
		io.WriteString(e.Out, text)
		io.WriteString(e.Err, "done")
		e.Out.Close()
		e.Err.Close()
		if err := l.Drain(ctx); err != nil {
			return err
		}
		clients.Wait()
		lazy.Close()
		whole.Close()
		lost := (*LostError)(nil)
		if !errors.As(failed, &lost) && got.String() != text { // Trim may take what is held
			return fmt.Errorf("attachment got %d bytes of %d, %w", got.Len(), len(text), failed)
		}
	}
	return l.Close()
}

package instance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestNewOutlivesASweep: a command that sweeps up takes a directory without a lock for one that was left.
func TestNewOutlivesASweep(t *testing.T) {
	run := t.TempDir()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			all, _ := filepath.Glob(filepath.Join(run, "containers", "*"))
			for _, dir := range all {
				if l, err := Lock(dir); err == nil {
					_ = Clear(dir)
					l.Close()
				}
			}
		}
	}()
	for n := range 500 {
		in, err := New(run, fmt.Sprint(n), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(in.Dir); err != nil {
			t.Fatal("has its lock, and no directory: ", err)
		}
		if n%100 == 0 {
			if _, err := New(run, fmt.Sprint(n), nil); !errors.Is(err, ErrExist) {
				t.Errorf("a second of the same name: %v", err)
			}
		}
		if err := in.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
}

package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// waitSpilled waits until nothing is being written.
func (c *container) waitSpilled(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		busy := c.spill.busy
		c.mu.Unlock()
		if !busy {
			return
		}
		if time.Now().After(end) {
			t.Fatal("spill takes too long")
		}
	}
}

func dirSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		i, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += i.Size()
	}
	return n
}

func TestSpilledLinesAreThereAfterABoot(t *testing.T) {
	spill := Spill{Dir: filepath.Join(t.TempDir(), "spill")}
	var want strings.Builder
	for boot := range 3 {
		c := newContainer(t, Options{Spill: spill}).start(t)
		for i := range 500 {
			line := fmt.Sprintf("boot %d line %d\n", boot, i)
			want.WriteString("1:" + line)
			c.print(t, c.out, line)
		}
		if got := dirSize(t, spill.Dir); boot == 0 && got != 0 {
			t.Errorf("%d bytes are written before there is a batch", got)
		}
		c.print(t, c.err, "dying") // has no newline
		want.WriteString("2:dying\n")
		c.drain(t)
		c.waitSpilled(t)
		if got := c.lines(t, all); got != want.String() {
			t.Fatalf("boot %d: Read = %d bytes, want %d", boot, len(got), want.Len())
		}
		if got := c.lines(t, ReadOptions{Tail: 2}); got != fmt.Sprintf("1:boot %d line 499\n2:dying\n", boot) {
			t.Errorf("boot %d: Tail = %q", boot, got)
		}
		if s := c.Stats(); s.Spilled == 0 || s.Failed != nil {
			t.Errorf("Stats = %+v", s)
		}
		c.c.Close()
	}
}

func TestSpillKeepsToItsBudget(t *testing.T) {
	spill := Spill{Dir: t.TempDir(), PerDay: 300 << 10}
	c := newContainer(t, Options{Spill: spill}).start(t)
	for range 8 {
		c.out.Write(noise(100 << 10))
		c.waitSpilled(t)
	}
	c.drain(t)
	c.waitSpilled(t)
	if n := dirSize(t, spill.Dir); n > spill.PerDay || n < spill.PerDay/2 {
		t.Errorf("%d bytes in a day, want %d at most", n, spill.PerDay)
	}
	c.c.Close()
	next := newContainer(t, Options{Spill: spill}).start(t)
	next.spill.PerDay = 1 << 30 // for the next days, whatever the clock says
	for range 20 {
		next.out.Write(noise(100 << 10))
		next.waitSpilled(t)
	}
	next.drain(t)
	next.waitSpilled(t)
	if n := dirSize(t, spill.Dir); n > 600<<10 {
		t.Errorf("%d bytes are kept, want %d at most", n, 600<<10)
	}
}

func TestSpillFailsAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := newContainer(t, Options{Spill: Spill{Dir: filepath.Join(t.TempDir(), "dir")}}).start(t)
	c.spill.Dir = file
	c.print(t, c.out, "line\n")
	c.drain(t)
	c.waitSpilled(t)
	if c.Stats().Failed == nil {
		t.Error("a file as directory: no error")
	}
	if got := c.lines(t, all); got != "1:line\n" {
		t.Errorf("Read = %q", got)
	}
	if _, err := c.c.Open(Options{Spill: Spill{Dir: file}}); err == nil {
		t.Error("Open with a file as directory: no error")
	}
}

func TestTornSpillLosesItsBlockOnly(t *testing.T) {
	spill := Spill{Dir: t.TempDir()}
	c := newContainer(t, Options{Spill: spill})
	for i := range 3 {
		c.start(t)
		c.print(t, c.out, fmt.Sprintf("run %d\n", i))
		c.drain(t)
		c.waitSpilled(t)
	}
	c.c.Close()
	path := filepath.Join(spill.Dir, newFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	one := len(whole) / 3
	for _, k := range []struct {
		file []byte
		want string
	}{
		{whole, "1:run 0\n1:run 1\n1:run 2\n"},
		{whole[:len(whole)-3], "1:run 0\n1:run 1\n"},
		{append(bytes.Repeat([]byte{0}, 4096), whole...), "1:run 0\n1:run 1\n1:run 2\n"},
		{append(bytes.Clone(whole[:one]), whole[one+8:]...), "1:run 0\n1:run 2\n"},
		{append(bytes.Clone(whole), whole[2*one:]...), "1:run 0\n1:run 1\n1:run 2\n"},
	} {
		if err := os.WriteFile(path, k.file, 0o600); err != nil {
			t.Fatal(err)
		}
		c := newContainer(t, Options{Spill: spill})
		if got := c.lines(t, all); got != k.want {
			t.Errorf("Read = %q, want %q", got, k.want)
		}
	}
}

// FuzzRestore reads a foreign spill.
func FuzzRestore(f *testing.F) {
	var p packer
	r := filled(&p, memory(MinBudget))
	data, _ := r.unspilled(1 << 20)
	f.Add(data, uint16(0), uint64(0))
	f.Add(data, uint16(24), uint64(1<<63))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, value uint64) {
		r := makeRing(memory(MinBudget))
		all := parseSpilled(data)
		if len(all) > 0 { // one with a checksum that is right
			b := &all[int(at)%len(all)]
			switch at >> 8 % 8 {
			case 0:
				b.base = value
			case 1:
				b.open[0] = value
			case 2:
				b.table = uint32(value) % (slots * maxRead)
			case 3:
				b.lines[1] = uint32(value)
			case 4:
				b.last = int64(value)
			}
		}
		r.restore(all)
		next, err := openRing(r.mem)
		if err != nil {
			t.Fatal(err)
		}
		got, lost, err := readAll(next)
		if err != nil || uint64(len(got))+uint64(lost) != next.total()-next.oldest() {
			t.Fatalf("%d bytes, %d lost, %v", len(got), lost, err)
		}
		l := &Log{ring: next, c: &Collector{closed: true}}
		for _, n := range []int{1, 100, -1} {
			l.find(ReadOptions{Tail: n})
		}
	})
}

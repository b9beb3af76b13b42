package logs

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the engine that is killed: with TARE_TEST_ENGINE set it takes over as many
// files from descriptor 3 on, says so, and reads until it dies. With TARE_TEST_PRINT it is a
// container that prints.
func TestMain(m *testing.M) {
	if at, err := strconv.Atoi(os.Getenv("TARE_TEST_PRINT")); err == nil {
		printLines(os.Stdout, at)
		return
	}
	n, err := strconv.Atoi(os.Getenv("TARE_TEST_ENGINE"))
	if err != nil {
		os.Exit(m.Run())
	}
	var files []*os.File
	for i := range n {
		files = append(files, os.NewFile(uintptr(3+i), "kept"))
	}
	c, err := NewCollector()
	if err == nil {
		var l *Log
		if l, err = c.Open(Options{Files: files}); err == nil {
			err = l.Damage()
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// keeperFiles are duplicates as the keeper would have.
func keeperFiles(t *testing.T, files []*os.File) []*os.File {
	t.Helper()
	var kept []*os.File
	for _, f := range files {
		err := withFd(f, func(fd int) error {
			n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			kept = append(kept, os.NewFile(uintptr(n), f.Name()))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return kept
}

// killEngines lets engines take the log over and kills each.
func killEngines(t *testing.T, kept []*os.File, times int) {
	t.Helper()
	for i := range times {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "TARE_TEST_ENGINE="+strconv.Itoa(len(kept)), "GOMAXPROCS=1")
		cmd.ExtraFiles = kept
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if i%8 > 0 { // each eighth dies while it starts
			line, err := bufio.NewReader(out).ReadString('\n')
			if line != "ready\n" {
				cmd.Process.Kill()
				t.Fatalf("engine %d: %q %v", i, line, err)
			}
		}
		time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// chatter writes numbered lines of odd lengths until it is told to stop, and returns how many.
func chatter(w io.Writer, stop chan struct{}) int {
	b := bufio.NewWriterSize(w, 700)
	for i := 0; ; i++ {
		select {
		case <-stop:
			b.Flush()
			return i
		default:
		}
		fmt.Fprintf(b, "%d %.*s\n", i, i%97, "the quick brown fox jumps over the lazy dog and the lazy dog does not care at all, being lazy.....")
		if i%31 == 0 {
			b.Flush()
		}
	}
}

// numbered checks that a stream's lines are a row, and returns the first and the last.
type numbered struct{ first, last int }

func (n *numbered) line(t *testing.T, e Entry) {
	t.Helper()
	number, rest, _ := bytes.Cut(e.Line, []byte(" "))
	i, err := strconv.Atoi(string(number))
	want := fmt.Sprintf("%.*s", i%97, "the quick brown fox jumps over the lazy dog and the lazy dog does not care at all, being lazy.....")
	if n.last < 0 && err == nil {
		n.first, n.last = i, i
		return
	}
	if err != nil || i != n.last+1 || string(bytes.TrimRight(rest, "\r\n")) != want {
		t.Fatalf("after line %d of stream %d comes %q", n.last, e.Stream, e.Line)
	}
	n.last = i
}

func TestKilledEnginesLoseNothing(t *testing.T) {
	for _, k := range []struct {
		name   string
		budget int64
		kills  int
		tty    bool
	}{
		{"pipes", 512 << 20, 200, false},
		{"pipes in a small ring", MinBudget, 100, false},
		{"terminal", 512 << 20, 60, true},
	} {
		t.Run(k.name, func(t *testing.T) {
			if testing.Short() {
				k.kills /= 10
			}
			testKilled(t, k.budget, k.kills, k.tty)
		})
	}
}

func testKilled(t *testing.T, budget int64, kills int, tty bool) {
	c := newContainer(t, Options{Budget: budget})
	ends := []*os.File{nil, nil}
	if tty {
		master, slave := openTerminal(t)
		if err := c.StartTerminal(master); err != nil {
			t.Fatal(err)
		}
		ends = []*os.File{slave}
	} else {
		c.start(t)
		ends[0], ends[1] = c.out, c.err
	}
	kept := keeperFiles(t, c.Files())
	if err := c.c.Close(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wrote := make([]int, len(ends))
	for i, w := range ends {
		wg.Go(func() { wrote[i] = chatter(w, stop) })
	}
	killEngines(t, kept, kills)
	close(stop)
	next := newContainer(t, Options{Files: kept})
	if err := next.Damage(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for _, w := range ends {
		w.Close()
	}
	next.drain(t)
	rows := [3]numbered{{last: -1}, {last: -1}, {last: -1}}
	skip := [3]bool{1: next.Stats().Dropped > 0, 2: next.Stats().Dropped > 0}
	for e, err := range next.Read(deadline(t), all) {
		if err != nil {
			t.Fatal(err)
		}
		if skip[e.Stream] {
			skip[e.Stream] = false // cut by what was dropped
			continue
		}
		rows[e.Stream].line(t, e)
	}
	for i, n := range wrote {
		if rows[i+1].last != n-1 || next.Stats().Dropped == 0 && rows[i+1].first != 0 {
			t.Errorf("stream %d: lines %+v of %d", i+1, rows[i+1], n)
		}
	}
	t.Logf("%+v lines of %d, %+v", rows[1:], wrote, next.Stats())
}

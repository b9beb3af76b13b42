package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// container is the other end of a log: what a container would have.
type container struct {
	*Log
	c        *Collector
	out, err *os.File
}

func newContainer(t testing.TB, o Options) *container {
	t.Helper()
	c, err := NewCollector()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	l, err := c.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return &container{Log: l, c: c}
}

// start begins a run.
func (c *container) start(t testing.TB) *container {
	t.Helper()
	e, err := Pipe(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Out.Close(); e.Err.Close() })
	c.out, c.err = e.Out, e.Err
	if err := c.Start(e.Sources); err != nil {
		t.Fatal(err)
	}
	return c
}

// print writes to the pipe and waits until the log has read all of it.
func (c *container) print(t testing.TB, f *os.File, text string) {
	t.Helper()
	want := c.Stats().Total + int64(len(text))
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
	c.waitTotal(t, want)
}

func (c *container) waitTotal(t testing.TB, want int64) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); c.Stats().Total < want; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("log has read %d bytes, want %d", c.Stats().Total, want)
		}
	}
}

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (c *container) drain(t testing.TB) {
	t.Helper()
	if err := c.Drain(deadline(t)); err != nil {
		t.Fatal(err)
	}
}

// lines reads and shows entries as stream:line, partial lines with a +.
func (c *container) lines(t testing.TB, o ReadOptions) string {
	t.Helper()
	var b strings.Builder
	for e, err := range c.Read(deadline(t), o) {
		if err != nil {
			t.Fatal(err)
		}
		show(&b, e)
	}
	return b.String()
}

func show(b *strings.Builder, e Entry) {
	switch {
	case e.Lost > 0:
		fmt.Fprintf(b, "lost %d\n", e.Lost)
	case e.Partial:
		fmt.Fprintf(b, "%d+%s\n", e.Stream, e.Line)
	default:
		fmt.Fprintf(b, "%d:%s", e.Stream, e.Line)
	}
}

var all = ReadOptions{Tail: -1}

func TestReadReturnsLinesInOrder(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	c.print(t, c.out, "one\ntwo\n\nthr")
	c.print(t, c.err, "oops\n")
	c.print(t, c.out, "ee\nfour")
	want := "1:one\n1:two\n1:\n2:oops\n1:three\n1+four\n"
	if got := c.lines(t, all); got != want {
		t.Errorf("Read = %q, want %q", got, want)
	}
	if got := c.lines(t, ReadOptions{Tail: -1, Stderr: true}); got != "2:oops\n" {
		t.Errorf("Read of stderr = %q", got)
	}
	c.drain(t)
	want = strings.Replace(want, "1+", "1:", 1)
	if got := c.lines(t, all); got != want {
		t.Errorf("Read after Drain = %q, want %q", got, want)
	}
}

func TestBytesOfAllValuesComeThrough(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	var data strings.Builder
	for i := range 1000 {
		for v := range 256 {
			data.WriteByte(byte(v * (i + 1)))
		}
	}
	go func() { io.WriteString(c.out, data.String()) }()
	c.waitTotal(t, int64(data.Len()))
	var got strings.Builder
	for e, err := range c.Read(deadline(t), all) {
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Line) > MaxLine {
			t.Errorf("line of %d bytes", len(e.Line))
		}
		got.Write(e.Line)
	}
	if got.String() != data.String() {
		t.Errorf("%d bytes differ from the %d written", got.Len(), data.Len())
	}
}

func TestDrainTakesWhatWaits(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	text := strings.Repeat("the last words of a process\n", 2000)
	io.WriteString(c.out, text) // fits the pipe
	io.WriteString(c.err, "panic")
	c.drain(t) // with both pipes still open here
	got := c.lines(t, all)
	if n := strings.Count(got, "1:the last words"); n != 2000 || !strings.Contains(got, "2:panic\n") {
		t.Errorf("%d lines after Drain, want 2000, and panic: %q", n, got[len(got)-40:])
	}
}

func TestRunsFollowEachOther(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	c.print(t, c.out, "first\n")
	second, err := Pipe(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := c.Start(second.Sources); !errors.Is(err, ErrRunning) {
		t.Errorf("second Start = %v, want ErrRunning", err)
	}
	c.drain(t)
	c.start(t)
	c.print(t, c.out, "second\n")
	c.drain(t)
	if got := c.lines(t, all); got != "1:first\n1:second\n" {
		t.Errorf("Read = %q", got)
	}
}

func TestOldestLinesMakeRoom(t *testing.T) {
	c := newContainer(t, Options{Budget: MinBudget}).start(t)
	rnd := uint32(1)
	var want []string
	for i := range 3000 {
		rnd = rnd*1664525 + 1013904223
		line := fmt.Sprintf("%d %x %x\n", i, rnd, rnd*7)
		want = append(want, line)
		c.print(t, c.out, line)
	}
	s := c.Stats()
	if s.Memory > MinBudget || s.Dropped == 0 || s.Dropped+s.Held != s.Total {
		t.Errorf("Stats = %+v", s)
	}
	got := strings.Split(strings.TrimSuffix(strings.ReplaceAll(c.lines(t, all), "1:", ""), "\n"), "\n")
	tail := strings.Join(want[len(want)-len(got)+1:], "")
	if strings.Join(got[1:], "\n")+"\n" != tail {
		t.Errorf("%d lines are not the last that were written", len(got))
	}
	if len(got) < 500 {
		t.Errorf("only %d lines in %d bytes", len(got), MinBudget)
	}
}

// reopen is what the next engine does after a kill: it has the files only.
func (c *container) reopen(t testing.TB) *container {
	t.Helper()
	var files []*os.File
	for _, f := range c.Files() {
		err := withFd(f, func(fd int) error {
			n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			files = append(files, os.NewFile(uintptr(n), f.Name()))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.c.Close(); err != nil {
		t.Fatal(err)
	}
	next := newContainer(t, Options{Files: files})
	if err := next.Damage(); err != nil {
		t.Fatal(err)
	}
	next.out, next.err = c.out, c.err
	return next
}

func TestNextEngineGoesOn(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	text := strings.Repeat("before, before and before\n", 10000)
	c.print(t, c.out, text)
	c.print(t, c.err, "half a ")
	next := c.reopen(t)
	next.print(t, next.err, "line\n")
	next.print(t, next.out, "after\n")
	next = next.reopen(t)
	next.drain(t)
	got := next.lines(t, all)
	if !strings.HasSuffix(got, "1:before, before and before\n2:half a line\n1:after\n") || len(got) != len(text)+2*10000+len("2:half a line\n1:after\n") {
		t.Errorf("Read after two restarts ends with %q, %d bytes", got[max(0, len(got)-80):], len(got))
	}
}

func TestOutputWaitsForTheNextEngine(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	c.print(t, c.out, "1\n")
	files := c.Files()
	var kept []*os.File
	for _, f := range files {
		withFd(f, func(fd int) error {
			n, err := unix.Dup(fd)
			kept = append(kept, os.NewFile(uintptr(n), ""))
			return err
		})
	}
	c.c.Close()
	io.WriteString(c.out, "2\n") // nobody reads
	c.out.Close()                // and the container ends
	c.err.Close()
	next := newContainer(t, Options{Files: kept})
	next.waitTotal(t, 4)
	next.drain(t)
	if got := next.lines(t, all); got != "1:1\n1:2\n" {
		t.Errorf("Read = %q", got)
	}
}

func TestTerminal(t *testing.T) {
	c := newContainer(t, Options{})
	master, slave := openTerminal(t)
	if err := c.StartTerminal(master); err != nil {
		t.Fatal(err)
	}
	a := c.Attach(AttachOptions{History: true})
	io.WriteString(slave, "$ ")
	ch, err := a.Next(deadline(t))
	if err != nil || string(ch.Data) != "$ " || ch.Stream != 1 {
		t.Fatalf("Next = %q %v", ch.Data, err)
	}
	in, err := NewInput(master)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.Write([]byte("ls\n")); err != nil {
		t.Fatal(err)
	}
	ch, err = a.Next(deadline(t))
	if err != nil || string(ch.Data) != "ls\r\n" {
		t.Fatalf("Next = %q %v, want the echo", ch.Data, err)
	}
	next := c.reopen(t)
	io.WriteString(slave, strings.Repeat("0123456789abcde\n", 100)+"bye\n")
	slave.Close()
	next.drain(t)
	got := next.lines(t, ReadOptions{Tail: 3})
	if got != "1:0123456789abcde\r\n1:0123456789abcde\r\n1:bye\r\n" {
		t.Errorf("Read = %q", got)
	}
}

func TestTerminalThatNobodyHasOpenGoesOn(t *testing.T) {
	c := newContainer(t, Options{})
	master, slave := openTerminal(t)
	setLock(t, master, 1) // as it may still be when the log gets it
	if err := c.StartTerminal(master); err != nil {
		t.Fatal(err)
	}
	setLock(t, master, 0)
	total := int64(0)
	for i := range 5 {
		f, err := os.OpenFile(slave.Name(), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		slave.Close()
		slave = f
		if i%2 == 0 {
			// The leader of a session ends, which hangs its terminal up.
			cmd := exec.Command("/bin/sh", "-c", "echo from a session")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1}
			cmd.Stdin, cmd.Stdout = f, f
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			total += int64(len("from a session\r\n"))
		} else {
			io.WriteString(f, "a message\n")
			total += int64(len("a message\r\n"))
		}
		f.Close()
		c.waitTotal(t, total)
	}
	c.drain(t)
	want := "1:from a session\r\n1:a message\r\n1:from a session\r\n1:a message\r\n1:from a session\r\n"
	if got := c.lines(t, all); got != want {
		t.Errorf("Read = %q, want %q", got, want)
	}
}

func setLock(t testing.TB, master *os.File, to int) {
	t.Helper()
	if err := withFd(master, func(fd int) error { return unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, to) }); err != nil {
		t.Fatal(err)
	}
}

func openTerminal(t testing.TB) (master, slave *os.File) {
	t.Helper()
	m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no pseudoterminals here: %v", err)
	}
	master = os.NewFile(uintptr(m), "ptmx")
	n, err := unix.IoctlGetInt(m, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	setLock(t, master, 0)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

func TestInputIsHeldOverARestart(t *testing.T) {
	dir := t.TempDir()
	stdin, in, err := StdinPipe(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if _, err := in.Write([]byte("one ")); err != nil {
		t.Fatal(err)
	}
	var kept *os.File
	withFd(in.File(), func(fd int) error {
		n, err := unix.Dup(fd)
		kept = os.NewFile(uintptr(n), "")
		return err
	})
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := NewInput(kept)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.Write([]byte("two")); err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(stdin); string(got) != "one two" || err != nil {
		t.Errorf("container reads %q %v", got, err)
	}
}

func TestInputDoesNotWaitForEver(t *testing.T) {
	stdin, in, err := StdinPipe(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer in.Close()
	in.SetDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := in.Write(make([]byte, 1<<20)); n > 64<<10 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write to nobody = %d %v", n, err)
	}
	stdin.Close()
	in.SetDeadline(time.Time{})
	if _, err := in.Write([]byte{1}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Write after the container closed its input = %v, want EPIPE", err)
	}
}

package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestTailIsTheEndOfAll(t *testing.T) {
	c := newContainer(t, Options{Budget: MinBudget}).start(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 800 {
		f, line := c.out, make([]byte, rnd.IntN(200))
		if rnd.IntN(4) == 0 {
			f = c.err
		}
		for i := range line {
			line[i] = byte('a' + rnd.IntN(26))
		}
		text := string(line)
		if rnd.IntN(5) > 0 {
			text += "\n"
		}
		c.print(t, f, text)
	}
	for _, o := range []ReadOptions{{}, {Stdout: true}, {Stderr: true}} {
		o.Tail = -1
		whole := entries(c.lines(t, o))
		for n := 0; n < len(whole)+3; n += 1 + n/7 {
			o.Tail = n
			got := entries(c.lines(t, o))
			if want := whole[max(0, len(whole)-n):]; strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("Tail %d of %d, %+v: %d entries\n%q\nwant %d\n%q", n, len(whole), o, len(got), got, len(want), want)
			}
		}
	}
}

func entries(s string) []string {
	s = strings.TrimSuffix(s, "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func TestSinceAndUntil(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	var times []time.Time
	for i := range 5 {
		c.print(t, c.out, fmt.Sprintf("%d\n", i))
		if i == 2 {
			if err := c.Trim(1 << 20); err != nil { // into a block
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	for e, err := range c.Read(deadline(t), all) {
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, e.Time)
	}
	for i, from := range times {
		for j, to := range times[i:] {
			want := ""
			for k := i; k <= i+j; k++ {
				want += fmt.Sprintf("1:%d\n", k)
			}
			if got := c.lines(t, ReadOptions{Tail: -1, Since: from, Until: to}); got != want {
				t.Errorf("Read from %d to %d = %q, want %q", i, i+j, got, want)
			}
		}
	}
	if got := c.lines(t, ReadOptions{Tail: 3, Since: times[3]}); got != "1:3\n1:4\n" {
		t.Errorf("Tail 3 since 3 = %q", got)
	}
}

func TestFollowEndsWithTheRun(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	c.print(t, c.out, "old\n")
	got := make(chan string)
	for _, o := range []ReadOptions{{Tail: -1, Follow: true}, {Tail: 0, Follow: true}} {
		go func() { got <- c.lines(t, o) }()
	}
	for c.following() != 2 {
		time.Sleep(time.Millisecond)
	}
	c.print(t, c.out, "new\npart")
	c.print(t, c.out, "ial\nlast words")
	c.drain(t)
	c.start(t)
	c.print(t, c.out, "not this\n")
	texts := map[string]bool{<-got: true, <-got: true}
	for _, want := range []string{"1:old\n1:new\n1:partial\n1+last words\n", "1:new\n1:partial\n1+last words\n"} {
		if !texts[want] {
			t.Errorf("no follower read %q: %v", want, texts)
		}
	}
	c.drain(t)
	if got := c.lines(t, ReadOptions{Tail: 2, Follow: true}); got != "1:last words\n1:not this\n" {
		t.Errorf("Follow of what does not run = %q", got)
	}
}

func (c *container) following() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.readers)
}

func TestMoreIsWhatWasReadAtOnce(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	c.print(t, c.out, "1\n2\n3\nopen")
	c.print(t, c.out, "\n5\n")
	c.drain(t)
	want := []bool{true, true, false, true, false}
	for e, err := range c.Read(deadline(t), all) {
		if err != nil || len(want) == 0 || e.More != want[0] {
			t.Fatalf("%q: More %v, %v, want %v", e.Line, e.More, err, want)
		}
		want = want[1:]
	}
}

func TestFollowUntil(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	c.print(t, c.out, "x\n")
	if got := c.lines(t, ReadOptions{Tail: -1, Follow: true, Until: time.Now().Add(50 * time.Millisecond)}); got != "1:x\n" {
		t.Errorf("Read = %q", got)
	}
}

func TestCancelEndsFollow(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	var last error
	for _, err := range c.Read(ctx, ReadOptions{Follow: true}) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("last error %v", last)
	}
	if c.following() != 0 {
		t.Error("the reader is still there")
	}
}

func TestSlowFollowerIsToldWhatItLost(t *testing.T) {
	c := newContainer(t, Options{Budget: MinBudget}).start(t)
	c.print(t, c.out, "first\n")
	var got strings.Builder
	for e, err := range c.Read(deadline(t), ReadOptions{Tail: -1, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Line) == "first\n" {
			c.print(t, c.out, strings.Repeat(string(bytes.ReplaceAll(noise(15), newline, nil)), 1)+"\n")
			c.out.Write(bytes.ReplaceAll(noise(1<<18), newline, nil))
			c.print(t, c.out, "\nlast\n")
			c.drain(t)
		}
		if e.Lost > 0 || len(e.Line) < 20 && len(e.Line) != 16 {
			show(&got, e)
		}
	}
	var lost int64
	if n, err := fmt.Sscanf(got.String(), "1:first\nlost %d\n1:last\n", &lost); n != 1 || err != nil || lost < 1<<17 {
		t.Errorf("follower read %q", got.String())
	}
}

func TestAttachGetsTheRunFromItsStart(t *testing.T) {
	c := newContainer(t, Options{})
	a := c.Attach(AttachOptions{})
	defer a.Close()
	c.start(t)
	var want strings.Builder
	for i := range 100 {
		fmt.Fprintf(&want, "%d\n", i)
		fmt.Fprintf(c.out, "%d\n", i)
	}
	c.drain(t)
	if got, err := takeAll(t, a); got != want.String() || err != nil {
		t.Errorf("Attach got %q, %v", got, err)
	}
}

// takeAll reads an attachment to its end.
func takeAll(t testing.TB, a *Attachment) (string, error) {
	t.Helper()
	var b strings.Builder
	for {
		ch, err := a.Next(deadline(t))
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
		b.Write(ch.Data)
	}
}

// noise is text that compresses badly.
func noise(n int) []byte {
	p := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(p)
	return p
}

func TestWhoNeverReadsCostsNobody(t *testing.T) {
	c := newContainer(t, Options{Budget: MinBudget}).start(t)
	slow, skips := c.Attach(AttachOptions{}), c.Attach(AttachOptions{Skip: true})
	data := noise(1 << 20)
	c.out.Write(data) // returns: the container does not wait
	c.waitTotal(t, 1<<20)
	c.drain(t)
	_, err := takeAll(t, slow)
	lost := (*LostError)(nil)
	if !errors.As(err, &lost) || lost.Bytes < 1<<20-MinBudget || lost.Bytes >= 1<<20 {
		t.Fatalf("Next = %v, want LostError", err)
	}
	ch, err := skips.Next(deadline(t))
	if err != nil || ch.Lost != lost.Bytes {
		t.Fatalf("Next = %+v %v, want %d lost", ch, err, lost.Bytes)
	}
	if rest, err := takeAll(t, skips); err != nil || rest != string(data[lost.Bytes:]) {
		t.Errorf("%d bytes after the gap, want %d; %v", len(rest), len(data)-int(lost.Bytes), err)
	}
}

func TestHoldGetsEverything(t *testing.T) {
	for _, hold := range []time.Duration{-1, time.Minute} {
		c := newContainer(t, Options{Budget: MinBudget}).start(t)
		a := c.Attach(AttachOptions{Hold: hold})
		data := noise(1 << 20)
		go func() {
			c.out.Write(data)
			c.out.Close()
			c.err.Close()
			c.Drain(context.Background())
		}()
		got, err := takeAll(t, a)
		a.Close()
		if err != nil || got != string(data) {
			t.Errorf("hold %v: %d bytes, %v, want %d", hold, len(got), err, len(data))
		}
	}
}

func TestHoldEnds(t *testing.T) {
	c := newContainer(t, Options{Budget: MinBudget}).start(t)
	a := c.Attach(AttachOptions{Hold: 50 * time.Millisecond})
	defer a.Close()
	begin := time.Now()
	c.out.Write(noise(1 << 20))
	if d := time.Since(begin); d < 50*time.Millisecond || d > 5*time.Second {
		t.Errorf("the container waited for %v, want 50 ms", d)
	}
	c.drain(t)
	if _, err := takeAll(t, a); err == nil {
		t.Error("nothing was lost")
	}
}

func TestCloseLetsTheContainerGo(t *testing.T) {
	c := newContainer(t, Options{Budget: MinBudget}).start(t)
	a := c.Attach(AttachOptions{Hold: -1})
	time.AfterFunc(20*time.Millisecond, a.Close)
	c.out.Write(noise(1 << 20))
	c.drain(t)
}

func TestDrainDoesNotWaitBeyondItsContext(t *testing.T) {
	c := newContainer(t, Options{Budget: MinBudget}).start(t)
	a := c.Attach(AttachOptions{Hold: -1})
	defer a.Close()
	go c.out.Write(noise(1 << 17))
	for stalled := false; !stalled; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		stalled = c.stalled
		c.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := c.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain = %v", err)
	}
	c.start(t)
	c.print(t, c.out, "again\n")
}

func TestCloseEndsReaders(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	a := c.Attach(AttachOptions{})
	time.AfterFunc(10*time.Millisecond, func() { c.Close() })
	if got, err := takeAll(t, a); got != "" || err != nil {
		t.Errorf("Next = %q %v", got, err)
	}
	a.Close()
	if _, err := c.Attach(AttachOptions{}).Next(deadline(t)); err != io.EOF {
		t.Errorf("Attach to a closed log = %v", err)
	}
	if got := c.lines(t, all); got != "" || c.Trim(0) != nil || c.Drain(deadline(t)) != nil {
		t.Errorf("closed log has %q", got)
	}
}

func TestSplitterCutsLongLines(t *testing.T) {
	for _, size := range []int{1, 7, MaxLine - 1, MaxLine, MaxLine + 1, 3 * MaxLine} {
		text := bytes.Repeat([]byte{'x'}, 2*MaxLine+5)
		text = append(text, "\nshort\n"...)
		text = append(text, bytes.Repeat([]byte{'y'}, MaxLine-1)...)
		text = append(text, "\nend"...)
		var s splitter
		var got []int
		var all []byte
		f := func(line []byte, _ bool) bool {
			got, all = append(got, len(line)), append(all, line...)
			return true
		}
		for p := text; len(p) > 0; p = p[min(size, len(p)):] {
			s.split(run{stream: 1, data: p[:min(size, len(p))]}, f)
		}
		f(s.rest(1), false)
		if fmt.Sprint(got) != fmt.Sprint([]int{MaxLine, MaxLine, 6, 6, MaxLine, 3}) || !bytes.Equal(all, text) {
			t.Errorf("in pieces of %d: lines of %v bytes", size, got)
		}
	}
}

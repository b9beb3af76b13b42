package engine

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	o := PressureOptions{}.filled()
	some := func(all ...subject) []subject { return all }
	low := subject{ID: "low", Importance: 10, Memory: 1, Comes: true}
	big := subject{ID: "big", Importance: 10, Memory: 9, Comes: true}
	mid := subject{ID: "mid", Importance: 50, Comes: true}
	high := subject{ID: "high", Importance: 90, Comes: true}
	never := subject{ID: "never", Importance: 100, Comes: true}
	slowed := func(s subject) subject { s.Slowed = true; return s }
	once := func(s subject) subject { s.Comes = false; return s }
	spared := func(s subject) subject { s.Spared = now.Add(time.Second); return s }
	for _, c := range []struct {
		name string
		s    situation
		do   measure
		id   string
	}{
		{"nothing is known", situation{}, doNothing, ""},
		{"one window is a hiccup", situation{Stalled: 1, Short: true, Running: some(low, high)}, doNothing, ""},
		{"a container is at its own limit", situation{Stalled: 3, Running: some(low, high)}, doNothing, ""},
		{"first what nobody misses", situation{Stalled: 2, Short: true, Running: some(low, high)}, doReclaim, ""},
		{"then time passes", situation{Stalled: 3, Short: true, Reclaimed: true, Next: now.Add(1), Running: some(low, high)}, doNothing, ""},
		{"then the least is slowed", situation{Stalled: 2, Short: true, Reclaimed: true, Next: now, Running: some(high, low, mid)}, doSlow, "low"},
		{"of equals the largest", situation{Stalled: 2, Short: true, Reclaimed: true, Running: some(low, big, high)}, doSlow, "big"},
		{"then it is restarted", situation{Stalled: 3, Short: true, Reclaimed: true, Running: some(slowed(low), mid)}, doRestart, "low"},
		{"or stopped", situation{Stalled: 3, Short: true, Reclaimed: true, Running: some(once(slowed(low)), mid)}, doStop, "low"},
		{"then the next", situation{Stalled: 3, Short: true, Reclaimed: true, Running: some(spared(slowed(low)), mid, high)}, doSlow, "mid"},
		{"and the next", situation{Stalled: 3, Short: true, Reclaimed: true, Running: some(spared(slowed(low)), slowed(mid), high)}, doRestart, "mid"},
		{"not the most important", situation{Stalled: 3, Short: true, Reclaimed: true, Running: some(spared(slowed(low)), spared(slowed(mid)), high)}, doReclaim, ""},
		{"with no order nobody gives way", situation{Stalled: 3, Short: true, Reclaimed: true, Running: some(low, big)}, doReclaim, ""},
		{"100 never", situation{Stalled: 3, Short: true, Reclaimed: true, Running: some(never, never)}, doReclaim, ""},
		{"alone", situation{Stalled: 3, Short: true, Reclaimed: true, Running: some(mid)}, doReclaim, ""},
		{"calm is waited for", situation{Calm: now.Add(-o.Calm / 2), Running: some(slowed(low))}, doNothing, ""},
		{"then who is slow goes on", situation{Calm: now.Add(-o.Calm), Running: some(mid, slowed(low))}, doRelease, "low"},
		{"and that is all", situation{Calm: now.Add(-o.Calm), Running: some(mid, low)}, doNothing, ""},
	} {
		c.s.Now = now
		if do, id := decide(&c.s, o); do != c.do || id != c.id {
			t.Errorf("%s: decide = %q %q, want %q %q", c.name, do, id, c.do, c.id)
		}
	}
}

func TestParsePressure(t *testing.T) {
	for text, want := range map[string]PressureOptions{
		"off": {Off: true}, "150ms/20%": {Stall: 150 * time.Millisecond, Available: 20}, "1ms": {Stall: time.Millisecond}, "5ms/100": {Stall: 5 * time.Millisecond, Available: 100},
	} {
		if got, err := ParsePressure(text); err != nil || got != want {
			t.Errorf("ParsePressure(%q) = %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "on", "1s", "0s", "10us", "5", "5ms/", "5ms/0%", "5ms/101%", "5ms/x"} {
		if got, err := ParsePressure(text); err == nil {
			t.Errorf("ParsePressure(%q) = %+v", text, got)
		}
	}
}

func TestParseStalls(t *testing.T) {
	got, err := parseStalls([]byte("some avg10=1.50 avg60=0.10 avg300=0.00 total=1272542\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=511263\n"))
	if want := 1272542 * time.Microsecond; err != nil || got != want {
		t.Errorf("parseStalls = %v, %v; want %v", got, err, want)
	}
	for _, text := range []string{"", "some", "full total=1", "some total=x"} {
		if _, err := parseStalls([]byte(text)); err == nil {
			t.Errorf("parseStalls(%q) gave no error", text)
		}
	}
	if got, err := parseAvailable([]byte("MemTotal:  512 kB\nMemFree: 1 kB\nMemAvailable:  64 kB\n")); err != nil || got != 12 {
		t.Errorf("parseAvailable = %d, %v; want 12", got, err)
	}
	if _, err := parseAvailable([]byte("x")); err == nil {
		t.Error("parseAvailable without a total gave no error")
	}
}

// TestKernelTellsOfStalls needs no stall: the kernel takes the trigger, and the wait ends with its context.
func TestKernelTellsOfStalls(t *testing.T) {
	k, err := openStalls(PressureOptions{}.filled())
	if err != nil {
		t.Skip(err)
	}
	defer k.close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for range 20 { // some may be stalls of others
		if err = k.wait(ctx); err != nil {
			break
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait = %v", err)
	}
	if _, available, err := k.read(); err != nil || available < 1 || available > 100 {
		t.Errorf("read = %d%%, %v", available, err)
	}
}

// fakeStalls are as a test wishes: one line for each window.
type fakeStalls struct {
	windows []time.Duration
	waited  time.Duration
	done    func()
}

func (f *fakeStalls) wait(ctx context.Context) error {
	if len(f.windows) > 0 {
		return nil
	}
	f.done()
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeStalls) read() (time.Duration, int, error) {
	if len(f.windows) > 0 {
		f.waited += f.windows[0]
		f.windows = f.windows[1:]
	}
	return f.waited, 5, nil
}

func (f *fakeStalls) close() error { return nil }

// TestWatcherSleepsWhenItIsCalm: it reclaims once for a stall that lasts, and leaves the rest to the kernel's call.
func TestWatcherSleepsWhenItIsCalm(t *testing.T) {
	e := &Engine{events: newEvents(), all: map[string]*Container{}, log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	f := &fakeStalls{windows: []time.Duration{0, 1, 1e9, 1e9, 1, 1, 1, 1, 1, 1}, done: cancel}
	o := PressureOptions{Window: time.Millisecond, Pause: time.Hour, Calm: 3 * time.Millisecond}.filled()
	w := &watcher{e: e, o: o, source: f}
	w.run(ctx)
	past, _, stop := e.Subscribe()
	defer stop()
	if len(past) != 1 || past[0].Action != "pressure" || past[0].Actor.Attributes["measure"] != "reclaim" {
		t.Errorf("events: %+v, want one to reclaim", past)
	}
	if w.reclaimed || w.pause != 0 {
		t.Errorf("after a calm: reclaimed %v, pause %v", w.reclaimed, w.pause)
	}
}

func TestPausesGrow(t *testing.T) {
	e := &Engine{events: newEvents(), all: map[string]*Container{}, log: slog.New(slog.DiscardHandler)}
	w := &watcher{e: e, o: PressureOptions{}.filled(), spared: map[string]spare{}}
	var got []time.Duration
	for range 7 {
		w.act(t.Context(), doReclaim, "")
		got = append(got, w.pause)
	}
	if got[0] != 3*time.Second || got[1] != 6*time.Second || got[6] != pressureMost {
		t.Errorf("pauses %v", got)
	}
	for range 3 {
		w.spare("a")
	}
	if got := w.spared["a"].wait; got != 4*sparedFirst {
		t.Errorf("spared for %v, want %v", got, 4*sparedFirst)
	}
	w.spared["old"] = spare{until: time.Now().Add(-2 * sparedMost)}
	w.spare("a")
	if len(w.spared) != 1 {
		t.Errorf("spared: %v", w.spared)
	}
}

func TestSlowedIsOfOneRun(t *testing.T) {
	v := View{&Record{}, Memory{State: container.StateRunning, Runs: 2, SlowedRun: 2}}
	if !v.slowed() {
		t.Error("not slowed")
	}
	v.Runs = 3
	if v.slowed() {
		t.Error("slowed in the next run")
	}
}

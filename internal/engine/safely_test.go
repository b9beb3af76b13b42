package engine

import (
	"log/slog"
	"strings"
	"testing"
)

// TestABugIsAnErrorOfOneContainer: its goroutine goes on.
func TestABugIsAnErrorOfOneContainer(t *testing.T) {
	c := &Container{e: &Engine{log: slog.New(slog.DiscardHandler)}, id: "x", calls: make(chan func()), gone: make(chan struct{})}
	go c.own()
	defer close(c.gone)
	var none *View
	if err := c.do(func() error { none.Running(); return nil }); err == nil || !strings.Contains(err.Error(), "a bug in the engine") {
		t.Errorf("err = %v", err)
	}
	c.post(func() { panic("here") })
	if err := c.do(func() error { return nil }); err != nil {
		t.Errorf("after it: %v", err)
	}
}

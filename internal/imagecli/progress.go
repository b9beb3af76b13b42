package imagecli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"tare.dev/tare/internal/console"
	"tare.dev/tare/internal/transfer"
)

// progress shows how far a transfer is: on a terminal one line that changes, else a line a layer.
type progress struct {
	w     io.Writer
	live  *os.File // w, if it is a terminal
	json  bool
	quiet bool

	mu    sync.Mutex
	layer int
	shown bool      // a live line stands on the terminal
	last  time.Time // of it
	begun time.Time // of the layer
}

func newProgress(w io.Writer, asJSON, quiet bool) *progress {
	p := &progress{w: w, json: asJSON, quiet: quiet}
	if f, ok := w.(*os.File); ok && console.Is(f) {
		p.live = f
	}
	return p
}

// note is a line about something that is waited for.
func (p *progress) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	if p.json {
		p.encode(map[string]any{"kind": "note", "text": text})
		return
	}
	fmt.Fprintln(p.w, text)
}

func (p *progress) encode(v any) { _ = json.NewEncoder(p.w).Encode(v) }

type jsonEvent struct {
	Kind    string `json:"kind"` // as in transfer.Event
	Blob    string `json:"blob,omitempty"`
	Current int64  `json:"current"`
	Total   int64  `json:"total"`
	Cause   string `json:"cause,omitempty"`
}

func (p *progress) event(e transfer.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json && p.quiet && e.Kind != "resume" {
		return
	}
	if p.json {
		j := jsonEvent{Kind: e.Kind, Blob: e.Blob.String(), Current: e.Current, Total: e.Total}
		if e.Cause != nil {
			j.Cause = e.Cause.Error()
		}
		p.encode(j)
		return
	}
	switch e.Kind {
	case "layer":
		p.layer++
		p.begun = time.Now()
		p.draw(e)
	case "pack", "read":
		if p.begun.IsZero() {
			p.begun = time.Now()
		}
		if time.Since(p.last) >= 100*time.Millisecond {
			p.draw(e)
		}
	case "bytes":
		if time.Since(p.last) >= 100*time.Millisecond {
			p.draw(e)
		}
	case "resume":
		p.clear()
		fmt.Fprintf(p.w, "layer %d: %v; going on at %s\n", p.layer, e.Cause, size(e.Current))
	case "done":
		p.clear()
		if !p.quiet {
			took := time.Since(p.begun)
			fmt.Fprintf(p.w, "layer %d %s %s in %.1fs\n", p.layer, e.Blob.Encoded()[:12], size(e.Total), took.Seconds())
		}
	}
}

// draw is for terminals: a bar, how much, how fast.
func (p *progress) draw(e transfer.Event) {
	if p.live == nil || p.quiet {
		return
	}
	text := size(e.Current) + " of " + size(e.Total)
	if took := time.Since(p.begun); took > time.Second {
		text += "  " + size(int64(float64(e.Current)/took.Seconds())) + "/s"
	}
	columns := 80
	if of, err := console.GetSize(p.live); err == nil && of.Cols > 0 {
		columns = int(of.Cols)
	}
	fmt.Fprint(p.w, "\r\x1b[K", liveLine(p.label(e), text, e, columns))
	p.shown, p.last = true, time.Now()
}

// liveLine is less than columns long, or the terminal would go on in a line that is not cleared.
func liveLine(label, text string, e transfer.Event, columns int) string {
	width := min(30, columns-len(label)-len(text)-5) // of the bar, without brackets, spaces and the last column
	if width > 0 {
		filled := 0
		if e.Total > 0 {
			filled = int(min(e.Current, e.Total) * int64(width) / e.Total)
		}
		text = "[" + strings.Repeat("#", filled) + strings.Repeat(" ", width-filled) + "] " + text
	}
	s := label + " " + text
	return s[:min(len(s), max(columns-1, 0))]
}

// label is what a line is about.
func (p *progress) label(e transfer.Event) string {
	switch e.Kind {
	case "pack":
		return "packing " + e.Blob.Encoded()[:12]
	case "read":
		return "reading"
	}
	return fmt.Sprintf("layer %d %s", p.layer, e.Blob.Encoded()[:12])
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

// size is a number of bytes for people, in units of 1000 as docker prints them.
func size(n int64) string {
	f, unit := float64(n), 0
	for f >= 999.5 && unit < 5 {
		f /= 1000
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.3g %cB", f, "kMGTP"[unit-1])
}

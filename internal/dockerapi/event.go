package dockerapi

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
)

// events streams what happens, from since on, until until.
func (a *api) events(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope",
		"secret", "service", "type", "volume")
	if err != nil {
		return err
	}
	var since, until time.Time
	now := time.Now()
	for name, to := range map[string]*time.Time{"since": &since, "until": &until} {
		if text := r.URL.Query().Get(name); text != "" {
			if *to, err = parseTime(text, now); err != nil {
				return err
			}
		}
	}
	past, next, stop := a.e.Subscribe()
	defer stop()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush(w)
	send := func(m events.Message) {
		if f.event(m) && (until.IsZero() || m.TimeNano <= until.UnixNano()) {
			_ = encode(w, m) // who asked may be gone
		}
	}
	if !since.IsZero() {
		for _, m := range past {
			if m.TimeNano >= since.UnixNano() {
				send(m)
			}
		}
	}
	var end <-chan time.Time
	if !until.IsZero() {
		if !until.After(now) {
			return nil
		}
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		end = t.C
	}
	for {
		select {
		case m, ok := <-next:
			if !ok {
				return nil
			}
			send(m)
		case <-end:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

// event tells whether the filters let an event pass.
func (f filters) event(m events.Message) bool {
	action, _, _ := strings.Cut(string(m.Action), ":")
	if !f.match("type", string(m.Type)) || !f.match("scope", m.Scope) || !f.labels(m.Actor.Attributes) {
		return false
	}
	if len(f["event"]) > 0 && !slices.Contains(f["event"], string(m.Action)) && !slices.Contains(f["event"], action) {
		return false
	}
	for _, kind := range []string{"container", "image", "network", "volume"} {
		if len(f[kind]) == 0 {
			continue
		}
		if kind == "image" && string(m.Type) == "container" && slices.Contains(f[kind], m.Actor.Attributes["image"]) {
			continue
		}
		if string(m.Type) != kind || !slices.ContainsFunc(f[kind], func(want string) bool {
			return want == m.Actor.ID || want == m.Actor.Attributes["name"] || len(want) >= 4 && strings.HasPrefix(m.Actor.ID, want)
		}) {
			return false
		}
	}
	return len(f["daemon"]) == 0 || m.Type == "daemon"
}

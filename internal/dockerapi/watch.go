package dockerapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// watching is the routes about what containers are doing.
func (a *api) watching() []route {
	return []route{
		{"GET", "/containers/{id}/stats", a.stats},
		{"GET", "/containers/{id}/top", a.top},
	}
}

// stats streams what a container uses, once a second, or tells it once.
func (a *api) stats(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	stream := q.Get("stream") == "" || flag(q, "stream")
	once := flag(q, "one-shot")
	before, err := c.Stats()
	if err != nil {
		return err
	}
	if !stream && once {
		return writeJSON(w, http.StatusOK, before)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if stream {
		_ = json.NewEncoder(w).Encode(before) // who asked may be gone
		flush(w)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return nil
		}
		now, err := c.Stats()
		if err != nil {
			return nil // it is gone
		}
		now.PreRead, now.PreCPUStats = before.Read, before.CPUStats
		if json.NewEncoder(w).Encode(now) != nil || !stream {
			return nil
		}
		flush(w)
		before = now
	}
}

func (a *api) top(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	args := r.URL.Query().Get("ps_args")
	t, err := c.Top(strings.Fields(args))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, t)
}

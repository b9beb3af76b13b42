package enginecli

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/moby/moby/api/types/container"
)

// A sample is what a container takes, as stats --json prints it.
type sample struct {
	ID       string  `json:"id"`
	Name     string  `json:"name"`
	State    string  `json:"state"`
	Status   string  `json:"status"`
	CPU      float64 `json:"cpuPercent"` // 100 is one CPU
	Memory   uint64  `json:"memoryBytes"`
	Limit    uint64  `json:"memoryLimitBytes,omitempty"`
	Pids     uint64  `json:"pids"`
	Received uint64  `json:"receivedBytes"`
	Sent     uint64  `json:"sentBytes"`
	Read     uint64  `json:"readBytes"`
	Written  uint64  `json:"writtenBytes"`
}

// A sampler measures containers by the difference to the last time.
type sampler struct {
	client *client
	names  []string // only those; nil is all that run
	last   map[string]measured
}

// measured is what a counter of CPU time was.
type measured struct {
	at  time.Time
	cpu uint64 // nanoseconds
}

func newSampler(c *client, names []string) *sampler {
	return &sampler{client: c, names: names, last: map[string]measured{}}
}

// take measures once. The CPU's share is 0 the first time that a container is seen.
func (s *sampler) take(ctx context.Context) ([]sample, error) {
	q := url.Values{}
	if len(s.names) > 0 {
		q.Set("all", "1")
	}
	var list []container.Summary
	if err := s.client.get(ctx, "/containers/json", q, &list); err != nil {
		return nil, err
	}
	list, err := s.choose(ctx, list)
	if err != nil {
		return nil, err
	}
	all := make([]sample, 0, len(list))
	now := map[string]measured{}
	for i := range list {
		one := sample{ID: list[i].ID, Name: nameOf(list[i].Names), State: string(list[i].State), Status: list[i].Status}
		if list[i].State == container.StateRunning || list[i].State == container.StatePaused {
			err := s.measure(ctx, &one, now)
			if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusConflict) {
				continue // it ended meanwhile
			}
			if err != nil {
				return nil, err
			}
		}
		all = append(all, one)
	}
	s.last = now
	return all, nil
}

// choose leaves those that were named, and says when one is not there.
func (s *sampler) choose(ctx context.Context, list []container.Summary) ([]container.Summary, error) {
	if len(s.names) == 0 {
		return list, nil
	}
	var chosen []container.Summary
	for _, name := range s.names {
		var info container.InspectResponse
		if err := s.client.get(ctx, "/containers/"+name+"/json", nil, &info); err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].ID == info.ID {
				chosen = append(chosen, list[i])
			}
		}
	}
	return chosen, nil
}

func (s *sampler) measure(ctx context.Context, one *sample, now map[string]measured) error {
	var st container.StatsResponse
	q := url.Values{"stream": {"0"}, "one-shot": {"1"}}
	if err := s.client.get(ctx, "/containers/"+one.ID+"/stats", q, &st); err != nil {
		return err
	}
	m := measured{st.Read, st.CPUStats.CPUUsage.TotalUsage}
	if m.at.IsZero() {
		m.at = time.Now()
	}
	now[one.ID] = m
	if old, ok := s.last[one.ID]; ok && m.at.After(old.at) && m.cpu >= old.cpu {
		one.CPU = 100 * float64(m.cpu-old.cpu) / float64(m.at.Sub(old.at))
	}
	one.Memory, one.Limit, one.Pids = inUse(&st.MemoryStats), st.MemoryStats.Limit, st.PidsStats.Current
	for _, n := range st.Networks {
		one.Received += n.RxBytes
		one.Sent += n.TxBytes
	}
	for _, e := range st.BlkioStats.IoServiceBytesRecursive {
		switch e.Op {
		case "read", "Read":
			one.Read += e.Value
		case "write", "Write":
			one.Written += e.Value
		}
	}
	return nil
}

// inUse is memory without what can be dropped, as docker's client counts: usage without the inactive
// part of the page cache.
func inUse(m *container.MemoryStats) uint64 {
	for _, key := range []string{"total_inactive_file", "inactive_file"} { // control groups v1, v2
		if n, ok := m.Stats[key]; ok && n < m.Usage {
			return m.Usage - n
		}
	}
	return m.Usage
}

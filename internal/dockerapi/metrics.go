package dockerapi

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/engine"
)

// metricsType is the media type of OpenMetrics 1.0 text.
const metricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

// A family is a metric with a value for each container. Names and units: OpenMetrics 1.0, "Metric Naming".
type family struct {
	name, kind, unit, help string
	value                  func(v engine.View, s *container.StatsResponse) (float64, bool)
}

// families is all that is measured. A container that does not run has no use of anything, and no line for it.
func families() []family {
	used := func(f func(s *container.StatsResponse) float64) func(engine.View, *container.StatsResponse) (float64, bool) {
		return func(v engine.View, s *container.StatsResponse) (float64, bool) {
			if !v.Running() || s == nil {
				return 0, false
			}
			return f(s), true
		}
	}
	network := func(f func(n container.NetworkStats) uint64) func(engine.View, *container.StatsResponse) (float64, bool) {
		return used(func(s *container.StatsResponse) (sum float64) {
			for _, n := range s.Networks {
				sum += float64(f(n))
			}
			return sum
		})
	}
	return []family{
		{"tare_container_running", "gauge", "", "Whether the container has a process.", func(v engine.View, _ *container.StatsResponse) (float64, bool) {
			return boolean(v.Running()), true
		}},
		{"tare_container_healthy", "gauge", "", "Whether its last checks succeeded.", func(v engine.View, _ *container.StatsResponse) (float64, bool) {
			if v.Health == nil {
				return 0, false
			}
			return boolean(v.Health.Status == container.Healthy), true
		}},
		{"tare_container_restarts", "gauge", "", "Starts by its restart policy since a client started it.", func(v engine.View, _ *container.StatsResponse) (float64, bool) {
			return float64(v.Restarts), true
		}},
		{"tare_container_cpu_seconds", "counter", "seconds", "Processor time.", used(func(s *container.StatsResponse) float64 {
			return float64(s.CPUStats.CPUUsage.TotalUsage) / 1e9
		})},
		{"tare_container_memory_bytes", "gauge", "bytes", "Memory in use, caches included.", used(func(s *container.StatsResponse) float64 {
			return float64(s.MemoryStats.Usage)
		})},
		{"tare_container_memory_limit_bytes", "gauge", "bytes", "The most memory it may use.", used(func(s *container.StatsResponse) float64 {
			return float64(s.MemoryStats.Limit)
		})},
		{"tare_container_processes", "gauge", "", "Processes and threads.", used(func(s *container.StatsResponse) float64 {
			return float64(s.PidsStats.Current)
		})},
		{"tare_container_network_received_bytes", "counter", "bytes", "Bytes that came over its interfaces.", network(func(n container.NetworkStats) uint64 { return n.RxBytes })},
		{"tare_container_network_sent_bytes", "counter", "bytes", "Bytes that went over its interfaces.", network(func(n container.NetworkStats) uint64 { return n.TxBytes })},
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// metrics answers with the numbers of all containers. It is no part of Docker's API.
func (a *api) metrics(w http.ResponseWriter, _ *http.Request) error {
	type one struct {
		labels string
		view   engine.View
		stats  *container.StatsResponse
	}
	var all []one
	for _, c := range a.e.Containers() {
		stats, err := c.Stats()
		if err != nil {
			stats = nil // it is ending: it has no numbers, and others do
		}
		v := c.View()
		all = append(all, one{`{name="` + escapeLabel(v.Name) + `",image="` + escapeLabel(v.Config.Image) + `"} `, v, stats})
	}
	var out bytes.Buffer
	for _, f := range families() {
		out.WriteString("# TYPE " + f.name + " " + f.kind + "\n")
		if f.unit != "" {
			out.WriteString("# UNIT " + f.name + " " + f.unit + "\n")
		}
		out.WriteString("# HELP " + f.name + " " + f.help + "\n")
		name := f.name
		if f.kind == "counter" {
			name += "_total"
		}
		for _, x := range all {
			if value, ok := f.value(x.view, x.stats); ok {
				out.WriteString(name + x.labels + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
			}
		}
	}
	out.WriteString("# EOF\n")
	w.Header().Set("Content-Type", metricsType)
	_, err := w.Write(out.Bytes())
	return err
}

// escapeLabel is for a label's value: OpenMetrics 1.0, "Escaping".
func escapeLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}

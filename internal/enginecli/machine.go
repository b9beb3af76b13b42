package enginecli

import (
	"os"
	"strconv"
	"strings"
)

// A machine is what all of it takes, from proc(5).
type machine struct {
	busy        float64 // percent of all CPUs since the last measurement
	used, total uint64  // memory in bytes

	lastBusy, lastAll uint64
}

func newMachine() *machine {
	m := &machine{}
	m.measure()
	return m
}

// measure leaves what it was where a file cannot be read: it is for the eye alone.
func (m *machine) measure() {
	if text, err := os.ReadFile("/proc/stat"); err == nil {
		m.cpu(string(text))
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.memory(string(text))
	}
}

// cpu reads the first line of /proc/stat: user, nice, system, idle, iowait and so on, in ticks.
func (m *machine) cpu(text string) {
	line, _, _ := strings.Cut(text, "\n")
	var all, idle uint64
	for n, f := range strings.Fields(line) {
		v, err := strconv.ParseUint(f, 10, 64)
		if n == 0 || n > 8 || err != nil { // the last two are in the first ones already
			continue
		}
		all += v
		if n == 4 || n == 5 {
			idle += v
		}
	}
	busy := all - idle
	if all > m.lastAll && m.lastAll > 0 && busy >= m.lastBusy {
		m.busy = 100 * float64(busy-m.lastBusy) / float64(all-m.lastAll)
	}
	m.lastBusy, m.lastAll = busy, all
}

func (m *machine) memory(text string) {
	var available uint64
	for line := range strings.Lines(text) {
		key, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		kib, err := strconv.ParseUint(f[0], 10, 64)
		switch {
		case err != nil:
		case key == "MemTotal":
			m.total = kib << 10
		case key == "MemAvailable":
			available = kib << 10
		}
	}
	m.used = m.total - min(available, m.total)
}

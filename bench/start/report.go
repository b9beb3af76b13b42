package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tare.dev/tare/bench/measure"
)

// figures are one column's statistics, in microseconds.
type figures struct {
	Min    float64 `json:"min"`
	P10    float64 `json:"p10"`
	Median float64 `json:"median"`
}

type row struct {
	Operation string  `json:"operation"`
	Seccomp   bool    `json:"seccomp"`
	Subject   string  `json:"subject"`
	Wall      figures `json:"wallMicroseconds"`
	CPU       figures `json:"cpuMicroseconds"`
}

type report struct {
	Kernel   string            `json:"kernel"`
	CPUs     int               `json:"cpus"`
	FIFO     bool              `json:"fifo"`
	N        int               `json:"n"`
	Versions map[string]string `json:"versions"`
	Rows     []row             `json:"rows"`
	Memory   []memoryRow       `json:"memory"`
	Warm     *warmRow          `json:"warm,omitempty"`
	Goals    measure.Goals     `json:"goals"`
	subjects []string
}

// warmRow is what exec from a process that already runs costs, in
// microseconds from the request to the executed program.
type warmRow struct {
	Exec           figures `json:"execMicroseconds"`
	ExecBytes      uint64  `json:"execBytesAllocated"`
	StartBytes     uint64  `json:"startBytesAllocated"`
	KeptPerRunning int64   `json:"heapBytesKeptPerRunning"`
}

func summarize(list []time.Duration) figures {
	slices.Sort(list)
	at := func(q float64) float64 {
		return float64(list[int(q*float64(len(list)-1))].Nanoseconds()) / 1000
	}
	return figures{Min: at(0), P10: at(0.1), Median: at(0.5)}
}

func (b *bench) report(jobs []*job) *report {
	r := &report{
		Kernel: kernelVersion(), CPUs: runtime.NumCPU(), FIFO: b.o.fifo, N: b.o.n,
		Versions: map[string]string{},
	}
	for _, s := range b.subjects {
		r.Versions[s.name] = s.version
		r.subjects = append(r.subjects, s.name)
	}
	for _, j := range jobs {
		var wall, cpu []time.Duration
		for _, c := range j.costs {
			wall = append(wall, c.wall)
			cpu = append(cpu, c.cpu)
		}
		r.Rows = append(r.Rows, row{
			Operation: j.op, Seccomp: j.seccomp, Subject: j.subject.name,
			Wall: summarize(wall), CPU: summarize(cpu),
		})
	}
	for _, k := range b.kept {
		r.Memory = append(r.Memory, k.memory)
	}
	return r
}

func (r *report) find(op string, seccomp bool, subject string) *row {
	for i := range r.Rows {
		w := &r.Rows[i]
		if w.Operation == op && w.Seccomp == seccomp && w.Subject == subject {
			return w
		}
	}
	return nil
}

// judge fills in the goals. Wall time is compared at the tenth percentile and
// processor time at the median: on a busy machine higher percentiles of wall
// time say more about the others than about the program.
func (r *report) judge() {
	add := func(what string, value, target float64) {
		r.Goals.Add(what, value, target)
	}
	for _, op := range operations {
		for _, seccomp := range []bool{false, true} {
			// Against crun whatever the name; against the floor 1.5 where the
			// start is remembered, 2.5 where Go has to run.
			for subject, overFloor := range map[string]float64{"tare": 1.5, "tare-new": 2.5} {
				tare := r.find(op, seccomp, subject)
				if tare == nil {
					continue
				}
				name := subject + " " + op + caption(seccomp)
				overCrun := map[bool]float64{false: 0.5, true: 0.3}[seccomp]
				if crun := r.find(op, seccomp, "crun"); crun != nil {
					add(name+", wall / crun's", tare.Wall.P10/crun.Wall.P10, overCrun)
					add(name+", CPU / crun's", tare.CPU.Median/crun.CPU.Median, overCrun)
				}
				if floor := r.find(op, seccomp, "floor"); floor != nil {
					add(name+", wall / floor's", tare.Wall.P10/floor.Wall.P10, overFloor)
					add(name+", CPU / floor's", tare.CPU.Median/floor.CPU.Median, overFloor)
				}
			}
		}
	}
	slices.SortStableFunc(r.Goals, func(a, b measure.Goal) int {
		return strings.Compare(strings.Fields(a.What)[0], strings.Fields(b.What)[0])
	})
	for _, m := range r.Memory {
		if m.Subject == "tare" {
			add("helper processes per container"+caption(m.Seccomp), float64(m.Helpers), 0)
		}
	}
	if r.Warm != nil {
		add("exec from a warm process, median, ms", r.Warm.Exec.Median/1000, 0.3)
		add("heap kept in the starting process per container, KiB", float64(r.Warm.KeptPerRunning)/1024, 10)
	}
}

func caption(seccomp bool) string {
	if seccomp {
		return " with seccomp"
	}
	return ""
}

func (r *report) writeJSON(w io.Writer) error {
	r.judge()
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *report) writeTables(w io.Writer) error {
	r.judge()
	class := "ordinary scheduling"
	if r.FIFO {
		class = "SCHED_FIFO"
	}
	fmt.Fprintf(w, "%s, %d CPUs, %s, n=%d, interleaved in random order\n", r.Kernel, r.CPUs, class, r.N)
	for _, s := range r.subjects {
		fmt.Fprintf(w, "  %-8s %s\n", s, r.Versions[s])
	}
	for _, op := range operations {
		if len(r.subjects) == 0 {
			break // only what is warm
		}
		for _, seccomp := range []bool{false, true} {
			if err := r.writeTable(w, op, seccomp); err != nil {
				return err
			}
		}
	}
	if err := r.writeMemory(w); err != nil {
		return err
	}
	return r.writeGoals(w)
}

func (r *report) writeTable(w io.Writer, op string, seccomp bool) error {
	crun, floor := r.find(op, seccomp, "crun"), r.find(op, seccomp, "floor")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%s%s, µs\n", op, caption(seccomp))
	fmt.Fprintln(t, "\twall min\tp10\tmedian\tCPU min\tp10\tmedian\twall/crun\tCPU/crun\twall/floor\tCPU/floor\t")
	for _, s := range r.subjects {
		x := r.find(op, seccomp, s)
		if x == nil {
			continue
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%s\t%s\t\n", s,
			x.Wall.Min, x.Wall.P10, x.Wall.Median, x.CPU.Min, x.CPU.P10, x.CPU.Median, ratio(x, crun), ratio(x, floor))
	}
	return t.Flush()
}

// ratio is two cells: wall at the tenth percentile, processor time at the
// median.
func ratio(x, base *row) string {
	if base == nil {
		return "-\t-"
	}
	return fmt.Sprintf("%.2f\t%.2f", x.Wall.P10/base.Wall.P10, x.CPU.Median/base.CPU.Median)
}

func (r *report) writeMemory(w io.Writer) error {
	if len(r.Memory) > 0 {
		if err := r.writeProcesses(w); err != nil {
			return err
		}
	}
	if r.Warm == nil {
		return nil
	}
	x := r.Warm
	_, err := fmt.Fprintf(w, "\nfrom a warm process: exec %.0f / %.0f / %.0f µs (min / p10 / median), "+
		"%d bytes allocated; start %d bytes allocated, %d kept while it runs\n",
		x.Exec.Min, x.Exec.P10, x.Exec.Median, x.ExecBytes, x.StartBytes, x.KeptPerRunning)
	return err
}

func (r *report) writeProcesses(w io.Writer) error {
	fmt.Fprintf(w, "\nmemory of a detached container's process, KiB, and processes beside it\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tcreated: RSS\tanonymous\trunning: RSS\tanonymous\thelpers\t")
	for _, m := range r.Memory {
		fmt.Fprintf(t, "%s%s\t%d\t%d\t%d\t%d\t%d\t\n", m.Subject, caption(m.Seccomp),
			m.Created.RSS, m.Created.Anonymous, m.Running.RSS, m.Running.Anonymous, m.Helpers)
	}
	return t.Flush()
}

func (r *report) writeGoals(w io.Writer) error {
	if len(r.Goals) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\ngoals (wall: p10, CPU: median)")
	return r.Goals.Write(w, 2)
}

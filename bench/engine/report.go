package main

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"tare.dev/tare/bench/measure"
)

// A cost is the median of a request's.
type cost struct {
	Wall time.Duration `json:"wallNanoseconds"`
	CPU  time.Duration `json:"cpuNanoseconds"`
}

// result is one engine's. Bytes, unless they say otherwise.
type result struct {
	Name         string        `json:"name"`
	Version      string        `json:"version"`
	Installed    int64         `json:"installed"`
	Start        cost          `json:"start"`
	Run          cost          `json:"run"`
	Exec         cost          `json:"exec"`
	Memory       []int64       `json:"memory"` // with counts containers
	Five         int64         `json:"memoryOfFive"`
	IdleCPU      float64       `json:"idleCPU"` // of one processor
	IdleWrites   int64         `json:"idleWrites"`
	StartWrites  int64         `json:"startWrites"`
	OutputWrites int64         `json:"outputWrites"`
	OutputCPU    time.Duration `json:"outputCPUNanoseconds"`
}

type report struct {
	Kernel  string        `json:"kernel"`
	CPUs    int           `json:"cpus"`
	Date    string        `json:"date"`
	N       int           `json:"n"`
	Idle    time.Duration `json:"idleNanoseconds"`
	Engines []*result     `json:"engines"`
	Goals   measure.Goals `json:"goals"`
}

func newReport(o options) *report {
	return &report{
		Kernel: measure.Kernel(),
		CPUs:   runtime.NumCPU(), Date: time.Now().Format(time.DateOnly), N: o.n, Idle: o.idle,
	}
}

func (r *report) judge() {
	var own *result
	for _, e := range r.Engines {
		if e.Name == "tare" {
			own = e
		}
	}
	if own == nil || r.Goals != nil {
		return
	}
	add := r.Goals.Add
	for _, e := range r.Engines {
		if e.Name != "docker" {
			continue
		}
		for _, c := range []struct {
			what      string
			mine, his cost
		}{{"start", own.Start, e.Start}, {"run --rm", own.Run, e.Run}} {
			add(c.what+", wall / dockerd's", c.mine.Wall.Seconds()/c.his.Wall.Seconds(), 0.05)
			add(c.what+", CPU / dockerd's", c.mine.CPU.Seconds()/c.his.CPU.Seconds(), 0.05)
		}
	}
	last := len(counts) - 1
	add("memory with five containers, MiB", float64(own.Five)/(1<<20), 12)
	add("memory for each container more, KiB", float64(own.Memory[last]-own.Memory[1])/float64(counts[last]-counts[1])/1024, 64)
	add("installed, MiB", float64(own.Installed)/(1<<20), 14)
	add("written by a start and a stop, bytes", float64(own.StartWrites), 0)
	add("written while idle, bytes", float64(own.IdleWrites), 0)
	add("written by 10 MiB of output, bytes", float64(own.OutputWrites), 0)
	add("idle, % of a CPU", own.IdleCPU*100, 0.1)
}

func (r *report) writeJSON(w io.Writer) error {
	r.judge()
	return measure.JSON(w, r)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }

func mib(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }

func (r *report) writeTables(w io.Writer) error {
	r.judge()
	fmt.Fprintf(w, "%s, %d CPUs, %s, medians of %d\n", r.Kernel, r.CPUs, r.Date, r.N)
	for _, e := range r.Engines {
		fmt.Fprintf(w, "  %-8s %s\n", e.Name, e.Version)
	}
	measure.Table(w, "\nrequests, ms", "\tstart: wall\tCPU\trun --rm: wall\tCPU\texec: wall\tCPU\t", func(t io.Writer) {
		for _, e := range r.Engines {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", e.Name, ms(e.Start.Wall), ms(e.Start.CPU), ms(e.Run.Wall), ms(e.Run.CPU),
				ms(e.Exec.Wall), ms(e.Exec.CPU))
		}
	})
	measure.Table(w, "\nmemory of the engine (PSS) with containers, MiB", "\t0\t1\t10\t50\t5 after 50\t", func(t io.Writer) {
		for _, e := range r.Engines {
			fmt.Fprintf(t, "%s\t", e.Name)
			for _, n := range e.Memory {
				fmt.Fprintf(t, "%s\t", mib(n))
			}
			fmt.Fprintf(t, "%s\t\n", mib(e.Five))
		}
	})
	measure.Table(w, fmt.Sprintf("\nwritten to the disk, KB; idle is %s with five containers", r.Idle),
		"\ta start and a stop\tidle\tidle: % of a CPU\t10 MiB of output\tits CPU ms\tinstalled MB\t", func(t io.Writer) {
			for _, e := range r.Engines {
				fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.3f\t%.1f\t%s\t%.1f\t\n", e.Name, float64(e.StartWrites)/1000, float64(e.IdleWrites)/1000,
					e.IdleCPU*100, float64(e.OutputWrites)/1000, ms(e.OutputCPU), float64(e.Installed)/1e6)
			}
		})
	return r.Goals.Write(w, 3)
}

package main

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"time"

	"tare.dev/tare/bench/measure"
)

// report is all that was measured.
type report struct {
	Kernel  string        `json:"kernel"`
	CPUs    int           `json:"cpus"`
	Date    string        `json:"date"`
	Rounds  int           `json:"rounds"`
	Images  []facts       `json:"images"`
	Engines []*result     `json:"engines"`
	Sizes   *sizes        `json:"sizes,omitempty"`
	Goals   measure.Goals `json:"goals"`
}

// facts are an image's own numbers, in bytes.
type facts struct {
	Name   string `json:"name"`
	Layer  int64  `json:"layer"`  // compressed
	Tar    int64  `json:"tar"`    // unpacked
	Unique int64  `json:"unique"` // contents of files, each once
	New    int64  `json:"new"`    // of these, what no image before has
	Files  int    `json:"files"`
}

func newReport(b *bench) *report {
	r := &report{
		Kernel: measure.Kernel(), CPUs: runtime.NumCPU(), Rounds: b.o.n,
		Date: time.Now().UTC().Format(time.DateOnly),
	}
	before := map[content]int64{}
	for _, i := range b.images {
		r.Images = append(r.Images, facts{
			Name: i.name, Layer: i.layer.Size, Tar: i.tarBytes,
			Unique: i.unique(nil), New: i.unique(before), Files: len(i.files),
		})
		maps.Copy(before, i.contents)
	}
	return r
}

// unique is the bytes of contents in the first n images.
func (r *report) unique(n int) (sum int64) {
	for _, f := range r.Images[:n] {
		sum += f.New
	}
	return sum
}

// best is the lowest of all rounds, figure by figure.
func (e *result) best() figures {
	f := e.Rounds[0]
	for _, x := range e.Rounds[1:] {
		f.Wall, f.CPU = min(f.Wall, x.Wall), min(f.CPU, x.CPU)
		f.Written = min(f.Written, x.Written)
		f.Memory = max(f.Memory, x.Memory) // the promise is about every pull
	}
	return f
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
	best, all := own.best(), len(r.Images)
	add("first pull, written / unique bytes", ratio(best.Written, r.unique(1)), 1.10)
	add("disk after one image / unique bytes", ratio(own.Pulls[0].Used, r.unique(1)), 1.05)
	add("disk after two images / unique bytes", ratio(own.Pulls[1].Used, r.unique(2)), 1.05)
	if all > 2 {
		add(fmt.Sprintf("disk after %d images / unique bytes", all), ratio(own.Pulls[all-1].Used, r.unique(all)), 1.05)
		last := own.Pulls[all-1]
		add(fmt.Sprintf("disk after %d images / unique bytes and metadata", all), ratio(last.Used, r.unique(all)+last.Trees), 1.05)
	}
	add("barriers of a pull", float64(best.Barriers), 2)
	var memory int64
	for _, f := range append(own.Pulls, best) {
		memory = max(memory, f.Memory)
	}
	add("peak memory of a pull, MiB", float64(memory)/(1<<20), 24)
	add("second read, bytes from the device", float64(own.Read.Data), 0)
	add("second read, new pages of files over 16 KiB", float64((own.Read.Absent-own.Read.Small)/4096), 0)
	add("second read, new pages of smaller files", float64(own.Read.Small/4096), 0)
	for _, e := range r.Engines {
		if e == own {
			continue
		}
		peer := e.best()
		if e.Name == "containerd" {
			add("first pull, CPU / containerd's", best.CPU.Seconds()/peer.CPU.Seconds(), 0.7)
		}
		add("first pull, wall / "+e.Name+"'s", best.Wall.Seconds()/peer.Wall.Seconds(), 1)
	}
}

func (r *report) writeJSON(w io.Writer) error {
	r.judge()
	return measure.JSON(w, r)
}

func mb(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }

func ratio(a, b int64) float64 { return float64(a) / float64(b) }

func (r *report) writeTables(w io.Writer) error {
	r.judge()
	fmt.Fprintf(w, "%s, %d CPUs, %s, best of %d rounds; MB are 10^6 bytes\n", r.Kernel, r.CPUs, r.Date, r.Rounds)
	for _, e := range r.Engines {
		fmt.Fprintf(w, "  %-11s %s\n", e.Name, e.Version)
	}
	measure.Table(w, "\nimages, MB", "\tfiles\tlayer\tunpacked\tunique\tnew\t", func(t io.Writer) {
		for _, f := range r.Images {
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t\n", f.Name, f.Files, mb(f.Layer), mb(f.Tar), mb(f.Unique), mb(f.New))
		}
	})
	r.writePulls(w)
	r.writeRest(w)
	return r.Goals.Write(w, 2)
}

func (r *report) writePulls(w io.Writer) {
	measure.Table(w, "\nfirst pull", "\twall s\tCPU s\tmemory MB\twritten MB\t/ unpacked\t/ unique\twrites\tbarriers\tflushes\t", func(t io.Writer) {
		for _, e := range r.Engines {
			f := e.best()
			fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%s\t%s\t%.2f\t%.2f\t%d\t%d\t%d\t\n", e.Name, f.Wall.Seconds(), f.CPU.Seconds(), mb(f.Memory),
				mb(f.Written), ratio(f.Written, r.Images[0].Tar), ratio(f.Written, r.unique(1)), f.Writes, f.Barriers, f.Flushes)
		}
	})
	measure.Table(w, "\nsecond pull (most files are there, no layer is)",
		"\twall s\tCPU s\tmemory MB\twritten MB\t/ unpacked\t/ new\twrites\tbarriers\tflushes\t", func(t io.Writer) {
			for _, e := range r.Engines {
				f := e.Pulls[1]
				fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%s\t%s\t%.2f\t%.2f\t%d\t%d\t%d\t\n", e.Name, f.Wall.Seconds(), f.CPU.Seconds(), mb(f.Memory),
					mb(f.Written), ratio(f.Written, r.Images[1].Tar), ratio(f.Written, r.Images[1].New), f.Writes, f.Barriers, f.Flushes)
			}
		})
	head := "\tone\ttwo"
	if len(r.Images) > 2 {
		head += fmt.Sprintf("\t%d images\tof %d: / unique\twritten for %d", len(r.Images), len(r.Images), len(r.Images))
	}
	measure.Table(w, "\ndisk used, MB", head+"\t", func(t io.Writer) {
		all := len(r.Images)
		fmt.Fprintf(t, "unique bytes\t%s\t%s", mb(r.unique(1)), mb(r.unique(2)))
		if all > 2 {
			fmt.Fprintf(t, "\t%s\t1.00\t%s", mb(r.unique(all)), mb(r.unique(all)))
		}
		fmt.Fprintln(t, "\t")
		for _, e := range r.Engines {
			fmt.Fprintf(t, "%s\t%s\t%s", e.Name, mb(e.Pulls[0].Used), mb(e.Pulls[1].Used))
			if all > 2 {
				var written int64
				for _, f := range e.Pulls {
					written += f.Written
				}
				fmt.Fprintf(t, "\t%s\t%.2f\t%s", mb(e.Pulls[all-1].Used), ratio(e.Pulls[all-1].Used, r.unique(all)), mb(written))
			}
			fmt.Fprintln(t, "\t")
		}
	})
}

func (r *report) writeRest(w io.Writer) {
	measure.Table(w, "\nthe second image reads what the first has read, MB",
		"\tfiles\tbytes\tread for the first\tnot in memory\tof this small files\tread: metadata\tread: data\t", func(t io.Writer) {
			for _, e := range r.Engines {
				x := e.Read
				fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", e.Name, x.Files, mb(x.Bytes), mb(x.First), mb(x.Absent), mb(x.Small), mb(x.Metadata), mb(x.Data))
			}
		})
	measure.Table(w, "\nfirst container after a pull (caches cold)", "\twall ms\tCPU ms\twritten KB\tsecond image: wall ms\tCPU ms\t", func(t io.Writer) {
		for _, e := range r.Engines {
			a, b := e.Pulls[0].First, e.Pulls[1].First
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t\n", e.Name, a.Wall.Milliseconds(), a.CPU.Milliseconds(), a.Written/1000,
				b.Wall.Milliseconds(), b.CPU.Milliseconds())
		}
	})
	if s := r.Sizes; s != nil {
		measure.Table(w, "\nsize of all images, beside compressed file systems of the same trees, MB", "\tall\t", func(t io.Writer) {
			for _, e := range r.Engines {
				fmt.Fprintf(t, "%s\t%s\t\n", e.Name, mb(e.Pulls[len(e.Pulls)-1].Used))
			}
			fmt.Fprintf(t, "a squashfs (zstd) for each\t%s\t\n", mb(s.Squashfs))
			fmt.Fprintf(t, "one squashfs (zstd) of all\t%s\t\n", mb(s.SquashfsAll))
			fmt.Fprintf(t, "an EROFS (lz4hc) for each\t%s\t\n", mb(s.EROFS))
		})
	}
}

package enginecli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/flash"
)

const flashLong = `Tell what was written to the medium of the store since the boot, by whom, how much a day that is, and how long the
medium lasts at that rate, where it tells its wear (eMMC and UFS do, in tenths).

What a container or the engine wrote is counted when it goes to the medium; what nobody of them did is the rest of the system. Needs
no engine, but then knows no causes.`

// A cause is who wrote.
type cause struct {
	Name    string `json:"name"`
	Written int64  `json:"writtenBytes"`
}

// flashReport is the answer as JSON.
type flashReport struct {
	flash.Report
	PerDay int64         `json:"perDayBytes"`
	Left   time.Duration `json:"leftNanoseconds,omitempty"`
	Causes []cause       `json:"causes,omitempty"`
}

func flashCommand(s *session) cli.Command {
	var asJSON bool
	return cli.Command{
		Name: "flash", Short: "tell what was written to flash, and how long it lasts", Long: flashLong,
		Flags: func(f *cli.Flags) { f.Bool(&asJSON, "json", "", "print JSON") },
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			root, _ := s.Dirs()
			r, err := flash.Read(root)
			if err != nil {
				return fmt.Errorf("flash %s: %w", root, err)
			}
			out := flashReport{Report: r, PerDay: r.PerDay(), Left: r.Left(), Causes: s.causes(ctx, r.Written)}
			if asJSON {
				e := json.NewEncoder(c.Out)
				e.SetIndent("", "  ")
				return e.Encode(out)
			}
			return out.print(c)
		},
	}
}

func (r *flashReport) print(c *cli.Call) error {
	w := table(c.Out)
	row := func(name, text string) { fmt.Fprintf(w, "%s\t%s\n", name, text) }
	row("medium", r.Device)
	row("written since the boot", fmt.Sprintf("%s in %s, %d flushes", size(uint64(r.Written)), r.Since.Round(time.Minute), r.Flushes))
	row("a day at that rate", size(uint64(r.PerDay)))
	if r.Lifetime > 0 {
		row("by the file system, ever", size(uint64(r.Lifetime)))
	}
	switch {
	case r.Wear == 0:
		row("wear", "the medium does not tell")
	case r.EndNear != "":
		row("wear", fmt.Sprintf("up to %d %%, %s", r.Wear, r.EndNear))
	default:
		row("wear", fmt.Sprintf("up to %d %%", r.Wear))
	}
	if r.Left > 0 {
		row("left at that rate", fmt.Sprintf("%.1f years", r.Left.Hours()/24/365))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(r.Causes) == 0 {
		return nil
	}
	fmt.Fprintln(c.Out)
	w = table(c.Out)
	fmt.Fprintln(w, "BY\tWRITTEN")
	for _, x := range r.Causes {
		row(x.Name, size(uint64(x.Written)))
	}
	return w.Flush()
}

// causes is who wrote, as far as can be told: running containers, the engine, the keeper, and the rest.
func (s *session) causes(ctx context.Context, written int64) (all []cause) {
	var list []container.Summary
	if err := s.client().get(ctx, "/containers/json", nil, &list); err != nil {
		return nil // no engine
	}
	for _, one := range list {
		var stats container.StatsResponse
		query := url.Values{"stream": {"false"}, "one-shot": {"true"}}
		if err := s.client().get(ctx, "/containers/"+one.ID+"/stats", query, &stats); err != nil {
			continue // it has just ended
		}
		x := cause{Name: strings.TrimPrefix(strings.Join(one.Names, ","), "/")}
		for _, e := range stats.BlkioStats.IoServiceBytesRecursive {
			if strings.EqualFold(e.Op, "write") {
				x.Written += int64(e.Value)
			}
		}
		all = append(all, x)
	}
	for _, name := range []string{"tare-engine", "tare-keeper"} {
		all = append(all, cause{name, writtenBy(name)})
	}
	rest := written
	for _, x := range all {
		rest -= x.Written
	}
	return append(all, cause{"the rest of the system", max(rest, 0)})
}

// writtenBy is what processes of a name have caused to be written: proc_pid_io(5).
func writtenBy(name string) (sum int64) {
	names, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is right
	for _, path := range names {
		if text, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(text)) != name {
			continue
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "io"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "write_bytes: "); ok {
				n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				sum += n
			}
		}
	}
	return sum
}

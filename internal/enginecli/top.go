package enginecli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/console"
	"tare.dev/tare/internal/order"
)

const topLong = `Without a container: a view of what all containers take, which changes every two seconds. On it, c, m, d, n
sort by CPU, memory, disk and name, and q ends. Where there is no terminal, one table is printed.

With a container: its processes, as ps(1) of the host shows them with those arguments.`

func topCommand(s *session) cli.Command {
	return cli.Command{
		Name: "top", Args: "[CONTAINER [PS-ARGUMENT...]]", MaxArgs: cli.Many, StopAtArg: true,
		Short: "watch what containers take, or list one's processes", Long: topLong,
		Run: func(c *cli.Call) error {
			switch {
			case len(c.Args) > 0:
				return s.processes(c)
			case onTerminal(c):
				return s.view(c, nil)
			}
			ctx, cancel := interruptible()
			defer cancel()
			all, err := s.sampled(ctx, nil)
			if err != nil {
				return err
			}
			return statsTable(c.Out, all)
		},
	}
}

// processes is docker top.
func (s *session) processes(c *cli.Call) error {
	ctx, cancel := interruptible()
	defer cancel()
	q := url.Values{}
	if len(c.Args) > 1 {
		q.Set("ps_args", strings.Join(c.Args[1:], " "))
	}
	var out container.TopResponse
	if err := s.client().get(ctx, "/containers/"+c.Args[0]+"/top", q, &out); err != nil {
		return err
	}
	w := table(c.Out)
	fmt.Fprintln(w, strings.Join(out.Titles, "\t"))
	for _, p := range out.Processes {
		for n := range p {
			p[n] = harmless(p[n], 0)
		}
		fmt.Fprintln(w, strings.Join(p, "\t"))
	}
	return w.Flush()
}

// onTerminal tells whether a person sits at both ends.
func onTerminal(c *cli.Call) bool {
	in, ok1 := c.In.(*os.File)
	out, ok2 := c.Out.(*os.File)
	return ok1 && ok2 && console.Is(in) && console.Is(out)
}

// often is how often the view is drawn anew.
const often = 2 * time.Second

// view shows what containers take until the person has seen enough.
func (s *session) view(c *cli.Call, names []string) error {
	out := c.Out.(*os.File) // see onTerminal
	ctx, cancel := interruptible()
	defer cancel()
	m := newSampler(s.client(), names)
	first, err := m.take(ctx)
	if err != nil {
		return err
	}
	restore, err := console.MakeRaw(c.In.(*os.File))
	if err != nil {
		return err
	}
	fmt.Fprint(out, "\x1b[?1049h\x1b[?25l") // another screen, no cursor
	err = watch(ctx, &screen{out: out, machine: newMachine(), samples: first, past: map[string][]float64{}}, m, keys(c.In.(*os.File)))
	fmt.Fprint(out, "\x1b[?25h\x1b[?1049l")
	return errors.Join(err, restore())
}

// watch measures and draws, and obeys keys.
func watch(ctx context.Context, v *screen, m *sampler, typed <-chan byte) error {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	// The first share of the CPU needs a second look: soon, so that nobody sits before zeros.
	next := time.NewTimer(between)
	defer next.Stop()
	for {
		v.draw()
		select {
		case key := <-typed:
			if strings.IndexByte("qQ\x03\x1b", key) >= 0 {
				return nil
			}
			v.order(key)
		case <-resized:
		case <-next.C:
			all, err := m.take(ctx)
			if err != nil {
				return err
			}
			v.add(all)
			next.Reset(often)
		case <-ctx.Done():
			return nil
		}
	}
}

// keys are what is typed. Nobody waits for the goroutine: a read from the keyboard cannot be taken back,
// and the program ends after it.
func keys(in *os.File) <-chan byte {
	typed := make(chan byte)
	go func() {
		var b [1]byte
		for {
			if n, err := in.Read(b[:]); err != nil || n == 0 {
				return
			}
			typed <- b[0]
		}
	}()
	return typed
}

// order sorts by another column.
func (v *screen) order(key byte) {
	switch key {
	case 'c', 'm', 'd', 'n':
		v.by = key
	}
	v.sort()
}

func (v *screen) sort() {
	less := byCPU
	switch v.by {
	case 'm':
		less = func(a, b sample) int { return compare(b.Memory, a.Memory) }
	case 'd':
		less = func(a, b sample) int { return compare(b.Read+b.Written, a.Read+a.Written) }
	case 'n':
		less = func(a, b sample) int { return strings.Compare(a.Name, b.Name) }
	}
	order.Stably(v.samples, less)
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

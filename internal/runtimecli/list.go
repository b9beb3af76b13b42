package runtimecli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
	"tare.dev/tare/internal/order"
)

func listCommand(s *session) cli.Command {
	format, quiet := "table", false
	return cli.Command{
		Name:  "list",
		Short: "list containers, the oldest first",
		Flags: func(f *cli.Flags) {
			f.String(&format, "format", "f", "`FORMAT`: table or json")
			f.Bool(&quiet, "quiet", "q", "print the names only")
		},
		Run: func(c *cli.Call) error {
			st, err := s.store(c)
			if err != nil {
				return err
			}
			states, err := s.states(st)
			switch {
			case err != nil:
				return err
			case quiet:
				for _, state := range states {
					fmt.Fprintln(c.Out, state.ID)
				}
				return nil
			case format == "json":
				return printJSON(c.Out, states, "")
			case format == "table":
				return printStates(c.Out, states)
			}
			return c.Usagef("--format %s: want table or json", format)
		},
	}
}

// states reads the state of every container, by time and then by owner. What
// cannot be read is told, and the others are listed all the same.
func (s *session) states(st store) ([]stateJSON, error) {
	bad := func(err error) { s.log.warn(err.Error()) }
	all, err := st.List(bad)
	if err != nil {
		return nil, err
	}
	states := make([]stateJSON, 0, len(all))
	for _, h := range all {
		state, err := h.State()
		switch {
		case errors.Is(err, container.ErrNotExist): // deleted meanwhile
		case err != nil:
			bad(err)
		default:
			states = append(states, newStateJSON(state))
		}
	}
	order.Stably(states, func(a, b stateJSON) int {
		if d := a.Created.Compare(b.Created); d != 0 {
			return d
		}
		return strings.Compare(a.Owner+"\x00"+a.ID, b.Owner+"\x00"+b.ID)
	})
	return states, nil
}

func printStates(w io.Writer, states []stateJSON) error {
	rows := [][]string{{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}}
	for _, st := range states {
		rows = append(rows, []string{
			st.ID, strconv.Itoa(st.Pid), st.Status, st.Bundle,
			st.Created.Format(time.RFC3339Nano), st.Owner,
		})
	}
	return printTable(w, rows)
}

// printTable aligns columns, three blanks apart. (Package text/tabwriter would
// do it too, for 20 KB of the device's flash.)
func printTable(w io.Writer, rows [][]string) error {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell), 9)
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-len(cell)+3))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

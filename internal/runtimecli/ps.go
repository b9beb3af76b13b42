package runtimecli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"tare.dev/tare/internal/cli"
)

func psCommand(s *session) cli.Command {
	format := "table"
	return cli.Command{
		Name: "ps", Args: "ID [PS-OPTION...]", MinArgs: 1, MaxArgs: cli.Many, StopAtArg: true,
		Short: "list the processes of a container, as the host sees them",
		Flags: func(f *cli.Flags) {
			f.String(&format, "format", "f", "`FORMAT`: table or json (an array of process ids)")
		},
		Run: func(c *cli.Call) error {
			if format != "table" && format != "json" {
				return c.Usagef("--format %s: want table or json", format)
			}
			h, err := s.load(c)
			if err != nil {
				return err
			}
			pids, err := h.Pids()
			if err != nil {
				return err
			}
			slices.Sort(pids)
			if format == "json" {
				return printJSON(c.Out, append([]int{}, pids...), "") // [], never null
			}
			return printProcesses(c.Out, pids, c.Args[1:])
		},
	}
}

// printProcesses shows those lines of the host's ps that are about the pids. On a
// machine without a ps that knows the options, and none asked for, it is our own table.
func printProcesses(w io.Writer, pids []int, options []string) error {
	own := len(options) == 0
	if own {
		options = []string{"-ef"}
	}
	cmd := exec.Command("ps", options...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if own && err != nil { // not there, or busybox's, which refuses -e
		return printOwnTable(w, pids)
	}
	if err != nil {
		return fmt.Errorf("ps %s: %w: %s", strings.Join(options, " "), err, strings.TrimSpace(complaint.String()))
	}
	text, err := filterPS(string(out), pids)
	if err != nil {
		if own {
			return printOwnTable(w, pids)
		}
		return fmt.Errorf("ps %s: %w", strings.Join(options, " "), err)
	}
	_, err = io.WriteString(w, text)
	return err
}

// filterPS keeps the title and the lines whose PID column is one of the pids.
func filterPS(out string, pids []int) (string, error) {
	title, rest, _ := strings.Cut(out, "\n")
	column := slices.Index(strings.Fields(title), "PID")
	if column < 0 {
		return "", errors.New("its output has no PID column")
	}
	var b strings.Builder
	b.WriteString(title + "\n")
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) <= column {
			continue
		}
		if pid, err := strconv.Atoi(fields[column]); err == nil && slices.Contains(pids, pid) {
			b.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	return b.String(), nil
}

// printOwnTable reads /proc. A process that ends meanwhile is left out.
func printOwnTable(w io.Writer, pids []int) error {
	rows := [][]string{{"UID", "PID", "PPID", "STATE", "COMMAND"}}
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue
		}
		field := func(name string) string { return firstField(string(status), name) }
		shown := strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))
		if shown == "" {
			shown = "[" + field("Name") + "]" // a zombie has no command line
		}
		rows = append(rows, []string{field("Uid"), strconv.Itoa(pid), field("PPid"), field("State"), shown})
	}
	return printTable(w, rows)
}

// firstField finds "Name: value ..." in the text of /proc/PID/status (proc(5)).
func firstField(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			if fields := strings.Fields(value); len(fields) > 0 {
				return fields[0]
			}
		}
	}
	return "?"
}

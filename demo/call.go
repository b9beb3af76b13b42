package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// command is the runtime with arguments, its state in the demo's own directory.
func (d *demo) command(ctx context.Context, args ...string) *exec.Cmd {
	all := append(d.runtime[1:len(d.runtime):len(d.runtime)], "--root", d.state)
	return exec.CommandContext(ctx, d.runtime[0], append(all, args...)...)
}

// call runs the runtime and returns what it prints.
func (d *demo) call(ctx context.Context, args ...string) (string, error) {
	out, status, err := d.status(ctx, args...)
	if err == nil && status != 0 {
		err = fmt.Errorf("%s: exit status %d: %s", strings.Join(args, " "), status, strings.TrimSpace(out))
	}
	return out, err
}

// status is call for a command whose exit status is looked at.
func (d *demo) status(ctx context.Context, args ...string) (string, int, error) {
	cmd := d.command(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out.String(), exit.ExitCode(), nil
	}
	return out.String(), 0, err
}

// typed prints a command as a person would type it.
func (d *demo) typed(args ...string) {
	name := filepath.Base(d.runtime[0])
	line := strings.Join(append(append([]string{name}, d.runtime[1:]...), args...), " ")
	if dir, err := os.Getwd(); err == nil {
		line = strings.ReplaceAll(line, dir+"/", "")
	}
	fmt.Println("  " + bold("$ "+line))
}

// show prints text set in a little.
func show(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Println("  " + strings.TrimRight(line, "\r\n"))
	}
}

// bold is for terminals.
func bold(text string) string {
	if info, err := os.Stdout.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

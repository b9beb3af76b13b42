package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func (d *demo) showLife(ctx context.Context) error {
	if err := d.configure("sleep", "1000"); err != nil {
		return err
	}
	// Each is a command and the status the container must have after it.
	for _, step := range []struct {
		args   []string
		status specs.ContainerState
	}{
		{[]string{"create", "--bundle", d.bundle, id}, specs.StateCreated},
		{[]string{"start", id}, specs.StateRunning},
		{[]string{"exec", id, "ps", "-eo", "pid,args"}, specs.StateRunning},
		{[]string{"pause", id}, "paused"},
		{[]string{"resume", id}, specs.StateRunning},
		{[]string{"kill", id, "KILL"}, specs.StateStopped},
	} {
		d.typed(step.args...)
		out, err := d.life(ctx, step.args)
		if err != nil {
			return err
		}
		show(out)
		// ps shows its heading, sleep and itself.
		if lines := strings.Count(out, "\n"); step.args[0] == "exec" && lines != 3 {
			return fmt.Errorf("exec sees %d lines of processes, want 3", lines)
		}
		if err := d.await(ctx, step.status); err != nil {
			return fmt.Errorf("after %s: %w", step.args[0], err)
		}
	}
	d.typed("delete", id)
	if _, err := d.call(ctx, "delete", id); err != nil {
		return err
	}
	if out, err := d.call(ctx, "state", id); err == nil {
		return fmt.Errorf("state after delete = %s", out)
	}
	return nil
}

// life runs one command. create's container keeps whatever output it is given, so it gets none.
func (d *demo) life(ctx context.Context, args []string) (string, error) {
	if args[0] != "create" {
		return d.call(ctx, args...)
	}
	if err := d.command(ctx, args...).Run(); err != nil {
		return "", fmt.Errorf("create: %w", err)
	}
	return "", nil
}

// await waits for a status: a killed process takes a moment to die.
func (d *demo) await(ctx context.Context, want specs.ContainerState) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		out, err := d.call(ctx, "state", id)
		if err != nil {
			return err
		}
		var state specs.State
		if err := json.Unmarshal([]byte(out), &state); err != nil {
			return fmt.Errorf("state: %w: %s", err, strings.TrimSpace(out))
		}
		if state.Status == want {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("status is %s, want %s", state.Status, want)
		}
	}
}

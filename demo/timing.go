package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// repetitions of each runtime; enough for a minimum that does not move much.
const repetitions = 25

// A timing is one whole `run`, from before the fork of the runtime to its reaping.
type timing struct {
	Wall, CPU time.Duration
}

func (d *demo) showStart(ctx context.Context) error {
	if err := d.configure("true"); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-timing", d.bundle, strings.Join(d.runtime, " "), "crun")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	var results [][]timing
	if err := json.Unmarshal(out, &results); err != nil {
		return err
	}
	d.typed("run", "--bundle", d.bundle, id)
	show(fmt.Sprintf("the same bundle, /usr/bin/true in it, %d times each, in turn; milliseconds", repetitions))
	fmt.Println()
	show("               wall               processor")
	show("               least    median    least    median")
	for i, name := range []string{filepath.Base(d.runtime[0]), "crun"} {
		wall := sorted(results[i], func(t timing) time.Duration { return t.Wall })
		cpu := sorted(results[i], func(t timing) time.Duration { return t.CPU })
		show(fmt.Sprintf("%-12s %7.1f   %7.1f  %7.1f   %7.1f", name, ms(wall[0]), ms(wall[len(wall)/2]), ms(cpu[0]), ms(cpu[len(cpu)/2])))
	}
	return nil
}

// measure times the runtimes in turn and prints the results as JSON. It has a mount namespace of its
// own, because crun 1.8 refuses a v1 machine whose v2 tree has controllers: both go without that tree.
func measure(ctx context.Context, args []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	err := unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount the v2 tree: %w", err)
	}
	bundle, runtimes := args[0], args[1:]
	results := make([][]timing, len(runtimes))
	for range repetitions {
		for i, runtime := range runtimes {
			t, err := timeRun(ctx, runtime, bundle)
			if err != nil {
				return err
			}
			results[i] = append(results[i], t)
		}
	}
	// crun makes a directory and a file where the v2 tree was, in the tmpfs below, and leaves them.
	if err := os.RemoveAll("/sys/fs/cgroup/unified/" + id); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func timeRun(ctx context.Context, runtime, bundle string) (timing, error) {
	words := append(strings.Fields(runtime), "--root", filepath.Join(bundle, "state-"+filepath.Base(strings.Fields(runtime)[0])))
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], "run", "--bundle", bundle, id)...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return timing{}, fmt.Errorf("%s run: %w", runtime, err)
	}
	wall := time.Since(start)
	// The runtime has waited for the container's process, so its children's time is all of it.
	return timing{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

func sorted(all []timing, of func(timing) time.Duration) []time.Duration {
	var list []time.Duration
	for _, t := range all {
		list = append(list, of(t))
	}
	slices.Sort(list)
	return list
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

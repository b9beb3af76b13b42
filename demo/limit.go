package main

import (
	"context"
	"fmt"
	"strings"
)

// greedy asks in a child of the first process for memory within the limit and over it; dd keeps a whole
// block.
const greedy = `
dd if=/dev/zero of=/dev/null bs=32M count=1
dd if=/dev/zero of=/dev/null bs=256M count=1
echo "the container itself goes on"
`

func (d *demo) showMemoryLimit(ctx context.Context) error {
	if err := d.configure("bash", "-c", greedy); err != nil {
		return err
	}
	d.typed("run", "--bundle", d.bundle, id)
	out, err := d.call(ctx, "run", "--bundle", d.bundle, id)
	if err != nil {
		return err
	}
	show(out)
	if !strings.Contains(out, "33554432 bytes") || strings.Contains(out, "268435456 bytes") || !strings.Contains(out, "goes on") {
		return fmt.Errorf("the limit did not hold")
	}
	// The same as the first process: its end is the container's.
	if err := d.configure("dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"); err != nil {
		return err
	}
	fmt.Println()
	d.typed("run", "--bundle", d.bundle, id)
	_, status, err := d.status(ctx, "run", "--bundle", d.bundle, id)
	if err != nil {
		return err
	}
	show(fmt.Sprintf("exit status %d", status))
	if status != 137 {
		return fmt.Errorf("exit status %d, want 137 (128 + SIGKILL)", status)
	}
	return nil
}

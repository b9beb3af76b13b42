package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// view is what runs inside: each part begins with a line that names it.
const view = `
echo "@ host name"; hostname
echo "@ processes"; ps -eo pid,user,comm
echo "@ network"; ip -brief address
echo "@ mounts"; findmnt --raw --noheadings --output TARGET,FSTYPE | head -n 60
echo "@ root"; touch /file 2>&1
exit 0
`

func (d *demo) showView(ctx context.Context) error {
	if err := d.configure("sh", "-c", view); err != nil {
		return err
	}
	d.typed("run", "--bundle", d.bundle, id)
	out, err := d.call(ctx, "run", "--bundle", d.bundle, id)
	if err != nil {
		return err
	}
	show(strings.ReplaceAll(out, "@ ", "\n"))
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Println()
	show(fmt.Sprintf("Outside: host name %s, %d processes, %d mounts.", host, d.before.processes, len(d.before.mounts)))
	return checkView(out)
}

// checkView holds the parts against what a container of its own must look like.
func checkView(out string) error {
	parts := map[string][]string{}
	name := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "@ "); ok {
			name = title
		} else if line != "" {
			parts[name] = append(parts[name], line)
		}
	}
	var wrong []error
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	hostname := strings.Join(parts["host name"], " ")
	expect(hostname == "container", "host name is %q", hostname)
	expect(len(parts["processes"]) == 3, "%d lines of processes, want a heading, sh and ps", len(parts["processes"]))
	network := strings.Join(parts["network"], "\n")
	expect(len(parts["network"]) == 1 && strings.HasPrefix(network, "lo "), "network is %q, want lo alone", network)
	mounts := strings.Join(parts["mounts"], "\n")
	expect(strings.HasPrefix(mounts, "/ ") && strings.Contains(mounts, "/proc proc"), "mounts are %q", mounts)
	expect(strings.Contains(strings.Join(parts["root"], " "), "Read-only file system"), "the root can be written to")
	return errors.Join(wrong...)
}

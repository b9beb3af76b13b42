package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"tare.dev/tare/test/vm/suite"
)

// run runs the suites meant for systemd or the others, and reports over the serial port. After the
// last suite of the machine it says that all is done.
func run(systemd bool) error {
	out, err := openPort()
	if err != nil {
		return err
	}
	defer out.Close()
	suites, err := readSuites(systemd)
	if err != nil {
		return err
	}
	for _, s := range suites {
		fmt.Fprintln(out, s.Begin())
		status, err := runSuite(s, out)
		if err != nil {
			fmt.Fprintf(out, "\nguest: run %s: %v\n", s.Name, err)
		}
		// A test that was killed may have left a line open.
		fmt.Fprintf(out, "\n%s\n", s.End(status))
	}
	later, err := readSuites(true)
	if err != nil {
		return err
	}
	if systemd || len(later) == 0 {
		fmt.Fprintln(out, suite.Done)
	}
	return nil
}

// runSuite returns the exit status of one suite, or -1 with the reason when it has none.
func runSuite(s suite.Suite, out io.Writer) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.Seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Program, s.Args...)
	cmd.Dir = s.Dir
	cmd.Stdout, cmd.Stderr = out, out
	// Linux before 6.3 maps no ids on tmpfs: temporary files are on the disk.
	cmd.Env = append([]string{
		"TMPDIR=/var/tmp", "PATH=" + path, "HOME=/root", "USER=root", "TERM=dumb", "LANG=C.UTF-8", "CI=true", "TARE_VM=1",
	}, s.Env...)
	// A background process that keeps the output open must not hold up the machine.
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return -1, fmt.Errorf("killed after %d s", s.Seconds)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return -1, err
	}
	return 0, nil
}

func readSuites(systemd bool) ([]suite.Suite, error) {
	text, err := os.ReadFile(suite.File)
	if err != nil {
		return nil, err
	}
	var all, chosen []suite.Suite
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", suite.File, err)
	}
	for _, s := range all {
		if s.Systemd == systemd {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

// openPort opens the port that carries results; the console is for the kernel. The name has the number
// that the kernel gave to its bus.
func openPort() (*os.File, error) {
	const pattern = "/dev/vport*p1"
	ports, err := filepath.Glob(pattern)
	if err != nil || len(ports) != 1 {
		return nil, fmt.Errorf("%s: want one port, have %q", pattern, ports)
	}
	return os.OpenFile(ports[0], os.O_RDWR, 0)
}

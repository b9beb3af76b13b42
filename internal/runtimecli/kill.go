package runtimecli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

func killCommand(s *session) cli.Command {
	var all bool
	return cli.Command{
		Name: "kill", Args: "ID [SIGNAL]", MinArgs: 1, MaxArgs: 2,
		Short: "send a signal, TERM unless given, to a container's first process",
		Flags: func(f *cli.Flags) {
			f.Bool(&all, "all", "a", "send it to every process of the container; none left is no error")
		},
		Run: func(c *cli.Call) error {
			name := "TERM"
			if len(c.Args) == 2 {
				name = c.Args[1]
			}
			sig, err := parseSignal(name)
			if err != nil {
				return err
			}
			h, err := s.load(c)
			if err != nil {
				return err
			}
			err = h.Signal(sig, all)
			switch {
			case !errors.Is(err, container.ErrNotRunning):
				return err
			case all:
				return nil
			}
			// containerd looks for these very words to see that there is nothing left to kill.
			return fmt.Errorf("kill %s: container not running", c.Args[0])
		},
	}
}

// Real-time signals as glibc counts them: the first two of the kernel's are its own.
const sigRTMin, sigRTMax = 34, 64

// parseSignal reads a signal's number or its name in either case, with or
// without SIG: 9, KILL, sigkill, RTMIN+3. Signal 0 only asks for permission.
func parseSignal(text string) (unix.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil {
		if n < 0 || n > sigRTMax {
			return 0, fmt.Errorf("signal %d: want 0 to %d", n, sigRTMax)
		}
		return unix.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return n, nil
	}
	if n, ok := realTimeSignal(name); ok {
		return n, nil
	}
	return 0, fmt.Errorf("unknown signal %q", text)
}

func realTimeSignal(name string) (unix.Signal, bool) {
	base, rest := sigRTMin, strings.TrimPrefix(name, "RTMIN")
	if strings.HasPrefix(name, "RTMAX") {
		base, rest = sigRTMax, strings.TrimPrefix(name, "RTMAX")
	}
	switch {
	case rest == name:
		return 0, false
	case rest == "":
		return unix.Signal(base), true
	case rest[0] != '+' && rest[0] != '-':
		return 0, false
	}
	offset, err := strconv.Atoi(rest)
	n := base + offset
	if err != nil || n < sigRTMin || n > sigRTMax {
		return 0, false
	}
	return unix.Signal(n), true
}

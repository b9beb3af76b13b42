package container

import (
	"fmt"

	"tare.dev/tare/internal/program"
)

// Explain returns the program that would start the bundle, as text.
func Explain(bundle string, o CreateOptions) (string, error) {
	o.Bundle = bundle
	if o.Warn == nil {
		o.Warn = func(string, ...any) {}
	}
	k := &creation{o: o, c: &Container{dir: "/run/tare/runtime/ID"}, pidfd: -1}
	defer k.pipes.closeAll()
	if err := k.load("ID", false); err != nil {
		return "", fmt.Errorf("explain %s: %w", bundle, err)
	}
	// Descriptors that would be opened are given numbers only.
	k.in.Stdio = [3]int{0, 1, 2}
	k.in.ConsoleFD, k.in.ListenerFD, k.in.HookStateFD = 60, 61, 62
	k.in.GateFD, k.in.GateParentFD = 63, 64
	k.in.Fork = program.NeedsFork(&k.in)
	p, err := program.Compile(&k.in)
	if err != nil {
		return "", fmt.Errorf("explain %s: %w", bundle, err)
	}
	return p.Text(), nil
}

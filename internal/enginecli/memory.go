package enginecli

import (
	"fmt"
	"strconv"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/engine"
)

// memoryRules are what the engine does about memory, by the flags of tare daemon.
type memoryRules struct {
	reserve  int64
	pressure string
}

func (m *memoryRules) flags(f *cli.Flags) {
	f.Func(sizeTo(&m.reserve), "memory-reserve", "", "`SIZE` of memory that is kept for the system when containers are guaranteed some (a tenth, and 32m at least)")
	f.String(&m.pressure, "memory-pressure", "", "`STALL/AVAILABLE`, how long in a second something waits for memory, and what part of it is left, "+
		"when the least important containers give way, or off (150ms/20%)")
}

func (m *memoryRules) options() (o engine.PressureOptions, err error) {
	if m.pressure == "" {
		return o, nil
	}
	if o, err = engine.ParsePressure(m.pressure); err != nil {
		return o, fmt.Errorf("daemon: --memory-pressure %w", err)
	}
	return o, nil
}

// arguments are the flags again, for the engine's own command line.
func (m *memoryRules) arguments() (args []string) {
	if m.reserve > 0 {
		args = append(args, "--memory-reserve", strconv.FormatInt(m.reserve, 10))
	}
	if m.pressure != "" {
		args = append(args, "--memory-pressure", m.pressure)
	}
	return args
}

package container

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/sysprog"
)

// serve does the parent's part at a gate, while the child waits.
func (k *creation) serve(g program.Gate, mem *sysprog.Memory) error {
	switch g {
	case program.GateMaps:
		return k.mapIDs()
	case program.GateCgroup:
		return k.startUnit()
	case program.GateNetDevices:
		return k.moveNetDevices()
	case program.GateCreateRuntime:
		k.hooked = true
		if err := k.c.runHooks("prestart", k.spec, specs.StateCreating, k.pid); err != nil {
			return err
		}
		return k.c.runHooks("createRuntime", k.spec, specs.StateCreating, k.pid)
	case program.GatePlace:
		return k.makePlace()
	case program.GateCopyUp:
		return k.copyUpOld()
	case program.GateCreateContainer:
		k.hooked = true
		return k.writeHookState(specs.StateCreating)
	case program.GateStartContainer:
		return k.writeHookState(specs.StateCreated)
	case program.GateListener:
		return k.writeListenerState(mem)
	case program.GateReady:
		if k.in.Spec == nil || len(k.spec.Linux.UIDMappings) == 0 {
			return nil
		}
		return k.setLimits() // the last moment: few descriptors could be in the way before
	}
	return fmt.Errorf("process at unknown gate %q", byte(g))
}

// state is what hooks and listeners are told.
func (c *Container) hookState(status specs.ContainerState, pid int) specs.State {
	return specs.State{
		Version: specs.Version, ID: c.rec.ID, Status: status, Pid: pid, Bundle: c.rec.Bundle, Annotations: c.rec.Notes,
	}
}

func (k *creation) writeHookState(status specs.ContainerState) error {
	b, err := json.Marshal(k.c.hookState(status, hookPid(k.pid)))
	if err != nil {
		return fmt.Errorf("write hook state: %w", err)
	}
	if err := unix.Ftruncate(k.in.HookStateFD, 0); err != nil {
		return fmt.Errorf("write hook state: %w", err)
	}
	if _, err := unix.Pwrite(k.in.HookStateFD, b, 0); err != nil {
		return fmt.Errorf("write hook state: %w", err)
	}
	return nil
}

// writeListenerState fills the message that goes to the seccomp listener with
// the new descriptor. See "Seccomp Container Process State" in config-linux.md.
func (k *creation) writeListenerState(mem *sysprog.Memory) error {
	state := k.c.hookState(specs.StateCreating, k.pid)
	if k.in.Spec == nil { // an exec
		status, first := k.c.status()
		state = k.c.hookState(status, first.pid)
	}
	return fillListenerState(mem, k.prog, specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: k.pid, Metadata: k.in.Seccomp.ListenerMetadata, State: state,
	})
}

func fillListenerState(mem *sysprog.Memory, p *program.Program, s specs.ContainerProcessState) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write listener state: %w", err)
	}
	room := mem.Bytes(p.SeccompState)
	if copy(room, b) < len(b) {
		return fmt.Errorf("write listener state: %d bytes are more than %d", len(b), len(room))
	}
	size := mem.Bytes(p.SeccompIov)[sysprog.WordSize:]
	if sysprog.WordSize == 8 {
		binary.NativeEndian.PutUint64(size, uint64(len(b)))
	} else {
		binary.NativeEndian.PutUint32(size, uint32(len(b)))
	}
	return nil
}

// startUnit lets systemd make the scope around the waiting process, then sets
// the limits that systemd has no property for.
func (k *creation) startUnit() error {
	if err := k.plan.StartUnit(context.Background(), k.pid); err != nil {
		return err
	}
	return k.plan.Enter(k.pid)
}

// setLimits sets the limits that a process in a user namespace may not raise.
func (k *creation) setLimits() error {
	for _, r := range k.spec.Process.Rlimits {
		n, _ := program.Rlimit(r.Type)
		if err := unix.Prlimit(k.pid, n, &unix.Rlimit{Cur: r.Soft, Max: r.Hard}, nil); err != nil {
			return fmt.Errorf("set %s: %w", r.Type, err)
		}
	}
	return nil
}

// setOOMScore sets what a process in a user namespace may not lower.
func (k *creation) setOOMScore() error {
	p := k.spec.Process
	if p.OOMScoreAdj == nil {
		return nil
	}
	path := "/proc/" + strconv.Itoa(k.pid) + "/oom_score_adj"
	if err := os.WriteFile(path, []byte(strconv.Itoa(*p.OOMScoreAdj)), 0); err != nil {
		if now, _ := os.ReadFile(path); k.rootless() && string(now) != "" {
			// Lowering it takes CAP_SYS_RESOURCE; engines copy their own value.
			k.o.Warn("oom_score_adj %d: %v", *p.OOMScoreAdj, err)
			return nil
		}
		return fmt.Errorf("set oom_score_adj: %w", err)
	}
	return nil
}

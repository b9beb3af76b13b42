package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// runHooks runs the hooks of one kind in the runtime's namespaces, in order,
// with the container's state on their standard input. The first failure ends it,
// except for poststop hooks.
func (c *Container) runHooks(kind string, spec *specs.Spec, status specs.ContainerState, pid int) error {
	if spec == nil || spec.Hooks == nil {
		return nil
	}
	list := map[string][]specs.Hook{
		"prestart":      spec.Hooks.Prestart, //nolint:staticcheck // deprecated but in use
		"createRuntime": spec.Hooks.CreateRuntime,
		"poststart":     spec.Hooks.Poststart,
		"poststop":      spec.Hooks.Poststop,
	}[kind]
	if len(list) == 0 {
		return nil
	}
	state, err := json.Marshal(c.hookState(status, pid))
	if err != nil {
		return fmt.Errorf("%s hooks: %w", kind, err)
	}
	var errs error
	for i := range list {
		err := runHook(&list[i], state, c.rec.Bundle)
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s hook %s: %w", kind, list[i].Path, err)
		if kind != "poststop" {
			return err
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// runPoststop runs the hooks that clean up. All are run; the specification
// wants their failures as warnings.
func (c *Container) runPoststop(spec *specs.Spec) error {
	return c.runHooks("poststop", spec, specs.StateStopped, 0)
}

func runHook(h *specs.Hook, state []byte, dir string) error {
	ctx := context.Background()
	if h.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, h.Path)
	cmd.Args = h.Args
	if len(cmd.Args) == 0 {
		cmd.Args = []string{h.Path}
	}
	cmd.Env = h.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would pass our own on
	}
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(state)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // a grandchild may hold the pipe
	err := cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("timed out after %d s", *h.Timeout)
	}
	if said := strings.TrimSpace(out.String()); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

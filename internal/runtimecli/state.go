package runtimecli

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

// stateJSON is what state and list print: the state of the OCI runtime
// specification with runc's additions. Podman and containerd read it.
type stateJSON struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"` // 0 when stopped
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`

	// ExitStatus is present when the container has stopped and its status is known.
	ExitStatus *int `json:"exitStatus,omitempty"`
}

func newStateJSON(st container.State) stateJSON {
	pid := st.Pid
	if st.Status == specs.StateStopped {
		pid = 0
	}
	return stateJSON{
		Version:     st.Version,
		ID:          st.ID,
		Pid:         pid,
		Status:      string(st.Status),
		Bundle:      st.Bundle,
		Rootfs:      st.Rootfs,
		Created:     st.Created.UTC(),
		Annotations: st.Annotations,
		Owner:       st.Owner,
		ExitStatus:  st.ExitStatus,
	}
}

func stateCommand(s *session) cli.Command {
	return cli.Command{
		Name: "state", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "print the state of a container as JSON",
		Run: func(c *cli.Call) error {
			h, err := s.load(c)
			if err != nil {
				return err
			}
			st, err := h.State()
			if err != nil {
				return err
			}
			return printJSON(c.Out, newStateJSON(st), "  ")
		},
	}
}

// printJSON writes v on lines of its own, indented unless indent is "".
func printJSON(w io.Writer, v any, indent string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

package runtimecli

import (
	"errors"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

func deleteCommand(s *session) cli.Command {
	var force bool
	return cli.Command{
		Name: "delete", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "remove what a stopped container leaves: control groups and state",
		Flags: func(f *cli.Flags) {
			f.Bool(&force, "force", "f", "kill it first; a container that is gone already is no error")
		},
		Run: func(c *cli.Call) error {
			h, err := s.load(c)
			if err == nil {
				err = s.remove(h, force)
			}
			if force && errors.Is(err, container.ErrNotExist) {
				return nil
			}
			return err
		},
	}
}

// remove deletes the container and what was made for it beside it.
func (s *session) remove(h handle, force bool) error {
	if err := h.Delete(force); err != nil {
		return err
	}
	root, err := s.rootDir()
	if err != nil {
		return err
	}
	return removeNotify(notifyPath(root, h.ID()))
}

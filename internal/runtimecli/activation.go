package runtimecli

import (
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/container"
)

// inherit puts into o what systemd has for the container: opened sockets, and
// the wish to be told when it is ready. The notifier is nil without that wish.
func (s *session) inherit(id string, o *container.CreateOptions) (*notifier, error) {
	sockets, err := s.activated()
	if err != nil {
		return nil, err
	}
	o.PreserveFDs += sockets
	if err := checkPreserved(o.PreserveFDs); err != nil {
		return nil, err
	}
	n, err := s.newNotifier(id)
	if err != nil || n == nil && sockets == 0 {
		return nil, err
	}
	o.Edit = func(spec *specs.Spec) {
		addActivated(spec, sockets)
		if n != nil {
			n.edit(spec)
		}
	}
	if n == nil {
		return nil, nil
	}
	return n, n.prepare()
}

// activated is the number of sockets that systemd opened for us, from descriptor 3
// on, to be handed to the container (sd_listen_fds(3)). Variables meant for
// another process, to whom we are a child, are not ours to act on.
func (s *session) activated() (int, error) {
	count := s.getenv("LISTEN_FDS")
	if count == "" || s.getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("LISTEN_FDS=%s: want a number", count)
	}
	return n, nil
}

// addActivated tells the container's first process of its n sockets. They come
// before other preserved descriptors, so that they keep their numbers.
func addActivated(spec *specs.Spec, n int) {
	if n == 0 || spec.Process == nil {
		return
	}
	// The first process of a pid namespace has the id 1; where there is no
	// such namespace its id is not known before it runs, and the variable is left
	// out, though sd_listen_fds(3) then declines: better than a wrong promise.
	spec.Process.Env = append(spec.Process.Env, "LISTEN_FDS="+strconv.Itoa(n))
	if hasNewPidNamespace(spec) {
		spec.Process.Env = append(spec.Process.Env, "LISTEN_PID=1")
	}
}

func hasNewPidNamespace(spec *specs.Spec) bool {
	if spec.Linux == nil {
		return false
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path == ""
		}
	}
	return false
}

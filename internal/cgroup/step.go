package cgroup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// StepKind is what a Step does.
type StepKind int

// The kinds of steps.
const (
	Mkdir StepKind = iota // mkdir(Path, 0755)
	Write                 // open(Path, O_WRONLY), one write(2) of Value, close
	Chown                 // chown(Path, UID, -1)
)

// Step is one file system call of a plan. Steps are executed in order.
type Step struct {
	Kind  StepKind
	Path  string
	Value string
	UID   int // Chown: the new owner as the host numbers it

	// Optional: a failure is tolerated. Only where kernels differ in what they
	// offer and the specification lets us go without; each use says why.
	Optional bool

	// MustBeNew: a directory that exists already is an error. It is set for the
	// container's own directory when it was not there at the time of planning,
	// so that two containers never share one by a race.
	MustBeNew bool

	// Else is a Write to be tried when Path does not exist (ENOENT): the same
	// setting under the name that other kernels give it.
	Else *Step
}

// Do executes the step in this process.
func (s Step) Do() error {
	err := s.do()
	if err != nil && s.Else != nil && errors.Is(err, unix.ENOENT) {
		return s.Else.Do()
	}
	if s.Optional {
		return nil
	}
	return err
}

func (s Step) do() error {
	switch s.Kind {
	case Mkdir:
		err := unix.Mkdir(s.Path, 0o755)
		if err == nil || err == unix.EEXIST && !s.MustBeNew {
			return nil
		}
		return fmt.Errorf("mkdir %s: %w", s.Path, err)
	case Write:
		return writeFile(s.Path, s.Value)
	case Chown:
		if err := unix.Chown(s.Path, s.UID, -1); err != nil {
			return fmt.Errorf("chown %s to %d: %w", s.Path, s.UID, err)
		}
		return nil
	}
	panic(fmt.Sprintf("cgroup: step of kind %d", s.Kind))
}

// Run executes steps in order and stops at the first failure.
func Run(steps []Step) error {
	for _, s := range steps {
		if err := s.Do(); err != nil {
			return err
		}
	}
	return nil
}

// String shows the step as a shell would write it.
func (s Step) String() string {
	var text string
	switch s.Kind {
	case Mkdir:
		text = "mkdir " + s.Path
	case Write:
		text = fmt.Sprintf("write %q to %s", s.Value, s.Path)
	case Chown:
		text = fmt.Sprintf("chown %d %s", s.UID, s.Path)
	}
	if s.MustBeNew {
		text += " (must be new)"
	}
	if s.Else != nil {
		text += " or else " + s.Else.String()
	}
	if s.Optional {
		text += " (optional)"
	}
	return text
}

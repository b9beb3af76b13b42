package seccomp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxInsns is BPF_MAXINSNS, the longest program that seccomp(2) takes.
const maxInsns = 4096

// A Filter is a compiled profile.
type Filter struct {
	// Prog is loaded with seccomp(2) SECCOMP_SET_MODE_FILTER.
	Prog []unix.SockFilter
	// Flags are SECCOMP_FILTER_FLAG_* for that call, with NEW_LISTENER when
	// Notify is set: the call then returns the listener's descriptor.
	Flags uint
	// Notify tells that a rule hands calls to a listener, which is to receive
	// the descriptor and ListenerMetadata over the socket at ListenerPath.
	Notify                         bool
	ListenerPath, ListenerMetadata string
	// Warnings name what in the profile has no effect, one line each.
	Warnings []string

	// bigEndian is the byte order of the seccomp_data that Prog reads.
	bigEndian bool
}

// Compile translates a profile for a kernel whose native ABI is that of
// goarch. It is pure. Errors name the place in config.json and what is wrong
// there.
func Compile(cfg *specs.LinuxSeccomp, goarch string) (*Filter, error) {
	native := nativeArch(goarch)
	if native < 0 {
		return nil, fmt.Errorf("linux.seccomp: no system call table for %s", goarch)
	}
	if cfg == nil {
		return nil, errors.New("linux.seccomp: is not set")
	}
	p, err := parse(cfg, native)
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp.%w", err)
	}
	f := &Filter{
		Flags:            p.flags,
		Notify:           p.notify,
		ListenerPath:     cfg.ListenerPath,
		ListenerMetadata: cfg.ListenerMetadata,
		Warnings:         p.warnings,
		bigEndian:        archs[native].big,
	}
	f.Prog, err = p.program(&f.Warnings)
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp.%w", err)
	}
	if len(f.Prog) > maxInsns {
		return nil, fmt.Errorf("linux.seccomp: needs %d BPF instructions, the kernel takes %d", len(f.Prog), maxInsns)
	}
	return f, nil
}

// Actions returns the actions a profile may name, in the spec's order.
func Actions() []string { return words(actionNames) }

// Operators returns the operators an argument test may name.
func Operators() []string { return words(operatorNames) }

// Flags returns the seccomp(2) flags a profile may name.
func Flags() []string { return words(flagNames) }

// Archs returns the ABIs a profile may name. Those that the running kernel
// never reports are accepted and left out of the program.
func Archs() []string {
	s := make([]string, len(archs))
	for i := range archs {
		s[i] = archPrefix + archs[i].name
	}
	return s
}

// SyscallNumber returns the number of a call in the native ABI of goarch.
func SyscallNumber(name, goarch string) (int, bool) {
	native := nativeArch(goarch)
	if native < 0 {
		return 0, false
	}
	id, ok := lookupName(name)
	if !ok {
		return 0, false
	}
	nr, ok := archs[native].number(id)
	return int(nr), ok
}

func words(s string) []string { return strings.Fields(s) }

// wordIndex returns the place of word in a space-separated list, or -1.
func wordIndex(list, word string) int {
	i := 0
	for w := range strings.FieldsSeq(list) {
		if w == word {
			return i
		}
		i++
	}
	return -1
}

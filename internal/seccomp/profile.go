package seccomp

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The words of a profile, in the order of actionVerdicts, op and flagBits.
const (
	actionPrefix = "SCMP_ACT_"
	actionNames  = "SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_KILL_THREAD SCMP_ACT_TRAP SCMP_ACT_ERRNO " +
		"SCMP_ACT_TRACE SCMP_ACT_ALLOW SCMP_ACT_LOG SCMP_ACT_NOTIFY"
	operatorNames = "SCMP_CMP_NE SCMP_CMP_LT SCMP_CMP_LE SCMP_CMP_EQ SCMP_CMP_GE SCMP_CMP_GT SCMP_CMP_MASKED_EQ"
	flagNames     = "SECCOMP_FILTER_FLAG_TSYNC SECCOMP_FILTER_FLAG_LOG SECCOMP_FILTER_FLAG_SPEC_ALLOW " +
		"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
)

// Verdicts, as a filter returns them.
const (
	retKillProcess = unix.SECCOMP_RET_KILL_PROCESS
	retKillThread  = unix.SECCOMP_RET_KILL_THREAD
	retTrap        = unix.SECCOMP_RET_TRAP
	retErrno       = unix.SECCOMP_RET_ERRNO
	retNotify      = unix.SECCOMP_RET_USER_NOTIF
	retTrace       = unix.SECCOMP_RET_TRACE
	retLog         = unix.SECCOMP_RET_LOG
	retAllow       = unix.SECCOMP_RET_ALLOW

	// badArch is the verdict for an ABI that the profile does not list, as
	// in libseccomp.
	badArch = retKillThread
	// noCall is what a kernel says of a call it does not have.
	noCall = retErrno | uint32(unix.ENOSYS)
)

var (
	actionVerdicts = [...]uint32{retKillThread, retKillProcess, retKillThread, retTrap, retErrno, retTrace, retAllow, retLog, retNotify}
	flagBits       = [...]uint{
		unix.SECCOMP_FILTER_FLAG_TSYNC, unix.SECCOMP_FILTER_FLAG_LOG,
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
	}
)

// maxErrno is the kernel's MAX_ERRNO: it cuts larger values in a verdict.
const maxErrno = 4095

// An op is a comparison, in the order of operatorNames.
type op uint8

const (
	opNE op = iota
	opLT
	opLE
	opEQ
	opGE
	opGT
	opMasked
)

// A test compares one argument of a call, under a mask: all the bits that the
// ABI compares but for opMasked.
type test struct {
	arg         uint8
	op          op
	mask, value uint64
}

// A rule gives a verdict to calls that pass all of its tests.
type rule struct {
	verdict uint32
	tests   []test
	// blind marks a rule that stands for tests that cannot be made.
	blind bool
}

// An entry ties a call to the rules of its block, p.rules[first:end].
type entry struct {
	name       nameID
	first, end uint32
}

// A profile is a checked LinuxSeccomp whose words are resolved, still without
// regard to ABIs.
type profile struct {
	def      uint32 // default verdict
	flags    uint
	notify   bool
	archs    []int // indices in the table of that name, native first
	rules    []rule
	entries  []entry
	warnings []string
}

func parse(cfg *specs.LinuxSeccomp, native int) (*profile, error) {
	p := &profile{}
	var err error
	if p.def, err = verdict("defaultAction", cfg.DefaultAction, "defaultErrnoRet", cfg.DefaultErrnoRet); err != nil {
		return nil, err
	}
	if p.def == retNotify {
		return nil, fmt.Errorf("defaultAction: %s is for single calls only", cfg.DefaultAction)
	}
	if err := p.addArchs(cfg.Architectures, native); err != nil {
		return nil, err
	}
	names := 0
	for i := range cfg.Syscalls {
		names += len(cfg.Syscalls[i].Names)
	}
	p.entries = make([]entry, 0, names)
	p.rules = make([]rule, 0, len(cfg.Syscalls)+8)
	var unknown []string
	for i := range cfg.Syscalls {
		missing, err := p.addBlock(&cfg.Syscalls[i])
		if err != nil {
			return nil, fmt.Errorf("syscalls[%d].%w", i, err)
		}
		unknown = append(unknown, missing...)
	}
	if len(unknown) > 0 {
		p.warn("unknown system calls ignored: " + strings.Join(unknown, ", "))
	}
	if err := p.addListener(cfg); err != nil {
		return nil, err
	}
	return p, p.addFlags(cfg.Flags)
}

func (p *profile) warn(s string) { p.warnings = append(p.warnings, s) }

// verdict translates an action. The value for ERRNO and TRACE is EPERM unless
// set; with other actions it must not be set (runtime-spec, config-linux.md).
func verdict(actField string, act specs.LinuxSeccompAction, errField string, errnoRet *uint) (uint32, error) {
	i := wordIndex(actionNames, string(act))
	if i < 0 {
		return 0, fmt.Errorf("%s: unknown action %q", actField, act)
	}
	v := actionVerdicts[i]
	limit := uint(maxErrno)
	switch v {
	case retTrace:
		limit = unix.SECCOMP_RET_DATA
	case retErrno:
	default:
		if errnoRet != nil {
			return 0, fmt.Errorf("%s: %s takes no value", errField, act)
		}
		return v, nil
	}
	if errnoRet == nil {
		return v | uint32(unix.EPERM), nil
	}
	if *errnoRet > limit {
		return 0, fmt.Errorf("%s: %d is more than %d", errField, *errnoRet, limit)
	}
	return v | uint32(*errnoRet), nil
}

func (p *profile) addArchs(names []specs.Arch, native int) error {
	p.archs = append(make([]int, 0, 4), native)
next:
	for i, name := range names {
		short, ok := strings.CutPrefix(string(name), archPrefix)
		a := archIndex(short)
		if !ok || a < 0 {
			return fmt.Errorf("architectures[%d]: unknown architecture %q", i, name)
		}
		for _, have := range p.archs {
			if have == a {
				continue next
			}
		}
		// Another family's ABI is one that this kernel never reports.
		if archs[a].fam == archs[native].fam {
			p.archs = append(p.archs, a)
		}
	}
	return nil
}

// addBlock adds one element of syscalls and returns the names in it that no
// ABI knows.
func (p *profile) addBlock(s *specs.LinuxSyscall) (unknown []string, err error) {
	v, err := verdict("action", s.Action, "errnoRet", s.ErrnoRet)
	if err != nil {
		return nil, err
	}
	if len(s.Names) == 0 {
		return nil, fmt.Errorf("names: is empty")
	}
	first := uint32(len(p.rules))
	if err := p.addRules(v, s.Args); err != nil {
		return nil, err
	}
	end := uint32(len(p.rules))
	for _, name := range s.Names {
		if name == "sendmsg" && v == retNotify {
			// The listener's descriptor is sent from inside the filter: who
			// waits for the listener to allow it waits for ever.
			return nil, fmt.Errorf("names: %s cannot be used for sendmsg, which hands over the listener", s.Action)
		}
		id, ok := lookupName(name)
		if !ok {
			if name == "" {
				return nil, fmt.Errorf("names: has an empty name")
			}
			unknown = append(unknown, name)
			continue
		}
		p.entries = append(p.entries, entry{id, first, end})
	}
	p.notify = p.notify || v == retNotify
	return unknown, nil
}

// addRules adds one rule that needs all tests to pass; but when two of them
// are of the same argument, one rule per test, as runc and crun do.
func (p *profile) addRules(v uint32, args []specs.LinuxSeccompArg) error {
	if len(args) == 0 {
		p.rules = append(p.rules, rule{verdict: v})
		return nil
	}
	tests := make([]test, 0, len(args))
	var seen uint
	twice := false
	for i := range args {
		a := &args[i]
		o := wordIndex(operatorNames, string(a.Op))
		if o < 0 {
			return fmt.Errorf("args[%d].op: unknown operator %q", i, a.Op)
		}
		if a.Index > 5 {
			return fmt.Errorf("args[%d].index: %d is more than 5", i, a.Index)
		}
		t := test{arg: uint8(a.Index), op: op(o), mask: ^uint64(0), value: a.Value}
		if t.op == opMasked {
			t.mask, t.value = a.Value, a.ValueTwo&a.Value
		}
		twice = twice || seen>>a.Index&1 != 0
		seen |= 1 << a.Index
		tests = append(tests, t)
	}
	if !twice {
		insertionSort(tests, func(a, b test) int { return int(a.arg) - int(b.arg) })
		p.rules = append(p.rules, rule{verdict: v, tests: tests})
		return nil
	}
	for i := range tests {
		p.rules = append(p.rules, rule{verdict: v, tests: tests[i : i+1]})
	}
	return nil
}

func (p *profile) addListener(cfg *specs.LinuxSeccomp) error {
	switch {
	case p.notify && cfg.ListenerPath == "":
		return fmt.Errorf("listenerPath: is not set, but %sNOTIFY needs it", actionPrefix)
	case cfg.ListenerMetadata != "" && cfg.ListenerPath == "":
		return fmt.Errorf("listenerMetadata: is set without listenerPath")
	case !p.notify && cfg.ListenerPath != "":
		p.warn("listenerPath ignored: no rule has " + actionPrefix + "NOTIFY")
	}
	return nil
}

func (p *profile) addFlags(flags []specs.LinuxSeccompFlag) error {
	if flags == nil {
		// As runc and crun: without it processes under seccomp lose speed to
		// a mitigation that kernels since 5.16 do not apply to them.
		p.flags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	}
	for i, flag := range flags {
		n := wordIndex(flagNames, string(flag))
		if n < 0 {
			return fmt.Errorf("flags[%d]: unknown flag %q", i, flag)
		}
		p.flags |= flagBits[n]
	}
	if p.notify {
		// seccomp(2) refuses TSYNC together with NEW_LISTENER, and the
		// process that loads the filter has one thread.
		p.flags = p.flags&^unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		return nil
	}
	if p.flags&unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV != 0 {
		p.flags &^= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		p.warn("flag SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV ignored: no rule has " + actionPrefix + "NOTIFY")
	}
	return nil
}

package cgroup

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// DefaultDeviceRules are the rules that every container gets on top of its own:
// the devices that the specification supplies to all containers, terminals,
// /dev/net/tun, and making (not opening) any device node. The list is runc's,
// so that images behave alike.
func DefaultDeviceRules() []specs.LinuxDeviceCgroup {
	rule := func(kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		d := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: access}
		if major >= 0 {
			d.Major = &major
		}
		if minor >= 0 {
			d.Minor = &minor
		}
		return d
	}
	return []specs.LinuxDeviceCgroup{
		rule("c", -1, -1, "m"),
		rule("b", -1, -1, "m"),
		rule("c", 1, 3, "rwm"),    // null
		rule("c", 1, 8, "rwm"),    // random
		rule("c", 1, 7, "rwm"),    // full
		rule("c", 5, 0, "rwm"),    // tty
		rule("c", 1, 5, "rwm"),    // zero
		rule("c", 1, 9, "rwm"),    // urandom
		rule("c", 5, 1, "rwm"),    // console
		rule("c", 136, -1, "rwm"), // pts/*
		rule("c", 5, 2, "rwm"),    // ptmx
		rule("c", 10, 200, "rwm"), // net/tun
	}
}

// access is a set of what may be done to a device. The bits are those of
// BPF_DEVCG_ACC_* in linux/bpf.h.
type access uint8

const (
	mayMknod access = 1 << iota
	mayRead
	mayWrite

	mayAll = mayMknod | mayRead | mayWrite
)

func (a access) String() string {
	var s string
	if a&mayRead != 0 {
		s += "r"
	}
	if a&mayWrite != 0 {
		s += "w"
	}
	if a&mayMknod != 0 {
		s += "m"
	}
	return s
}

// anyNumber is a major or minor number that stands for all.
const anyNumber = -1

// deviceRule is one checked entry of linux.resources.devices.
type deviceRule struct {
	allow        bool
	kind         byte // 'a', 'b' or 'c'
	major, minor int64
	access       access
}

// everything reports whether the rule is about all access to all devices.
func (r deviceRule) everything() bool {
	return r.kind == 'a' && r.major == anyNumber && r.minor == anyNumber && r.access == mayAll
}

// covers reports whether the rule is about the device.
func (r deviceRule) covers(kind byte, major, minor int64) bool {
	return (r.kind == 'a' || r.kind == kind) &&
		(r.major == anyNumber || r.major == major) &&
		(r.minor == anyNumber || r.minor == minor)
}

// deviceRules checks linux.resources.devices. Number and type default to all.
func deviceRules(list []specs.LinuxDeviceCgroup) ([]deviceRule, error) {
	rules := make([]deviceRule, 0, len(list))
	for i, d := range list {
		r := deviceRule{allow: d.Allow, kind: 'a', major: anyNumber, minor: anyNumber}
		switch d.Type {
		case "", "a":
		case "b", "c":
			r.kind = d.Type[0]
		default:
			return nil, fmt.Errorf("devices[%d]: type %q is not a, b or c", i, d.Type)
		}
		var err error
		if r.major, err = deviceNumber(d.Major); err != nil {
			return nil, fmt.Errorf("devices[%d]: major number: %w", i, err)
		}
		if r.minor, err = deviceNumber(d.Minor); err != nil {
			return nil, fmt.Errorf("devices[%d]: minor number: %w", i, err)
		}
		for _, c := range d.Access {
			switch c {
			case 'r':
				r.access |= mayRead
			case 'w':
				r.access |= mayWrite
			case 'm':
				r.access |= mayMknod
			default:
				return nil, fmt.Errorf("devices[%d]: access %q is not made of r, w and m", i, d.Access)
			}
		}
		if r.access == 0 {
			return nil, fmt.Errorf("devices[%d]: device access cannot be empty", i)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// deviceNumber reads a major or minor number: nil and -1, which engines send,
// are all numbers.
func deviceNumber(n *int64) (int64, error) {
	if n == nil || *n == anyNumber {
		return anyNumber, nil
	}
	if *n < 0 || *n > 1<<32-1 {
		return 0, fmt.Errorf("%d is not a device number", *n)
	}
	return *n, nil
}

// permitted is the meaning of a list of rules, and what both the v1 lines and
// the v2 program are tested against: for each kind of access the last rule that
// names it and the device decides, and what no rule names is denied. Access is
// permitted when all kinds that are asked for are.
func permitted(rules []deviceRule, kind byte, major, minor int64, asked access) bool {
	for _, bit := range []access{mayRead, mayWrite, mayMknod} {
		if asked&bit == 0 {
			continue
		}
		verdict := false
		for _, r := range rules {
			if r.access&bit != 0 && r.covers(kind, major, minor) {
				verdict = r.allow
			}
		}
		if !verdict {
			return false
		}
	}
	return true
}

// devicesV1 returns the writes to devices.allow and devices.deny of the group at
// dir that bring about the rules, whatever the group allowed before.
//
// The v1 controller keeps a default and a list of exceptions with exact
// numbers. To forbid part of what an earlier, wider rule allows cannot be
// written there, and the kernel takes such a line without effect: it is refused
// here instead.
func devicesV1(dir string, rules []deviceRule) ([]Step, error) {
	kept, err := exceptions(rules)
	if err != nil {
		return nil, err
	}
	deny, allow := filepath.Join(dir, "devices.deny"), filepath.Join(dir, "devices.allow")
	// "a" clears all exceptions and sets the default.
	first, then := deny, allow
	if kept.allowAll {
		first, then = allow, deny
	}
	steps := []Step{{Kind: Write, Path: first, Value: "a"}}
	for _, r := range kept.rules {
		steps = append(steps, Step{Kind: Write, Path: then, Value: r.line()})
	}
	return steps, nil
}

// line writes a rule as the v1 files take it.
func (r deviceRule) line() string {
	number := func(n int64) string {
		if n == anyNumber {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	var b strings.Builder
	b.WriteByte(r.kind)
	b.WriteString(" " + number(r.major) + ":" + number(r.minor) + " " + r.access.String())
	return b.String()
}

// exceptionList is the state of a v1 devices group: a default, and exceptions
// to it. All exceptions have allow set to the opposite of allowAll.
type exceptionList struct {
	allowAll bool
	rules    []deviceRule
}

// exceptions runs the rules as the kernel would, from a group that allows
// nothing, and returns what is left in force.
func exceptions(rules []deviceRule) (exceptionList, error) {
	var l exceptionList
	for _, r := range rules {
		if r.everything() {
			l = exceptionList{allowAll: r.allow}
			continue
		}
		// For the kernel "a" means all devices whatever follows it.
		kinds := []byte{r.kind}
		if r.kind == 'a' {
			kinds = []byte{'b', 'c'}
		}
		for _, kind := range kinds {
			r.kind = kind
			if err := l.apply(r); err != nil {
				return exceptionList{}, err
			}
		}
	}
	return l, nil
}

// apply adds r as an exception, or takes it away from those there are.
func (l *exceptionList) apply(r deviceRule) error {
	if r.allow != l.allowAll {
		l.add(r)
		return nil
	}
	var left []deviceRule
	for _, e := range l.rules {
		if !e.overlaps(r) {
			left = append(left, e)
			continue
		}
		if !r.contains(e) {
			return fmt.Errorf("devices: cgroup v1 cannot take %q out of %q", r.line(), e.line())
		}
		if e.access &^= r.access; e.access != 0 {
			left = append(left, e)
		}
	}
	l.rules = left
	return nil
}

// add records an exception; one for the same numbers is widened, as in the
// kernel.
func (l *exceptionList) add(r deviceRule) {
	for i, e := range l.rules {
		if e.kind == r.kind && e.major == r.major && e.minor == r.minor {
			l.rules[i].access |= r.access
			return
		}
	}
	l.rules = append(l.rules, r)
}

// overlaps reports whether some access to some device is named by both.
func (r deviceRule) overlaps(o deviceRule) bool {
	meet := func(a, b int64) bool { return a == anyNumber || b == anyNumber || a == b }
	return r.kind == o.kind && meet(r.major, o.major) && meet(r.minor, o.minor) && r.access&o.access != 0
}

// contains reports whether r names every device that o names.
func (r deviceRule) contains(o deviceRule) bool {
	holds := func(a, b int64) bool { return a == anyNumber || a == b }
	return r.kind == o.kind && holds(r.major, o.major) && holds(r.minor, o.minor)
}

// changeDevicesV1 returns the steps from the rules in force, as devices.list
// shows them, to new ones. Where both deny by default only the differences are
// written; otherwise whole is true and the list is written anew, with a moment
// between when other rules hold.
func changeDevicesV1(dir, list string, rules []deviceRule) (steps []Step, whole bool, err error) {
	wanted, err := exceptions(rules)
	if err != nil {
		return nil, false, err
	}
	now, ok := parseDevicesList(list)
	if !ok || wanted.allowAll {
		steps, err = devicesV1(dir, rules)
		return steps, true, err
	}
	// What is new first, so that nothing that stays allowed is denied meanwhile.
	for _, change := range []struct {
		file          string
		rules, beside []deviceRule
	}{
		{"devices.allow", wanted.rules, now},
		{"devices.deny", now, wanted.rules},
	} {
		for _, r := range change.rules {
			for _, o := range change.beside {
				if o.kind == r.kind && o.major == r.major && o.minor == r.minor {
					r.access &^= o.access
				}
			}
			if r.access != 0 {
				steps = append(steps, Step{Kind: Write, Path: filepath.Join(dir, change.file), Value: r.line()})
			}
		}
	}
	return steps, false, nil
}

// parseDevicesList reads devices.list. ok is false when the group allows by
// default: then the list does not show what it denies.
func parseDevicesList(text string) (rules []deviceRule, ok bool) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) != 3 || len(words[0]) != 1 || words[0] == "a" {
			return nil, false
		}
		major, minor, found := strings.Cut(words[1], ":")
		r := deviceRule{allow: true, kind: words[0][0]}
		var err1, err2 error
		r.major, err1 = parseDeviceNumber(major)
		r.minor, err2 = parseDeviceNumber(minor)
		if !found || err1 != nil || err2 != nil {
			return nil, false
		}
		for _, c := range words[2] {
			switch c {
			case 'r':
				r.access |= mayRead
			case 'w':
				r.access |= mayWrite
			case 'm':
				r.access |= mayMknod
			}
		}
		rules = append(rules, r)
	}
	return rules, true
}

func parseDeviceNumber(s string) (int64, error) {
	if s == "*" {
		return anyNumber, nil
	}
	return strconv.ParseInt(s, 10, 64)
}

package seccomp

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// An outcome is a verdict or, when chain is not 0, what the rules
// chains[chain-1] say, with the default verdict where none of them matches.
type outcome struct {
	verdict uint32
	chain   int
}

// A span is a range of call numbers with one outcome: from its first number to
// that of the next span.
type span struct {
	from uint32
	out  outcome
}

// A lowering turns a profile into spans of call numbers, one ABI at a time.
type lowering struct {
	p     *profile
	mux   selectors
	warns *[]string
	// native is set while the native ABI is lowered: the only one that warns.
	native bool

	chains [][]rule // of all ABIs

	// The rules that concern the ABI at hand, and for each a key: its call's
	// number in the upper half, its place in rules in the lower.
	rules []rule
	keys  []uint64
}

// spans returns the outcome of each number an ABI may use, starting with start.
func (l *lowering) spans(a *arch, start uint32) ([]span, error) {
	newest, named := l.collect(a)
	slices.Sort(l.keys)
	out := make([]span, 0, 160)
	points := l.keys
	ground := l.ground(a, start, newest, named)
	for i, g := range ground {
		out = put(out, g)
		for len(points) > 0 {
			nr := uint32(points[0] >> 32)
			if i+1 < len(ground) && nr >= ground[i+1].from {
				break
			}
			n := 1
			for n < len(points) && uint32(points[n]>>32) == nr {
				n++
			}
			o, err := l.decide(a, nr, points[:n])
			if err != nil {
				return nil, err
			}
			out = put(put(out, span{nr, o}), span{nr + 1, g.out})
			points = points[n:]
		}
	}
	return out, nil
}

// put appends a span, which may begin where the last one does or continue it.
func put(s []span, next span) []span {
	if n := len(s); n > 0 && s[n-1].from == next.from {
		s = s[:n-1]
	}
	if n := len(s); n > 0 && s[n-1].out == next.out {
		return s
	}
	return append(s, next)
}

// ground returns the outcomes of calls that no rule names: the default, but
// ENOSYS past the newest call that the profile names, like a kernel that does
// not have these. A C library that tries a new call then falls back to an old
// one, where EPERM would make it give up. runc does so; crun does not. A default
// that lets calls through reaches the kernel, which knows best.
func (l *lowering) ground(a *arch, start, newest uint32, named bool) []span {
	def := outcome{verdict: l.p.def}
	if !named || l.permissive() {
		return []span{{start, def}}
	}
	none := outcome{verdict: noCall}
	switch {
	case a.row == rowARM:
		// The private calls count apart.
		return []span{{start, def}, {newest + 1, none}, {armPrivate, def}, {armPrivateEnd, none}}
	case a.fam == famS390:
		// Numbers over 255 come in a register. The kernel reports those
		// that it does not know as call 0, which no program uses any more.
		return []span{{start, none}, {start + 1, def}, {newest + 1, none}}
	}
	return []span{{start, def}, {newest + 1, none}}
}

func (l *lowering) permissive() bool {
	switch l.p.def & unix.SECCOMP_RET_ACTION_FULL {
	case retAllow, retLog, retTrace:
		return true
	}
	return false
}

// collect fills rules and keys for an ABI and returns the newest call that the
// profile names for it, rules that say what the default says included.
func (l *lowering) collect(a *arch) (newest uint32, named bool) {
	l.rules, l.keys = l.rules[:0], l.keys[:0]
	var socketcall, ipc uint32
	var muxed bool
	if id, ok := lookupName("socketcall"); ok {
		socketcall, muxed = a.number(id)
	}
	if id, ok := lookupName("ipc"); ok {
		ipc, _ = a.number(id)
	}
	for _, e := range l.p.entries {
		sel := l.mux[e.name]
		nr, direct := a.number(e.name)
		if direct && (a.row != rowARM || nr < armPrivate) {
			named = true
			newest = max(newest, nr)
		}
		for _, r := range l.p.rules[e.first:e.end] {
			if r.verdict == l.p.def {
				continue // as in runc and crun: it neither adds nor overrides
			}
			if direct {
				l.add(nr, narrow(r, a))
			}
			switch {
			case sel == 0 || !muxed:
			case sel&ipcMark != 0:
				l.addMuxed(a, ipc, sel&^ipcMark, narrow(r, a))
			default:
				l.addMuxed(a, socketcall, sel, narrow(r, a))
			}
		}
	}
	return newest, named
}

func (l *lowering) add(nr uint32, r rule) {
	l.keys = append(l.keys, uint64(nr)<<32|uint64(len(l.rules)))
	l.rules = append(l.rules, r)
}

// addMuxed adds a rule for a call that is made through socketcall or ipc. The
// arguments are out of the filter's sight then: a rule that tests them counts
// as matched if it is stricter than the default and as not matched otherwise.
func (l *lowering) addMuxed(a *arch, nr uint32, sel uint8, r rule) {
	if len(r.tests) > 0 && !stricter(r.verdict, l.p.def) {
		return
	}
	l.add(nr, rule{
		verdict: r.verdict,
		tests:   []test{{arg: 0, op: opEQ, mask: a.mask(), value: uint64(sel)}},
		blind:   len(r.tests) > 0,
	})
}

// stricter compares actions as the kernel does among several filters: as
// signed numbers.
func stricter(a, b uint32) bool {
	const action = unix.SECCOMP_RET_ACTION_FULL
	return int32(a&action) < int32(b&action)
}

// mask covers what an ABI compares of an argument.
func (a *arch) mask() uint64 {
	if a.wide {
		return ^uint64(0)
	}
	return 0xffffffff
}

// narrow drops tests that always pass and, for an ABI with 32-bit arguments,
// the upper half of the others.
func narrow(r rule, a *arch) rule {
	if len(r.tests) == 0 {
		return r
	}
	tests := make([]test, 0, len(r.tests))
	for _, t := range r.tests {
		t.mask &= a.mask()
		t.value &= a.mask()
		if t.op != opMasked || t.mask != 0 {
			tests = append(tests, t)
		}
	}
	return rule{verdict: r.verdict, tests: tests}
}

// decide returns what the rules on one call come to.
func (l *lowering) decide(a *arch, nr uint32, keys []uint64) (outcome, error) {
	if len(keys) > maxInsns {
		return outcome{}, fmt.Errorf("syscalls: %d rules for %s", len(keys), a.callName(nr))
	}
	first := &l.rules[uint32(keys[0])]
	if len(keys) == 1 && len(first.tests) == 0 {
		return outcome{verdict: first.verdict}, nil
	}
	group := make([]rule, len(keys))
	for i, k := range keys {
		group[i] = l.rules[uint32(k)]
	}
	// A rule without tests takes all calls, whatever other rules say and
	// wherever they stand; of several the first counts.
	for i := range group {
		if len(group[i].tests) == 0 {
			if l.native && !sameVerdict(group, group[i].verdict) {
				l.warn("rules for %s ignored: another rule decides it without tests", a.callName(nr))
			}
			return outcome{verdict: group[i].verdict}, nil
		}
	}
	group, err := l.simplify(a, nr, group)
	if err != nil {
		return outcome{}, err
	}
	insertionSort(group, compareRules)
	for i, have := range l.chains {
		if slices.EqualFunc(have, group, equalRules) {
			return outcome{chain: i + 1}, nil
		}
	}
	l.chains = append(l.chains, group)
	return outcome{chain: len(l.chains)}, nil
}

func (l *lowering) warn(format string, args ...any) {
	*l.warns = append(*l.warns, fmt.Sprintf(format, args...))
}

func sameVerdict(rules []rule, v uint32) bool {
	return !slices.ContainsFunc(rules, func(r rule) bool { return r.verdict != v })
}

// simplify drops rules that say the same as another one, or that add tests to
// those of another one: as with the rule without tests, the wider rule wins.
func (l *lowering) simplify(a *arch, nr uint32, group []rule) ([]rule, error) {
	kept := make([]rule, 0, len(group))
next:
	for i := range group {
		r := &group[i]
		for j := range group {
			s := &group[j]
			if i == j || !extends(r, s) {
				continue
			}
			if len(r.tests) == len(s.tests) {
				drop, ok := yields(r, s, i > j)
				if !ok {
					return nil, fmt.Errorf("syscalls: two actions for %s under the same tests", a.callName(nr))
				}
				if !drop {
					continue
				}
			} else if l.native && s.verdict != r.verdict {
				l.warn("a rule for %s ignored: another one decides with fewer tests", a.callName(nr))
			}
			continue next
		}
		kept = append(kept, *r)
	}
	return kept, nil
}

// extends tells whether r has all tests of s, and in front.
func extends(r, s *rule) bool {
	return len(r.tests) >= len(s.tests) && slices.Equal(s.tests, r.tests[:len(s.tests)])
}

// yields tells whether r gives way to s, which has the same tests: the blind
// one does, of two blind ones the weaker, else the later. It fails where the
// two contradict. Since this is an order, one of any number stays.
func yields(r, s *rule, later bool) (drop, ok bool) {
	switch {
	case r.blind != s.blind:
		return r.blind, true
	case r.blind && stricter(r.verdict, s.verdict):
		return false, true
	case r.blind && stricter(s.verdict, r.verdict):
		return true, true
	}
	return later, r.blind || r.verdict == s.verdict
}

// compareRules gives the order in which rules are tried, libseccomp's: the one
// that tests the later argument first, then tests for equality before those
// for a range, then the tighter range or the larger value.
func compareRules(a, b rule) int {
	for i := range min(len(a.tests), len(b.tests)) {
		if c := compareTests(&a.tests[i], &b.tests[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a.tests), len(b.tests))
}

func compareTests(a, b *test) int {
	if c := cmp.Compare(b.arg, a.arg); c != 0 {
		return c
	}
	ca, cb := opClass(a.op), opClass(b.op)
	if c := cmp.Compare(cb, ca); c != 0 {
		return c
	}
	c := cmp.Compare(b.value, a.value)
	if c == 0 {
		// Here libseccomp keeps the profile's order. A larger mask says more.
		c = cmp.Or(cmp.Compare(b.mask, a.mask), cmp.Compare(b.op, a.op))
	}
	if ca == classBelow {
		return -c
	}
	return c
}

const (
	classAbove = iota
	classBelow
	classEqual
)

func opClass(o op) int {
	switch o {
	case opLT, opLE:
		return classBelow
	case opGT, opGE:
		return classAbove
	}
	return classEqual
}

func equalRules(a, b rule) bool {
	return a.verdict == b.verdict && slices.Equal(a.tests, b.tests)
}

// insertionSort is enough for the few rules of one call, and takes a tenth of
// the room of package slices' sort in the binary.
func insertionSort[T any](s []T, compare func(a, b T) int) {
	for i := range s {
		for j := i; j > 0 && compare(s[j], s[j-1]) < 0; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}

// callName returns the name of a call, for messages.
func (a *arch) callName(nr uint32) string {
	for id := range nameID(nameCount) {
		if n, ok := a.number(id); ok && n == nr {
			return id.String()
		}
	}
	return fmt.Sprintf("call %d", nr)
}

package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// oracle evaluates a profile by the words of README.md, rule by rule, without
// any of the steps of a compiler.
type oracle struct {
	cfg    *specs.LinuxSeccomp
	goarch string
}

func (o oracle) def() uint32 {
	v, _ := verdict("", o.cfg.DefaultAction, "", o.cfg.DefaultErrnoRet)
	return v
}

// abi returns the listed ABI that a call belongs to.
func (o oracle) abi(token, nr uint32) *arch {
	native := nativeArch(o.goarch)
	listed := []int{native}
	for _, name := range o.cfg.Architectures {
		listed = append(listed, archIndex(string(name)[len(archPrefix):]))
	}
	x32 := nr&x32Bit != 0 && nr != ^uint32(0)
	var found *arch
	for _, i := range listed {
		a := &archs[i]
		if a.token != token || a.fam != archs[native].fam {
			continue
		}
		if token != unix.AUDIT_ARCH_X86_64 || x32 == (a.row == rowX32) {
			return a
		}
		if nr == ^uint32(0) { // x86_64's, if it is listed
			found = a
		}
	}
	return found
}

func (o oracle) verdict(token, nr uint32, args [6]uint64) uint32 {
	a := o.abi(token, nr)
	if a == nil {
		return retKillThread
	}
	rules := o.rulesFor(a, nr)
	for _, r := range rules {
		if len(r.tests) == 0 {
			return r.verdict
		}
	}
	var best *rule
	for i := range rules {
		r := &rules[i]
		wider := func(s rule) bool {
			return len(s.tests) < len(r.tests) && slices.Equal(s.tests, r.tests[:len(s.tests)])
		}
		if !matches(r.tests, args) || slices.ContainsFunc(rules, wider) {
			continue
		}
		switch c := 0; {
		case best == nil:
			best = r
		default:
			if c = compareRules(*r, *best); c == 0 && best.blind {
				// The same tests: a real rule before one that stands for
				// others, of these the stricter one.
				if !r.blind || stricter(r.verdict, best.verdict) {
					c = -1
				}
			}
			if c < 0 {
				best = r
			}
		}
	}
	if best == nil {
		return o.unnamed(a, nr)
	}
	return best.verdict
}

// rulesFor collects what the profile says of a call, and in the case of
// socketcall and ipc of those behind it.
func (o oracle) rulesFor(a *arch, nr uint32) []rule {
	var out []rule
	for _, s := range o.cfg.Syscalls {
		v, _ := verdict("", s.Action, "", s.ErrnoRet)
		if v == o.def() {
			continue
		}
		for _, name := range s.Names {
			id, ok := lookupName(name)
			if !ok {
				continue
			}
			if n, ok := a.number(id); ok && n == nr {
				out = append(out, o.split(a, v, s.Args)...)
			}
			sel := o.selector(a, nr, name)
			if sel == 0 {
				continue
			}
			for _, r := range o.split(a, v, s.Args) {
				if len(r.tests) == 0 || stricter(v, o.def()) {
					behind := test{op: opEQ, mask: a.mask(), value: sel}
					out = append(out, rule{verdict: v, tests: []test{behind}, blind: len(r.tests) > 0})
				}
			}
		}
	}
	return out
}

// selector returns the first argument that selects name in call nr, or 0.
func (o oracle) selector(a *arch, nr uint32, name string) uint64 {
	for _, mux := range [][2]string{{"socketcall", socketCalls}, {"ipc", ipcCalls}} {
		id, _ := lookupName(mux[0])
		if n, ok := a.number(id); ok && n == nr {
			return uint64(max(0, wordIndex(mux[1], name)))
		}
	}
	return 0
}

func (o oracle) split(a *arch, v uint32, args []specs.LinuxSeccompArg) []rule {
	var tests []test
	count := map[uint]int{}
	for _, c := range args {
		t := test{arg: uint8(c.Index), op: op(wordIndex(operatorNames, string(c.Op))), mask: a.mask(), value: c.Value & a.mask()}
		if t.op == opMasked {
			t.mask, t.value = c.Value&a.mask(), c.ValueTwo&c.Value&a.mask()
		}
		tests = append(tests, t)
		count[c.Index]++
	}
	always := func(t test) bool { return t.op == opMasked && t.mask == 0 }
	if slices.ContainsFunc(args, func(c specs.LinuxSeccompArg) bool { return count[c.Index] > 1 }) {
		var out []rule
		for _, t := range tests {
			r := rule{verdict: v}
			if !always(t) {
				r.tests = []test{t}
			}
			out = append(out, r)
		}
		return out
	}
	slices.SortFunc(tests, func(x, y test) int { return int(x.arg) - int(y.arg) })
	return []rule{{verdict: v, tests: slices.DeleteFunc(tests, always)}}
}

// unnamed is the verdict on a call that no rule matches.
func (o oracle) unnamed(a *arch, nr uint32) uint32 {
	switch o.def() & unix.SECCOMP_RET_ACTION_FULL {
	case retAllow, retLog, retTrace:
		return o.def()
	}
	newest, any := uint32(0), false
	for _, s := range o.cfg.Syscalls {
		for _, name := range s.Names {
			id, ok := lookupName(name)
			n, has := uint32(0), false
			if ok {
				n, has = a.number(id)
			}
			if has && (a.row != rowARM || n < armPrivate) {
				newest, any = max(newest, n), true
			}
		}
	}
	private := a.row == rowARM && nr >= armPrivate && nr < armPrivateEnd
	if any && !private && (nr > newest || a.fam == famS390 && nr == 0) {
		return noCall
	}
	return o.def()
}

func matches(tests []test, args [6]uint64) bool {
	for _, t := range tests {
		v := args[t.arg] & t.mask
		ok := false
		switch t.op {
		case opEQ, opMasked:
			ok = v == t.value
		case opNE:
			ok = v != t.value
		case opLT:
			ok = v < t.value
		case opLE:
			ok = v <= t.value
		case opGT:
			ok = v > t.value
		case opGE:
			ok = v >= t.value
		}
		if !ok {
			return false
		}
	}
	return true
}

package seccomp

import "golang.org/x/sys/unix"

// A label is the place of an instruction in writer.code.
type label int

// A writer puts a program together from its last instruction to its first, so
// that the target of each jump, which BPF allows forwards only, is known when
// the jump is written.
type writer struct {
	code   []unix.SockFilter // last instruction first
	chains [][]rule
	done   []label // per chain its place plus one, 0 for not written yet
	def    uint32
	big    bool
	// rets holds the latest return of each verdict, near the latest jump to
	// a target that got out of reach.
	rets []latest
	near []latest
}

type latest struct {
	key uint32 // a verdict or a label
	at  label
}

// reach is the longest jump that may be wanted when up to two instructions are
// still to be put before it; the offset of a branch has 8 bits.
const reach = 255 - 2

func (w *writer) emit(code uint16, k uint32) label {
	w.code = append(w.code, unix.SockFilter{Code: code, K: k})
	return label(len(w.code) - 1)
}

// ret returns a place within reach of a branch that ends the program with a
// verdict.
func (w *writer) ret(verdict uint32) label {
	return w.latest(&w.rets, verdict, func() label { return w.emit(unix.BPF_RET|unix.BPF_K, verdict) })
}

// nearby returns a place within reach of a branch that does what target does.
func (w *writer) nearby(target label) label {
	if w.reaches(target) {
		return target
	}
	if t := w.code[target]; t.Code == unix.BPF_RET|unix.BPF_K {
		return w.ret(t.K)
	}
	return w.latest(&w.near, uint32(target), func() label { return w.jump(target) })
}

func (w *writer) reaches(target label) bool { return len(w.code)-1-int(target) <= reach }

// latest returns the place that list has for key if it is within reach, else a
// new one.
func (w *writer) latest(list *[]latest, key uint32, write func() label) label {
	for i := range *list {
		if l := &(*list)[i]; l.key == key {
			if !w.reaches(l.at) {
				l.at = write()
			}
			return l.at
		}
	}
	at := write()
	*list = append(*list, latest{key, at})
	return at
}

func (w *writer) jump(target label) label {
	return w.emit(unix.BPF_JMP|unix.BPF_JA, uint32(len(w.code)-1-int(target)))
}

// branch compares the accumulator with k.
func (w *writer) branch(op uint16, k uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	yes = w.nearby(yes)
	no = w.nearby(no)
	at := w.emit(unix.BPF_JMP|op|unix.BPF_K, k)
	w.code[at].Jt = uint8(at - 1 - yes)
	w.code[at].Jf = uint8(at - 1 - no)
	return at
}

// before emits an instruction that goes on at next.
func (w *writer) before(next label, code uint16, k uint32) label {
	if int(next) != len(w.code)-1 {
		if t := w.code[next]; t.Code == unix.BPF_RET|unix.BPF_K {
			w.emit(t.Code, t.K)
		} else {
			w.jump(next)
		}
	}
	return w.emit(code, k)
}

// load reads the 32 bits of seccomp_data at an offset into the accumulator.
func (w *writer) load(off uint32, next label) label {
	return w.before(next, unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, off)
}

// A unit is a span that up to two single calls interrupt. One test for each of
// these is cheaper than two cuts.
type unit struct {
	from   uint32
	out    outcome
	single [2]span
	n      int
}

// fold turns spans into units.
func fold(spans []span) []unit {
	units := make([]unit, 0, len(spans))
	for i := 0; i < len(spans); i++ {
		u := unit{from: spans[i].from, out: spans[i].out}
		for u.n < len(u.single) && i+2 < len(spans) &&
			spans[i+2].out == u.out && spans[i+2].from-spans[i+1].from == 1 {
			u.single[u.n] = spans[i+1]
			u.n++
			i += 2
		}
		units = append(units, u)
	}
	return units
}

// search finds the unit of the number in the accumulator by halves.
func (w *writer) search(units []unit) label {
	if len(units) > 1 {
		mid := len(units) / 2
		upper := w.search(units[mid:])
		return w.branch(unix.BPF_JGE, units[mid].from, upper, w.search(units[:mid]))
	}
	u := &units[0]
	at := w.outcome(u.out)
	for i := u.n - 1; i >= 0; i-- {
		at = w.branch(unix.BPF_JEQ, u.single[i].from, w.outcome(u.single[i].out), at)
	}
	return at
}

func (w *writer) outcome(o outcome) label {
	if o.chain == 0 {
		return w.ret(o.verdict)
	}
	at := &w.done[o.chain-1]
	if *at == 0 {
		*at = w.chain(w.chains[o.chain-1]) + 1
	}
	return *at - 1
}

// chain tries rules in order.
func (w *writer) chain(rules []rule) label {
	next := w.ret(w.def)
	for end := len(rules); end > 0; {
		first := end - 1
		for first > 0 && oneLoad(rules[first-1], rules[first]) {
			first--
		}
		if first < end-1 {
			next = w.oneOf(rules[first:end], next)
		} else {
			next = w.rule(&rules[first], next)
		}
		end = first
	}
	return next
}

// oneLoad tells whether two rules compare the same word of the same argument
// with a value each, and nothing else.
func oneLoad(a, b rule) bool {
	return len(a.tests) == 1 && len(b.tests) == 1 &&
		a.tests[0].op == opEQ && b.tests[0].op == opEQ &&
		a.tests[0].arg == b.tests[0].arg && a.tests[0].mask == b.tests[0].mask &&
		a.tests[0].value>>32 == b.tests[0].value>>32
}

// oneOf tries rules of which each pair passes oneLoad.
func (w *writer) oneOf(rules []rule, next label) label {
	at := next
	for i := len(rules) - 1; i >= 0; i-- {
		at = w.branch(unix.BPF_JEQ, uint32(rules[i].tests[0].value), w.ret(rules[i].verdict), at)
	}
	t := &rules[0].tests[0]
	lo, hi := w.words(t.arg)
	return w.word(hi, uint32(t.mask>>32), uint32(t.value>>32), w.load(lo, at), next)
}

// rule tries one rule.
func (w *writer) rule(r *rule, next label) label {
	at := w.ret(r.verdict)
	for i := len(r.tests) - 1; i >= 0; i-- {
		at = w.test(&r.tests[i], at, next)
	}
	return at
}

// test compares an argument, word by word.
func (w *writer) test(t *test, yes, no label) label {
	lo, hi := w.words(t.arg)
	switch t.op {
	case opNE, opLT, opLE:
		yes, no = no, yes
	}
	valueHi, maskHi := uint32(t.value>>32), uint32(t.mask>>32)
	var rest uint16
	switch t.op {
	case opEQ, opNE, opMasked:
		at := w.word(lo, uint32(t.mask), uint32(t.value), yes, no)
		return w.word(hi, maskHi, valueHi, at, no)
	case opGE, opLT:
		rest = unix.BPF_JGE
	case opGT, opLE:
		rest = unix.BPF_JGT
	}
	at := w.load(lo, w.branch(rest, uint32(t.value), yes, no))
	if maskHi == 0 {
		return at
	}
	at = w.branch(unix.BPF_JEQ, valueHi, at, no)
	return w.load(hi, w.branch(unix.BPF_JGT, valueHi, yes, at))
}

// word tells whether a word of seccomp_data is value under a mask.
func (w *writer) word(off, mask, value uint32, yes, no label) label {
	switch {
	case mask == 0:
		return yes
	case mask == ^uint32(0):
		return w.load(off, w.branch(unix.BPF_JEQ, value, yes, no))
	case value == 0:
		return w.load(off, w.branch(unix.BPF_JSET, mask, no, yes))
	}
	at := w.branch(unix.BPF_JEQ, value, yes, no)
	return w.load(off, w.before(at, unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask))
}

// words returns the offsets of an argument's lower and upper half.
func (w *writer) words(arg uint8) (lo, hi uint32) {
	off := offArgs + 8*uint32(arg)
	if w.big {
		return off + 4, off
	}
	return off, off + 4
}

package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (seccomp(2)).
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// program compiles the profile for its ABIs.
func (p *profile) program(warns *[]string) ([]unix.SockFilter, error) {
	l := &lowering{p: p, warns: warns}
	l.rules = make([]rule, 0, len(p.entries)+32)
	l.keys = make([]uint64, 0, cap(l.rules))
	l.mux.fill()
	type section struct {
		token uint32
		spans []span
	}
	sections := make([]section, 0, len(p.archs))
	for i, n := range p.archs {
		if hasToken(p.archs[:i], archs[n].token) {
			continue // x32 or x86_64, done with its twin
		}
		spans, err := l.section(p.archs, i)
		if err != nil {
			return nil, err
		}
		sections = append(sections, section{archs[n].token, spans})
	}
	// The program is written from its end: the native ABI, whose calls
	// should be decided first, comes last.
	w := writer{chains: l.chains, def: p.def, big: archs[p.archs[0]].big}
	w.code = make([]unix.SockFilter, 0, 512)
	w.done = make([]label, len(l.chains))
	next := w.ret(badArch)
	for i := len(sections) - 1; i >= 0; i-- {
		s := &sections[i]
		body := w.search(fold(s.spans))
		next = w.branch(unix.BPF_JEQ, s.token, w.load(offNr, body), next)
	}
	w.load(offArch, next)
	slices.Reverse(w.code)
	return w.code, nil
}

func hasToken(list []int, token uint32) bool {
	for _, n := range list {
		if archs[n].token == token {
			return true
		}
	}
	return false
}

// section returns the spans of the i-th listed ABI, and with those of x86_64
// those of x32 and the other way round, since both have one AUDIT_ARCH value.
func (l *lowering) section(list []int, i int) ([]span, error) {
	a := &archs[list[i]]
	l.native = i == 0
	spans, err := l.spans(a, a.start())
	if err != nil || a.token != unix.AUDIT_ARCH_X86_64 {
		return spans, err
	}
	l.native = false
	bad := outcome{verdict: badArch}
	// -1 is no x32 call but what tracers set to skip a call.
	skip := span{^uint32(0), spans[len(spans)-1].out}
	low, high := spans, []span{{x32Bit, bad}}
	if a.row == rowX32 {
		low, high = []span{{0, bad}}, spans
	}
	for _, n := range list[i+1:] {
		b := &archs[n]
		if b.token != a.token {
			continue
		}
		twin, err := l.spans(b, b.start())
		if err != nil {
			return nil, err
		}
		if b.row == rowX32 {
			high = twin
		} else {
			low = twin
			skip.out = twin[len(twin)-1].out
		}
	}
	for _, s := range high {
		low = put(low, s)
	}
	return put(low, skip), nil
}

// start returns the first number of an ABI's calls.
func (a *arch) start() uint32 {
	if a.row == rowX32 {
		return x32Bit
	}
	return 0
}

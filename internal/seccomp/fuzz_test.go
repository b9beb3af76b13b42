package seccomp

import (
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A source makes choices from fuzzed bytes, or at random when it has a rand.
type source struct {
	data []byte
	rand *rand.Rand
}

func (s *source) n(limit int) int {
	if s.rand != nil {
		return s.rand.IntN(limit)
	}
	if len(s.data) == 0 {
		return 0
	}
	b := int(s.data[0])
	s.data = s.data[1:]
	if limit > 256 && len(s.data) > 0 {
		b |= int(s.data[0]) << 8
		s.data = s.data[1:]
	}
	return b % limit
}

// values are such as meet the edges of words.
var values = []uint64{0, 1, 2, 5, 6, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1<<32 | 5, 2<<32 | 1, 1 << 63, ^uint64(0)}

func (s *source) value() uint64 { return values[s.n(len(values))] }

// families are the goarch to compile for and the ABIs to list.
var families = []struct {
	goarch string
	archs  []specs.Arch
}{
	{"amd64", []specs.Arch{specs.ArchX86, specs.ArchX32, specs.ArchX86_64}},
	{"386", []specs.Arch{specs.ArchX86_64, specs.ArchX32}},
	{"arm64", []specs.Arch{specs.ArchARM}},
	{"arm", []specs.Arch{specs.ArchAARCH64}},
	{"riscv64", nil},
	{"loong64", nil},
	{"mips64", []specs.Arch{specs.ArchMIPS, specs.ArchMIPS64N32}},
	{"mipsle", []specs.Arch{specs.ArchMIPSEL64, specs.ArchMIPSEL64N32}},
	{"ppc64", []specs.Arch{specs.ArchPPC}},
	{"ppc64le", nil},
	{"s390x", []specs.Arch{specs.ArchS390}},
}

// favourites get more rules than other calls, so that rules meet.
var favourites = []string{"socket", "clone", "ioctl", "socketcall", "ipc", "shmat", "read", "setup", "set_tls", "faccessat2", "listns"}

func (s *source) profile() (*specs.LinuxSeccomp, string) {
	fam := families[s.n(len(families))]
	cfg := &specs.LinuxSeccomp{ListenerPath: "/l"}
	for _, a := range fam.archs {
		if s.n(3) > 0 {
			cfg.Architectures = append(cfg.Architectures, a)
		}
	}
	actions := Actions()
	cfg.DefaultAction = specs.LinuxSeccompAction(actions[s.n(len(actions)-1)]) // not NOTIFY
	for range s.n(12) {
		rule := specs.LinuxSyscall{Action: specs.LinuxSeccompAction(actions[s.n(len(actions))])}
		if rule.Action == specs.ActErrno {
			e := uint(s.n(4096))
			rule.ErrnoRet = &e
		}
		for range 1 + s.n(4) {
			name := favourites[s.n(len(favourites))]
			if s.n(3) == 0 {
				name = nameID(s.n(nameCount)).String()
			}
			if name != "sendmsg" {
				rule.Names = append(rule.Names, name)
			}
		}
		if rule.Names == nil {
			rule.Names = []string{"nanosleep"}
		}
		ops := Operators()
		for range s.n(4) {
			rule.Args = append(rule.Args, specs.LinuxSeccompArg{
				Index: uint(s.n(6)), Value: s.value(), ValueTwo: s.value(), Op: specs.LinuxSeccompOperator(ops[s.n(len(ops))]),
			})
		}
		cfg.Syscalls = append(cfg.Syscalls, rule)
	}
	return cfg, fam.goarch
}

// calls returns calls worth a try: those that rules name, their neighbours,
// and the edges of the number ranges.
func calls(cfg *specs.LinuxSeccomp, goarch string) (archs []*arch, nrs []uint32) {
	archs = testedArchs(goarch)
	nrs = []uint32{0, 1, 400, 471, 600, 4000, 5000, 6000, 6600, 0xeffff, 0xf0000, 0xf0005, 0x100000, x32Bit - 1, x32Bit, x32Bit | 600, ^uint32(0)}
	seen := map[uint32]bool{}
	for _, r := range cfg.Syscalls {
		for _, name := range r.Names {
			id, ok := lookupName(name)
			if !ok {
				continue
			}
			for _, a := range archs {
				if nr, ok := a.number(id); ok && !seen[nr] {
					seen[nr] = true
					nrs = append(nrs, nr-1, nr, nr+1)
				}
			}
		}
	}
	return archs, nrs
}

func testedArchs(goarch string) []*arch {
	var out []*arch
	fam := archs[nativeArch(goarch)].fam
	for i := range archs {
		if archs[i].fam == fam {
			out = append(out, &archs[i])
		}
	}
	return append(out, &arch{token: 0xdead})
}

func (s *source) args() (args [6]uint64) {
	for i := range args {
		args[i] = s.value()
		if s.n(4) == 0 {
			args[i] += uint64(s.n(3)) - 1
		}
	}
	if s.n(2) == 0 {
		args[0] = uint64(s.n(26)) // what selects in socketcall and ipc
	}
	return args
}

// equalVerdicts holds a compiled profile against the oracle and against the
// same verdicts found one by one.
func equalVerdicts(t *testing.T, choices *source, seed uint64) {
	cfg, goarch := choices.profile()
	s := &source{rand: rand.New(rand.NewPCG(seed, 4))}
	f, err := Compile(cfg, goarch)
	if err != nil {
		return // contradictory rules; a panic is what would be wrong
	}
	checkProgram(t, f)
	lin := linear(t, cfg, goarch)
	o := oracle{cfg, goarch}
	archs, nrs := calls(cfg, goarch)
	for _, a := range archs {
		for _, nr := range nrs {
			for range 3 {
				args := s.args()
				want := o.verdict(a.token, nr, args)
				if got := f.Verdict(a.token, nr, args); got != want {
					t.Fatalf("%s: verdict on %#x/%#x%x = %#x, want %#x of %s", goarch, a.token, nr, args, got, want, encode(t, cfg))
				}
				if got := lin.Verdict(a.token, nr, args); got != want {
					t.Fatalf("%s: linear verdict on %#x/%#x%x = %#x, want %#x of %s", goarch, a.token, nr, args, got, want, encode(t, cfg))
				}
			}
		}
	}
}

func FuzzCompile(f *testing.F) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 300)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		equalVerdicts(t, &source{data: data}, uint64(len(data)))
	})
}

func TestVerdictsOfRandomProfilesEqualTheRules(t *testing.T) {
	n := 500
	if testing.Short() {
		n = 100
	}
	for seed := range uint64(n) {
		equalVerdicts(t, &source{rand: rand.New(rand.NewPCG(seed, 2))}, seed)
	}
}

// TestVerdictsOfRealProfilesEqualTheRules tries every call of every ABI.
func TestVerdictsOfRealProfilesEqualTheRules(t *testing.T) {
	s := &source{rand: rand.New(rand.NewPCG(3, 3))}
	for _, name := range []string{"docker", "podman"} {
		for _, fam := range families {
			cfg := readProfile(t, name)
			cfg.Architectures = append(cfg.Architectures, fam.archs...)
			f := compile(t, cfg, fam.goarch)
			lin := linear(t, cfg, fam.goarch)
			o := oracle{cfg, fam.goarch}
			for _, a := range testedArchs(fam.goarch) {
				for i := range uint32(520) {
					nr := a.start() | i
					switch a.row {
					case rowMIPS:
						nr += 4000
					case rowMIPS64:
						nr += 5000
					case rowMIPSN32:
						nr += 6000
					}
					args := s.args()
					want := o.verdict(a.token, nr, args)
					if got := f.Verdict(a.token, nr, args); got != want {
						t.Errorf("%s for %s: verdict on %s/%d%x = %#x, want %#x", name, fam.goarch, a.name, nr, args, got, want)
					}
					if got := lin.Verdict(a.token, nr, args); got != want {
						t.Errorf("%s for %s: linear verdict on %s/%d%x = %#x, want %#x", name, fam.goarch, a.name, nr, args, got, want)
					}
				}
			}
		}
	}
}

// linear compiles a profile to the plainest program: one span after the other.
func linear(t *testing.T, cfg *specs.LinuxSeccomp, goarch string) *Filter {
	t.Helper()
	p, err := parse(cfg, nativeArch(goarch))
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	l := &lowering{p: p, warns: &warnings}
	l.mux.fill()
	w := writer{def: p.def, big: archs[p.archs[0]].big}
	next := w.ret(badArch)
	seen := map[uint32]bool{}
	for i, n := range p.archs {
		if seen[archs[n].token] {
			continue
		}
		seen[archs[n].token] = true
		spans, err := l.section(p.archs, i)
		if err != nil {
			t.Fatal(err)
		}
		w.chains, w.done = l.chains, make([]label, len(l.chains))
		at := w.outcome(spans[0].out)
		for _, s := range spans[1:] {
			out := w.outcome(s.out)
			at = w.branch(unix.BPF_JGE, s.from, out, at)
		}
		next = w.branch(unix.BPF_JEQ, archs[n].token, w.load(offNr, at), next)
	}
	w.load(offArch, next)
	f := &Filter{bigEndian: w.big}
	for i := len(w.code) - 1; i >= 0; i-- {
		f.Prog = append(f.Prog, w.code[i])
	}
	return f
}

package seccomp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// buildLibseccomp builds testdata/libseccomp.c, the judge of what a profile
// means to runc and crun.
func buildLibseccomp(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("compares the x86 family")
	}
	bin := filepath.Join(t.TempDir(), "libseccomp")
	out, err := exec.Command("gcc", "-o", bin, "testdata/libseccomp.c", "-lseccomp").CombinedOutput()
	if err != nil {
		t.Skipf("needs gcc and libseccomp-dev: %v %s", err, out)
	}
	return bin
}

// libseccomp compiles a profile the way runc does, but for runc's own ENOSYS.
// It returns nil where libseccomp refuses a rule, and takes the names that
// libseccomp does not know out of the profile.
func libseccomp(t *testing.T, bin string, cfg *specs.LinuxSeccomp) *Filter {
	t.Helper()
	def := oracle{cfg: cfg}.def()
	var in strings.Builder
	for _, a := range cfg.Architectures {
		if a != specs.ArchX86_64 {
			fmt.Fprintf(&in, "arch %s\n", strings.ToLower(string(a)[len(archPrefix):]))
		}
	}
	for _, s := range cfg.Syscalls {
		v, _ := verdict("", s.Action, "", s.ErrnoRet)
		if v == def {
			continue
		}
		for _, name := range s.Names {
			count := [6]int{}
			twice := false
			for _, a := range s.Args {
				count[a.Index]++
				twice = twice || count[a.Index] > 1
			}
			// enum scmp_compare counts the operators from 1.
			arg := func(a specs.LinuxSeccompArg) string {
				return fmt.Sprintf(" %d %d %d %d", a.Index, wordIndex(operatorNames, string(a.Op))+1, a.Value, a.ValueTwo)
			}
			if twice {
				for _, a := range s.Args {
					fmt.Fprintf(&in, "rule %d %s 1%s\n", v, name, arg(a))
				}
				continue
			}
			fmt.Fprintf(&in, "rule %d %s %d", v, name, len(s.Args))
			for _, a := range s.Args {
				in.WriteString(arg(a))
			}
			in.WriteString("\n")
		}
	}
	cmd := exec.Command(bin, fmt.Sprint(def))
	cmd.Stdin = strings.NewReader(in.String())
	var out, unknown bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &unknown
	if err := cmd.Run(); err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() == 3 {
			return nil
		}
		t.Fatalf("%s: %v with\n%s", bin, err, in.String())
	}
	for name := range strings.FieldsSeq(unknown.String()) {
		for i := range cfg.Syscalls {
			s := &cfg.Syscalls[i]
			s.Names = slices.DeleteFunc(s.Names, func(n string) bool { return n == name })
		}
	}
	f := &Filter{Prog: make([]unix.SockFilter, out.Len()/8)}
	if err := binary.Read(&out, binary.LittleEndian, f.Prog); err != nil {
		t.Fatal(err)
	}
	return f
}

// sameAsLibseccomp tries calls on both programs. What README.md lists as
// different is left out.
func sameAsLibseccomp(t *testing.T, cfg *specs.LinuxSeccomp, ours, theirs *Filter, s *source) bool {
	t.Helper()
	o := oracle{cfg, "amd64"}
	for _, token := range []uint32{x86_64, i386, unix.AUDIT_ARCH_AARCH64} {
		for i := range uint32(2 * 450) { // libseccomp 2.5.4 knows Linux 5.17
			nr := i
			if i >= 450 {
				nr = i - 450 | x32Bit
			}
			if a := o.abi(token, nr); a != nil && o.unnamed(a, nr) != o.def() {
				continue // runc's ENOSYS is not libseccomp's
			}
			if token == i386 && (nr == 102 || nr == 117) {
				continue
			}
			for range 4 {
				args := s.args()
				got, want := ours.Verdict(token, nr, args), theirs.Verdict(token, nr, args)
				if got != want {
					t.Errorf("verdict on %#x/%#x%x = %#x, libseccomp's is %#x, of %s", token, nr, args, got, want, encode(t, cfg))
					return false
				}
			}
		}
	}
	return true
}

func TestRealProfilesMeanWhatTheyMeanToLibseccomp(t *testing.T) {
	bin := buildLibseccomp(t)
	for _, name := range []string{"docker", "podman"} {
		cfg := readProfile(t, name)
		s := &source{rand: rand.New(rand.NewPCG(7, 7))}
		theirs := libseccomp(t, bin, cfg)
		if theirs == nil {
			t.Fatalf("libseccomp refuses %s", name)
		}
		ours := compile(t, cfg, "amd64")
		if sameAsLibseccomp(t, cfg, ours, theirs, s) {
			t.Logf("%s: %d instructions, libseccomp's %d", name, len(ours.Prog), len(theirs.Prog))
		}
	}
}

func TestRandomProfilesMeanWhatTheyMeanToLibseccomp(t *testing.T) {
	bin := buildLibseccomp(t)
	compared := 0
	for seed := range uint64(400) {
		s := &source{rand: rand.New(rand.NewPCG(seed, 8))}
		cfg := s.plainProfile()
		ours, err := Compile(cfg, "amd64")
		theirs := libseccomp(t, bin, cfg)
		if err != nil || theirs == nil {
			continue
		}
		compared++
		sameAsLibseccomp(t, cfg, ours, theirs, s)
	}
	t.Logf("compared %d profiles", compared)
}

func TestOrderOfRulesThatMeetIsLibseccomps(t *testing.T) {
	bin := buildLibseccomp(t)
	for _, tt := range meeting {
		for _, swap := range []bool{false, true} {
			f := libseccomp(t, bin, meetingProfile(tt.first, tt.second, swap))
			if f == nil {
				t.Errorf("%s, swapped %t: libseccomp refuses", tt.name, swap)
				continue
			}
			if got := f.Verdict(x86_64, 16, tt.args); got != retLog {
				t.Errorf("%s, swapped %t: libseccomp's verdict %#x, want the first's %#x", tt.name, swap, got, uint32(retLog))
			}
		}
	}
}

// TestNoProfileThatLibseccompTakesIsRefused tries profiles with all sorts of
// rules that meet on one call.
func TestNoProfileThatLibseccompTakesIsRefused(t *testing.T) {
	bin := buildLibseccomp(t)
	taken := 0
	for seed := range uint64(400) {
		s := &source{rand: rand.New(rand.NewPCG(seed, 9))}
		cfg := s.wildProfile()
		if libseccomp(t, bin, cfg) == nil {
			continue
		}
		taken++
		for i := range cfg.Syscalls {
			if len(cfg.Syscalls[i].Names) == 0 {
				t.Fatalf("libseccomp does not know a call of %s", encode(t, cfg))
			}
		}
		if _, err := Compile(cfg, "amd64"); err != nil {
			t.Errorf("Compile: %v, but libseccomp takes %s", err, encode(t, cfg))
		}
	}
	t.Logf("libseccomp takes %d profiles", taken)
}

func (s *source) wildProfile() *specs.LinuxSeccomp {
	cfg := &specs.LinuxSeccomp{
		DefaultAction: specs.LinuxSeccompAction(Actions()[s.n(8)]),
		Architectures: []specs.Arch{specs.ArchX86, specs.ArchX32},
	}
	for range 1 + s.n(6) {
		rule := specs.LinuxSyscall{
			Action: specs.LinuxSeccompAction(Actions()[s.n(8)]),
			Names:  []string{[]string{"read", "clone", "socket"}[s.n(3)]},
		}
		for range s.n(4) {
			rule.Args = append(rule.Args, specs.LinuxSeccompArg{
				Index: uint(s.n(3)), Value: uint64(s.n(3)), ValueTwo: uint64(s.n(3)), Op: specs.LinuxSeccompOperator(Operators()[s.n(7)]),
			})
		}
		cfg.Syscalls = append(cfg.Syscalls, rule)
	}
	return cfg
}

// plainProfile returns a profile for amd64 of calls that old libseccomps know.
// Calls have either one rule of any sort, or several that test for equality.
func (s *source) plainProfile() *specs.LinuxSeccomp {
	cfg := &specs.LinuxSeccomp{DefaultAction: specs.LinuxSeccompAction(Actions()[s.n(8)])}
	for _, a := range []specs.Arch{specs.ArchX86, specs.ArchX32} {
		if s.n(2) == 0 {
			cfg.Architectures = append(cfg.Architectures, a)
		}
	}
	names := []string{"read", "write", "ioctl", "clone", "personality", "prctl", "mkdir", "openat", "close_range", "quotactl"}
	ops := Operators()
	alone := s.n(2) == 0
	for i := range len(names) {
		rule := specs.LinuxSyscall{Action: specs.LinuxSeccompAction(Actions()[s.n(8)]), Names: names[i : i+1]}
		if !alone {
			rule.Names = []string{names[s.n(4)]}
		}
		for n := range s.n(4) {
			a := specs.LinuxSeccompArg{Index: uint(s.n(3)), Value: s.value(), ValueTwo: s.value()}
			if alone {
				a.Index, a.Op = uint(n), specs.LinuxSeccompOperator(ops[s.n(len(ops))])
			} else {
				a.Op = specs.OpEqualTo
			}
			rule.Args = append(rule.Args, a)
		}
		cfg.Syscalls = append(cfg.Syscalls, rule)
	}
	return cfg
}

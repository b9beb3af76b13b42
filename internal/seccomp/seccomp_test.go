package seccomp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	x86_64 = unix.AUDIT_ARCH_X86_64
	i386   = unix.AUDIT_ARCH_I386
)

func readProfile(t testing.TB, name string) *specs.LinuxSeccomp {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(data))
}

func decode(t testing.TB, text string) *specs.LinuxSeccomp {
	t.Helper()
	cfg := &specs.LinuxSeccomp{}
	if err := json.Unmarshal([]byte(text), cfg); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return cfg
}

func compile(t testing.TB, cfg *specs.LinuxSeccomp, goarch string) *Filter {
	t.Helper()
	f, err := Compile(cfg, goarch)
	if err != nil {
		t.Fatalf("Compile(%s): %v", goarch, err)
	}
	checkProgram(t, f)
	return f
}

// checkProgram makes the checks of the kernel's bpf_check_classic.
func checkProgram(t testing.TB, f *Filter) {
	t.Helper()
	for i, in := range f.Prog {
		left := len(f.Prog) - i - 1
		if in.Code&7 == unix.BPF_JMP {
			if in.Code == unix.BPF_JMP|unix.BPF_JA {
				if int(in.K) >= left {
					t.Fatalf("insn %d: jump past the end", i)
				}
			} else if int(in.Jt) >= left || int(in.Jf) >= left {
				t.Fatalf("insn %d: branch past the end", i)
			}
		}
	}
	if n := len(f.Prog); n == 0 || f.Prog[n-1].Code != unix.BPF_RET|unix.BPF_K {
		t.Fatal("program does not end in RET")
	}
}

func number(t testing.TB, name, goarch string) uint32 {
	t.Helper()
	nr, ok := SyscallNumber(name, goarch)
	if !ok {
		t.Fatalf("SyscallNumber(%s, %s): none", name, goarch)
	}
	return uint32(nr)
}

func TestSyscallNumberKnowsEveryABI(t *testing.T) {
	tests := []struct {
		name, goarch string
		want         int
	}{
		{"read", "amd64", 0},
		{"close_range", "amd64", 436},
		{"close_range", "mips", 4436},
		{"close_range", "mips64le", 5436},
		{"openat", "arm64", 56},
		{"open", "arm64", -1},
		{"riscv_flush_icache", "riscv64", 259},
		{"cacheflush", "arm", 0xf0002},
		{"set_tls", "arm", 0xf0005},
		{"mmap2", "arm", 192},
		{"socketcall", "386", 102},
		{"s390_pci_mmio_read", "s390x", 353},
		{"newfstatat", "loong64", 79},
		{"unused18", "mips", -1},
		{"no_such_call", "amd64", -1},
		{"read", "vax", -1},
	}
	for _, tt := range tests {
		got, ok := SyscallNumber(tt.name, tt.goarch)
		if ok != (tt.want >= 0) || ok && got != tt.want {
			t.Errorf("SyscallNumber(%s, %s) = %d, %t, want %d", tt.name, tt.goarch, got, ok, tt.want)
		}
	}
}

func TestSyscallNumberAgreesWithTheGoLibrary(t *testing.T) {
	for name, want := range map[string]int{
		"execve": unix.SYS_EXECVE, "sendmsg": unix.SYS_SENDMSG, "seccomp": unix.SYS_SECCOMP,
		"openat2": unix.SYS_OPENAT2, "pidfd_open": unix.SYS_PIDFD_OPEN,
	} {
		if got, ok := SyscallNumber(name, runtime.GOARCH); !ok || got != want {
			t.Errorf("SyscallNumber(%s) = %d, %t, want %d", name, got, ok, want)
		}
	}
}

func TestNamesAreSortedAndFound(t *testing.T) {
	prev := ""
	for i := range nameID(nameCount) {
		name := i.String()
		if name <= prev {
			t.Errorf("name %q after %q", name, prev)
		}
		if id, ok := lookupName(name); !ok || id != i {
			t.Errorf("lookupName(%s) = %d, %t, want %d", name, id, ok, i)
		}
		prev = name
	}
}

func TestX32NumbersCarryTheirBit(t *testing.T) {
	a := &archs[archIndex("X32")]
	for name, want := range map[string]uint32{"read": 0x40000000, "ioctl": 0x40000202, "execve": 0x40000208} {
		id, _ := lookupName(name)
		if nr, ok := a.number(id); !ok || nr != want {
			t.Errorf("%s on x32 = %#x, %t, want %#x", name, nr, ok, want)
		}
	}
}

func TestEveryActionGivesItsVerdict(t *testing.T) {
	tests := []struct {
		rule string // the rule for mkdir
		want uint32
	}{
		{`"action":"SCMP_ACT_KILL"`, unix.SECCOMP_RET_KILL_THREAD},
		{`"action":"SCMP_ACT_KILL_THREAD"`, unix.SECCOMP_RET_KILL_THREAD},
		{`"action":"SCMP_ACT_KILL_PROCESS"`, unix.SECCOMP_RET_KILL_PROCESS},
		{`"action":"SCMP_ACT_TRAP"`, unix.SECCOMP_RET_TRAP},
		{`"action":"SCMP_ACT_ERRNO"`, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{`"action":"SCMP_ACT_ERRNO","errnoRet":2`, unix.SECCOMP_RET_ERRNO | 2},
		{`"action":"SCMP_ACT_ERRNO","errnoRet":0`, unix.SECCOMP_RET_ERRNO},
		{`"action":"SCMP_ACT_ERRNO","errnoRet":4095`, unix.SECCOMP_RET_ERRNO | 4095},
		{`"action":"SCMP_ACT_TRACE"`, unix.SECCOMP_RET_TRACE | uint32(unix.EPERM)},
		{`"action":"SCMP_ACT_TRACE","errnoRet":65535`, unix.SECCOMP_RET_TRACE | 65535},
		{`"action":"SCMP_ACT_LOG"`, unix.SECCOMP_RET_LOG},
		{`"action":"SCMP_ACT_NOTIFY"`, unix.SECCOMP_RET_USER_NOTIF},
		{`"action":"SCMP_ACT_ALLOW"`, unix.SECCOMP_RET_ALLOW},
	}
	for _, tt := range tests {
		cfg := decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l","syscalls":[{"names":["mkdir"],`+tt.rule+`}]}`)
		f := compile(t, cfg, "amd64")
		if got := f.Verdict(x86_64, 83, [6]uint64{}); got != tt.want {
			t.Errorf("%s: verdict %#x, want %#x", tt.rule, got, tt.want)
		}
		if got := f.Verdict(x86_64, 84, [6]uint64{}); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("%s: verdict on rmdir %#x, want ALLOW", tt.rule, got)
		}
	}
}

func TestDefaultAction(t *testing.T) {
	tests := []struct {
		def  string
		want uint32
	}{
		{`"SCMP_ACT_ERRNO"`, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{`"SCMP_ACT_ERRNO","defaultErrnoRet":13`, unix.SECCOMP_RET_ERRNO | 13},
		{`"SCMP_ACT_KILL_PROCESS"`, unix.SECCOMP_RET_KILL_PROCESS},
		{`"SCMP_ACT_TRACE","defaultErrnoRet":7`, unix.SECCOMP_RET_TRACE | 7},
		{`"SCMP_ACT_LOG"`, unix.SECCOMP_RET_LOG},
	}
	for _, tt := range tests {
		f := compile(t, decode(t, `{"defaultAction":`+tt.def+`}`), "amd64")
		if got := f.Verdict(x86_64, 0, [6]uint64{}); got != tt.want {
			t.Errorf("%s: verdict %#x, want %#x", tt.def, got, tt.want)
		}
	}
}

func TestOperatorsCompareBothWords(t *testing.T) {
	values := []uint64{0, 1, 4, 5, 6, 1 << 32, 1<<32 + 4, 1<<32 + 5, 1<<32 + 6, 2<<32 + 5, 5 << 32, ^uint64(0), 0xffffffff}
	for _, name := range Operators() {
		for _, value := range values {
			for _, two := range []uint64{0, 5, 1 << 32, 1<<32 + 4} {
				cfg := &specs.LinuxSeccomp{
					DefaultAction: specs.ActAllow,
					Syscalls: []specs.LinuxSyscall{{
						Names: []string{"mkdir"}, Action: specs.ActErrno,
						Args: []specs.LinuxSeccompArg{{Index: 5, Value: value, ValueTwo: two, Op: specs.LinuxSeccompOperator(name)}},
					}},
				}
				for _, goarch := range []string{"amd64", "ppc64", "386"} {
					f, a := compile(t, cfg, goarch), &archs[nativeArch(goarch)]
					for _, arg := range values {
						args := [6]uint64{5: arg}
						got := f.Verdict(a.token, number(t, "mkdir", goarch), args)
						if want := (oracle{cfg, goarch}).verdict(a.token, number(t, "mkdir", goarch), args); got != want {
							t.Errorf("%s on %s: %#x (%#x) against %#x = %#x, want %#x", name, goarch, value, two, arg, got, want)
						}
					}
				}
			}
		}
	}
}

func TestTestsOfOneArgumentAreAlternatives(t *testing.T) {
	f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ERRNO",
		"args":[{"index":0,"value":16,"op":"SCMP_CMP_EQ"},{"index":1,"value":3,"op":"SCMP_CMP_EQ"},{"index":0,"value":40,"op":"SCMP_CMP_EQ"}]}]}`), "amd64")
	for args, want := range map[[6]uint64]bool{{16, 1}: true, {40, 1}: true, {2, 3}: true, {2, 1}: false} {
		if got := f.Verdict(x86_64, 41, args) != retAllow; got != want {
			t.Errorf("socket%v refused = %t, want %t", args[:2], got, want)
		}
	}
}

func TestTestsOfSeveralArgumentsMustAllPass(t *testing.T) {
	f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ERRNO",
		"args":[{"index":2,"value":9,"op":"SCMP_CMP_EQ"},{"index":0,"value":16,"op":"SCMP_CMP_EQ"}]}]}`), "amd64")
	for args, want := range map[[6]uint64]bool{{16, 3, 9}: true, {16, 3, 8}: false, {2, 3, 9}: false} {
		if got := f.Verdict(x86_64, 41, args) != retAllow; got != want {
			t.Errorf("socket%v refused = %t, want %t", args[:3], got, want)
		}
	}
}

func TestRuleWithoutTestsWinsAndWarns(t *testing.T) {
	tested := `{"names":["socket"],"action":"SCMP_ACT_KILL","args":[{"index":0,"value":16,"op":"SCMP_CMP_EQ"}]}`
	plain := `{"names":["socket"],"action":"SCMP_ACT_LOG"}`
	for _, rules := range []string{tested + "," + plain, plain + "," + tested} {
		f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[`+rules+`]}`), "amd64")
		if got := f.Verdict(x86_64, 41, [6]uint64{16}); got != retLog {
			t.Errorf("%s: verdict %#x, want LOG", rules, got)
		}
		if len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], "socket") {
			t.Errorf("%s: warnings %q", rules, f.Warnings)
		}
	}
}

func TestFirstOfSeveralRulesWithoutTestsWins(t *testing.T) {
	f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
		{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":5},{"names":["mkdir"],"action":"SCMP_ACT_KILL"}]}`), "amd64")
	if got := f.Verdict(x86_64, 83, [6]uint64{}); got != retErrno|5 {
		t.Errorf("verdict %#x, want ERRNO(5)", got)
	}
}

func TestRuleWithFewerTestsWins(t *testing.T) {
	long := `{"names":["socket"],"action":"SCMP_ACT_KILL","args":[{"index":0,"value":16,"op":"SCMP_CMP_EQ"},{"index":2,"value":9,"op":"SCMP_CMP_EQ"}]}`
	short := `{"names":["socket"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":16,"op":"SCMP_CMP_EQ"}]}`
	for _, rules := range []string{long + "," + short, short + "," + long} {
		f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[`+rules+`]}`), "amd64")
		if got := f.Verdict(x86_64, 41, [6]uint64{16, 0, 9}); got != retLog {
			t.Errorf("%s: verdict %#x, want LOG", rules, got)
		}
		if len(f.Warnings) != 1 {
			t.Errorf("%s: warnings %q, want one", rules, f.Warnings)
		}
	}
}

func TestRulesOfTheDefaultActionDoNothing(t *testing.T) {
	f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
		{"names":["mkdir"],"action":"SCMP_ACT_ALLOW"},{"names":["mkdir"],"action":"SCMP_ACT_KILL"}]}`), "amd64")
	if got := f.Verdict(x86_64, 83, [6]uint64{}); got != retKillThread {
		t.Errorf("verdict %#x, want KILL_THREAD as under runc", got)
	}
}

func TestUnlistedABIKills(t *testing.T) {
	plain := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW"}`), "amd64")
	all := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_X86_64"]}`), "amd64")
	tests := []struct {
		arch, nr    uint32
		plain, full uint32
	}{
		{x86_64, 1, retAllow, retAllow},
		{x86_64, x32Bit | 1, retKillThread, retAllow},
		{x86_64, ^uint32(0), retAllow, retAllow}, // a tracer skips a call so
		{i386, 4, retKillThread, retAllow},
		{unix.AUDIT_ARCH_AARCH64, 64, retKillThread, retKillThread},
	}
	for _, tt := range tests {
		if got := plain.Verdict(tt.arch, tt.nr, [6]uint64{}); got != tt.plain {
			t.Errorf("native only: verdict on %#x/%#x = %#x, want %#x", tt.arch, tt.nr, got, tt.plain)
		}
		if got := all.Verdict(tt.arch, tt.nr, [6]uint64{}); got != tt.full {
			t.Errorf("all of x86: verdict on %#x/%#x = %#x, want %#x", tt.arch, tt.nr, got, tt.full)
		}
	}
}

func TestForeignABIsCostNothing(t *testing.T) {
	cfg := readProfile(t, "docker")
	cfg.Architectures = nil
	want := len(compile(t, cfg, "arm64").Prog)
	for _, a := range Archs() {
		if a != "SCMP_ARCH_ARM" {
			cfg.Architectures = append(cfg.Architectures, specs.Arch(a), specs.Arch(a))
		}
	}
	if got := len(compile(t, cfg, "arm64").Prog); got != want {
		t.Errorf("%d instructions with all foreign ABIs, %d without", got, want)
	}
}

func TestCallsNewerThanTheProfileDoNotExist(t *testing.T) {
	profile := func(def string) *specs.LinuxSeccomp {
		return decode(t, `{"defaultAction":"`+def+`","architectures":["SCMP_ARCH_ARM"],
			"syscalls":[{"names":["read","faccessat2","set_tls"],"action":"SCMP_ACT_ALLOW"},{"names":["openat2"],"action":"`+def+`"}]}`)
	}
	for _, def := range []string{"SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"} {
		f := compile(t, profile(def), "arm64")
		unnamed := f.Verdict(unix.AUDIT_ARCH_AARCH64, 0, [6]uint64{})
		for _, tt := range []struct{ arch, nr, want uint32 }{
			{unix.AUDIT_ARCH_AARCH64, 63, retAllow},
			{unix.AUDIT_ARCH_AARCH64, 64, unnamed},
			{unix.AUDIT_ARCH_AARCH64, 437, unnamed}, // openat2 is denied, not unknown
			{unix.AUDIT_ARCH_AARCH64, 439, retAllow},
			{unix.AUDIT_ARCH_AARCH64, 440, noCall},
			{unix.AUDIT_ARCH_AARCH64, ^uint32(0), noCall},
			{unix.AUDIT_ARCH_ARM, 440, noCall},
			{unix.AUDIT_ARCH_ARM, 0xf0002, unnamed},
			{unix.AUDIT_ARCH_ARM, 0xf0005, retAllow},
			{unix.AUDIT_ARCH_ARM, 0x100000, noCall},
		} {
			if got := f.Verdict(tt.arch, tt.nr, [6]uint64{}); got != tt.want {
				t.Errorf("%s: verdict on %#x/%d = %#x, want %#x", def, tt.arch, tt.nr, got, tt.want)
			}
		}
	}
	f := compile(t, profile("SCMP_ACT_LOG"), "arm64")
	if got := f.Verdict(unix.AUDIT_ARCH_AARCH64, 500, [6]uint64{}); got != retLog {
		t.Errorf("verdict on a new call under LOG = %#x, want LOG", got)
	}
	f = compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ERRNO"}`), "arm64")
	if got := f.Verdict(unix.AUDIT_ARCH_AARCH64, 500, [6]uint64{}); got != retErrno|1 {
		t.Errorf("verdict under a profile without names = %#x, want ERRNO(1)", got)
	}
}

func TestMultiplexedCallsFollowTheirNames(t *testing.T) {
	f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[
		{"names":["connect","shmat"],"action":"SCMP_ACT_ALLOW"},
		{"names":["bind"],"action":"SCMP_ACT_ALLOW","args":[{"index":2,"value":16,"op":"SCMP_CMP_EQ"}]},
		{"names":["listen"],"action":"SCMP_ACT_KILL","args":[{"index":1,"value":16,"op":"SCMP_CMP_EQ"}]}]}`), "amd64")
	for _, tt := range []struct {
		nr   uint32
		sel  uint64
		want uint32
	}{
		{102, 3, retAllow},      // connect
		{102, 2, retErrno | 1},  // bind: its test cannot be made, it stays refused
		{102, 4, retKillThread}, // listen: nor can this one, it is refused always
		{117, 21, retAllow},     // shmat
		{117, 22, retErrno | 1}, // shmdt
	} {
		if got := f.Verdict(i386, tt.nr, [6]uint64{tt.sel, 0, 16}); got != tt.want {
			t.Errorf("verdict on %d(%d) = %#x, want %#x", tt.nr, tt.sel, got, tt.want)
		}
	}
}

func TestSeenRuleComesBeforeBlindOne(t *testing.T) {
	plain := `{"names":["listen"],"action":"SCMP_ACT_LOG"}`
	tested := `{"names":["listen"],"action":"SCMP_ACT_KILL","args":[{"index":1,"value":16,"op":"SCMP_CMP_EQ"}]}`
	harder := `{"names":["listen"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":1,"value":17,"op":"SCMP_CMP_EQ"}]}`
	for _, tt := range []struct {
		rules []string
		want  uint32
	}{
		{[]string{plain, tested}, retLog},
		{[]string{tested, plain}, retLog},
		{[]string{tested, harder}, retKillProcess},
		{[]string{harder, tested}, retKillProcess},
	} {
		f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[`+strings.Join(tt.rules, ",")+`]}`), "amd64")
		if got := f.Verdict(i386, 102, [6]uint64{4, 16}); got != tt.want {
			t.Errorf("%s: verdict on socketcall(listen) = %#x, want %#x", tt.rules, got, tt.want)
		}
	}
}

type tests []specs.LinuxSeccompArg

// meeting are pairs of rules that meet on the arguments; the first decides.
var meeting = []struct {
	name          string
	first, second tests
	args          [6]uint64
}{
	{"below", tests{arg(0, specs.OpLessThan, 5)}, tests{arg(0, specs.OpLessThan, 10)}, [6]uint64{3}},
	{"at most", tests{arg(0, specs.OpLessEqual, 5)}, tests{arg(0, specs.OpLessEqual, 1<<32)}, [6]uint64{3}},
	{"above", tests{arg(0, specs.OpGreaterThan, 10)}, tests{arg(0, specs.OpGreaterThan, 5)}, [6]uint64{1 << 33}},
	{"at least", tests{arg(0, specs.OpGreaterEqual, 1<<33)}, tests{arg(0, specs.OpGreaterEqual, 5)}, [6]uint64{1 << 34}},
	{"equality before range", tests{arg(0, specs.OpEqualTo, 3)}, tests{arg(0, specs.OpLessThan, 10)}, [6]uint64{3}},
	{"below before above", tests{arg(0, specs.OpLessThan, 10)}, tests{arg(0, specs.OpGreaterThan, 1)}, [6]uint64{5}},
	{"later argument", tests{arg(1, specs.OpGreaterThan, 1)}, tests{arg(0, specs.OpEqualTo, 1)}, [6]uint64{1, 2}},
	{"larger value", tests{arg(0, specs.OpEqualTo, 9)}, tests{arg(0, specs.OpNotEqual, 5)}, [6]uint64{9}},
	{"second test", tests{arg(0, specs.OpEqualTo, 1), arg(2, specs.OpEqualTo, 7)}, tests{arg(0, specs.OpEqualTo, 1), arg(1, specs.OpEqualTo, 7)}, [6]uint64{1, 7, 7}},
}

func arg(index uint, o specs.LinuxSeccompOperator, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: o, Value: value}
}

func meetingProfile(first, second tests, swap bool) *specs.LinuxSeccomp {
	cfg := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"ioctl"}, Action: specs.ActLog, Args: first},
		{Names: []string{"ioctl"}, Action: specs.ActErrno, Args: second},
	}}
	if swap {
		slices.Reverse(cfg.Syscalls)
	}
	return cfg
}

func TestOrderOfRulesThatMeet(t *testing.T) {
	for _, tt := range meeting {
		for _, swap := range []bool{false, true} {
			f := compile(t, meetingProfile(tt.first, tt.second, swap), "amd64")
			if got := f.Verdict(x86_64, 16, tt.args); got != retLog {
				t.Errorf("%s, swapped %t: verdict %#x, want the first's %#x", tt.name, swap, got, uint32(retLog))
			}
		}
	}
}

func TestListener(t *testing.T) {
	f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/agent","listenerMetadata":"m",
		"flags":["SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
		"syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}`), "amd64")
	want := uint(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if !f.Notify || f.ListenerPath != "/run/agent" || f.ListenerMetadata != "m" || f.Flags != want {
		t.Errorf("filter = %t %q %q %#x, want listener with flags %#x", f.Notify, f.ListenerPath, f.ListenerMetadata, f.Flags, want)
	}
}

func TestFlags(t *testing.T) {
	tests := []struct {
		flags    string
		want     uint
		warnings int
	}{
		{`null`, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0},
		{`[]`, 0, 0},
		{`["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"]`, unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_TSYNC, 0},
		{`["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]`, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0},
		{`["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]`, 0, 1},
	}
	for _, tt := range tests {
		f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ALLOW","flags":`+tt.flags+`}`), "amd64")
		if f.Flags != tt.want || len(f.Warnings) != tt.warnings {
			t.Errorf("flags %s = %#x with warnings %q, want %#x with %d", tt.flags, f.Flags, f.Warnings, tt.want, tt.warnings)
		}
	}
}

func TestUnknownCallsAreOneWarning(t *testing.T) {
	f := compile(t, decode(t, `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
		{"names":["read","frobnicate","mmap2"],"action":"SCMP_ACT_ALLOW"},{"names":["twiddle"],"action":"SCMP_ACT_ALLOW"}]}`), "amd64")
	want := []string{"unknown system calls ignored: frobnicate, twiddle"}
	if !slices.Equal(f.Warnings, want) {
		t.Errorf("warnings = %q, want %q", f.Warnings, want)
	}
}

func TestCompileRefuses(t *testing.T) {
	rule := func(s string) string {
		return `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG"},{` + s + `}]}`
	}
	tests := []struct{ name, cfg, want string }{
		{"no action", `{}`, `linux.seccomp.defaultAction: unknown action ""`},
		{"action", `{"defaultAction":"SCMP_ACT_MAYBE"}`, `linux.seccomp.defaultAction: unknown action "SCMP_ACT_MAYBE"`},
		{"two actions in one word", `{"defaultAction":"SCMP_ACT_KILL SCMP_ACT_LOG"}`, `linux.seccomp.defaultAction: unknown action "SCMP_ACT_KILL SCMP_ACT_LOG"`},
		{"notify all", `{"defaultAction":"SCMP_ACT_NOTIFY","listenerPath":"/l"}`, `linux.seccomp.defaultAction: SCMP_ACT_NOTIFY is for single calls only`},
		{"default value", `{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}`, `linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW takes no value`},
		{"architecture", `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_VAX"]}`, `linux.seccomp.architectures[1]: unknown architecture "SCMP_ARCH_VAX"`},
		{"architecture prefix", `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["X86"]}`, `linux.seccomp.architectures[0]: unknown architecture "X86"`},
		{"flag", `{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_X"]}`, `linux.seccomp.flags[0]: unknown flag "SECCOMP_FILTER_FLAG_X"`},
		{"rule action", rule(`"names":["write"],"action":"ALLOW"`), `linux.seccomp.syscalls[1].action: unknown action "ALLOW"`},
		{"rule value", rule(`"names":["write"],"action":"SCMP_ACT_KILL","errnoRet":1`), `linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_KILL takes no value`},
		{"errno", rule(`"names":["write"],"action":"SCMP_ACT_ERRNO","errnoRet":4096`), `linux.seccomp.syscalls[1].errnoRet: 4096 is more than 4095`},
		{"trace data", rule(`"names":["write"],"action":"SCMP_ACT_TRACE","errnoRet":65536`), `linux.seccomp.syscalls[1].errnoRet: 65536 is more than 65535`},
		{"no names", rule(`"action":"SCMP_ACT_KILL"`), `linux.seccomp.syscalls[1].names: is empty`},
		{"empty name", rule(`"names":[""],"action":"SCMP_ACT_KILL"`), `linux.seccomp.syscalls[1].names: has an empty name`},
		{"operator", rule(`"names":["write"],"action":"SCMP_ACT_KILL","args":[{"index":0,"value":1,"op":"=="}]`), `linux.seccomp.syscalls[1].args[0].op: unknown operator "=="`},
		{"index", rule(`"names":["write"],"action":"SCMP_ACT_KILL","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]`), `linux.seccomp.syscalls[1].args[0].index: 6 is more than 5`},
		{"listener", rule(`"names":["write"],"action":"SCMP_ACT_NOTIFY"`), `linux.seccomp.listenerPath: is not set, but SCMP_ACT_NOTIFY needs it`},
		{"metadata", `{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}`, `linux.seccomp.listenerMetadata: is set without listenerPath`},
		{"sendmsg", rule(`"names":["write","sendmsg"],"action":"SCMP_ACT_NOTIFY"`), `linux.seccomp.syscalls[1].names: SCMP_ACT_NOTIFY cannot be used for sendmsg, which hands over the listener`},
		{
			"contradiction",
			`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
			{"names":["write"],"action":"SCMP_ACT_KILL","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
			{"names":["write"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]}`,
			`linux.seccomp.syscalls: two actions for write under the same tests`,
		},
	}
	for _, tt := range tests {
		_, err := Compile(decode(t, tt.cfg), "amd64")
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := Compile(&specs.LinuxSeccomp{}, "vax"); err == nil || err.Error() != "linux.seccomp: no system call table for vax" {
		t.Errorf("error for an unknown CPU: %v", err)
	}
	if _, err := Compile(nil, "amd64"); err == nil {
		t.Error("no error without a profile")
	}
}

func TestProgramsTooLongAreRefused(t *testing.T) {
	rules := func(n int) *specs.LinuxSeccomp {
		cfg := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
		for i := range n {
			cfg.Syscalls = append(cfg.Syscalls, specs.LinuxSyscall{
				Names: []string{"ioctl"}, Action: specs.ActErrno,
				Args: []specs.LinuxSeccompArg{{Index: 1, Value: uint64(i) << 32, Op: specs.OpEqualTo}, {Index: 2, Value: 1, Op: specs.OpEqualTo}},
			})
		}
		return cfg
	}
	f := compile(t, rules(400), "amd64")
	if got := f.Verdict(x86_64, 16, [6]uint64{1: 0, 2: 1}); got != retErrno|1 {
		t.Errorf("verdict of the last of 400 rules = %#x, want ERRNO(1)", got)
	}
	for _, n := range []int{1000, 5000} {
		if _, err := Compile(rules(n), "amd64"); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d rules: error %v, want one line", n, err)
		}
	}
}

func TestWordsForFeatures(t *testing.T) {
	if got := Actions(); len(got) != len(actionVerdicts) || got[0] != "SCMP_ACT_KILL" || got[8] != "SCMP_ACT_NOTIFY" {
		t.Errorf("Actions() = %q", got)
	}
	if got := Operators(); len(got) != 7 || got[opMasked] != "SCMP_CMP_MASKED_EQ" || got[opLT] != "SCMP_CMP_LT" {
		t.Errorf("Operators() = %q", got)
	}
	if got := Archs(); len(got) != 23 || got[0] != "SCMP_ARCH_X86" {
		t.Errorf("Archs() = %q", got)
	}
	if got := Flags(); len(got) != len(flagBits) {
		t.Errorf("Flags() = %q", got)
	}
}

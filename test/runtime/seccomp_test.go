package runtimetest

import (
	"os"
	"runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ownArch is the name of the architecture the tests run on.
func ownArch(t *testing.T) specs.Arch {
	t.Helper()
	switch runtime.GOARCH {
	case "amd64":
		return specs.ArchX86_64
	case "arm64":
		return specs.ArchAARCH64
	case "arm":
		return specs.ArchARM
	}
	t.Skipf("no name for %s", runtime.GOARCH)
	return ""
}

// filter sets a profile that allows all but these rules.
func (b *bundle) filter(rules ...specs.LinuxSyscall) *bundle {
	b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{ownArch(b.t)}, Syscalls: rules}
	return b
}

func rule(action specs.LinuxSeccompAction, names ...string) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: names, Action: action}
}

func TestSeccompIsOnOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	if got := b.report().Seccomp; got != 0 {
		t.Errorf("mode %d without a profile", got)
	}
	for _, nnp := range []bool{true, false} {
		b.Spec.Process.NoNewPrivileges = nnp
		b.filter(rule(specs.ActErrno, "getsid"))
		r := b.report()
		if r.Seccomp != 2 || r.SeccompFilters != 1 {
			t.Errorf("no_new_privs %v: mode %d with %d filters, want 2 with 1", nnp, r.Seccomp, r.SeccompFilters)
		}
		if (r.NoNewPrivs == 1) != nnp {
			t.Errorf("no_new_privs %v, want %v", r.NoNewPrivs, nnp)
		}
	}
}

func TestSeccompErrno(t *testing.T) {
	t.Parallel()
	ret := rule(specs.ActErrno, "getsid")
	ret.ErrnoRet = ptr(uint(38))
	zero := rule(specs.ActErrno, "umask")
	zero.ErrnoRet = ptr(uint(0))
	b := newBundle(t).filter(rule(specs.ActErrno, "getpriority", "no_such_call_anywhere"), ret, zero)
	r := b.do("syscall getpriority 0 0", "syscall getsid 0", "syscall umask 63", "syscall getppid")
	if !strings.HasPrefix(r[0].Err, "errno 1:") || !strings.HasPrefix(r[1].Err, "errno 38:") || r[2].Out != "0" || r[2].Err != "" || r[3].Err != "" {
		t.Errorf("%v, want errno 1, errno 38, 0 without the call being made, success", r)
	}
}

func TestSeccompDefaultErrno(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	// Deny by default, and allow what a Go program calls by allowing all numbers of one range of names.
	b.filter()
	b.Spec.Linux.Seccomp.DefaultAction = specs.ActErrno
	b.Spec.Linux.Seccomp.DefaultErrnoRet = ptr(uint(95))
	b.Spec.Linux.Seccomp.Syscalls = []specs.LinuxSyscall{rule(specs.ActAllow, goCalls...)}
	r := b.do("syscall getpriority 0 0", "syscall getppid")
	if !strings.HasPrefix(r[0].Err, "errno 95:") || r[1].Err != "" {
		t.Errorf("%v", r)
	}
}

// goCalls is what the probe and its runtime need, with what a runtime may do between the filter and the program.
var goCalls = strings.Fields(`arch_prctl brk capget capset chdir clock_gettime clone clone3 close close_range dup dup2 dup3 epoll_create1 epoll_ctl
epoll_pwait eventfd2 execve exit exit_group faccessat faccessat2 fchdir fcntl fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getpgid
getpid getppid getrandom getrlimit gettid getuid ioctl lseek madvise mincore mmap mprotect munmap nanosleep newfstatat open openat
openat2 pipe2 prctl pread64 prlimit64 pwrite64 read readlink readlinkat rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity
sched_yield seccomp set_robust_list set_tid_address setgid setgroups setresgid setresuid setrlimit setuid sigaltstack statx tgkill
timer_create timer_delete timer_settime uname ugetrlimit clock_nanosleep fcntl64 fstat64 fstatat64 futex_time64 clock_gettime64 mmap2
_llseek set_tls geteuid32 getuid32 getgid32 getegid32 setgroups32 setresuid32 setresgid32 epoll_wait getsockopt wait4 write writev`)

func TestSeccompArgumentTests(t *testing.T) {
	t.Parallel()
	arg := func(index uint, op specs.LinuxSeccompOperator, value, two uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: index, Op: op, Value: value, ValueTwo: two}
	}
	cases := []struct {
		name string
		args []specs.LinuxSeccompArg
		hit  []string // arguments of dup3 for which the rule acts
		miss []string
	}{
		{"equal", []specs.LinuxSeccompArg{arg(0, specs.OpEqualTo, 777, 0)}, []string{"777 1 0"}, []string{"778 1 0", "0x100000309 1 0"}},
		{"not equal", []specs.LinuxSeccompArg{arg(0, specs.OpNotEqual, 777, 0)}, []string{"778 1 0"}, []string{"777 1 0"}},
		{"less", []specs.LinuxSeccompArg{arg(0, specs.OpLessThan, 777, 0)}, []string{"776 1 0"}, []string{"777 1 0", "778 1 0"}},
		{"less or equal", []specs.LinuxSeccompArg{arg(0, specs.OpLessEqual, 777, 0)}, []string{"776 1 0", "777 1 0"}, []string{"778 1 0"}},
		{"greater", []specs.LinuxSeccompArg{arg(0, specs.OpGreaterThan, 777, 0)}, []string{"778 1 0", "0x100000308 1 0"}, []string{"777 1 0"}},
		{"greater or equal", []specs.LinuxSeccompArg{arg(0, specs.OpGreaterEqual, 777, 0)}, []string{"777 1 0"}, []string{"776 1 0"}},
		{"masked", []specs.LinuxSeccompArg{arg(0, specs.OpMaskedEqual, 0xff0, 0x120)}, []string{"0x12f 1 0", "0xf120 1 0"}, []string{"0x130 1 0"}},
		{"both of two", []specs.LinuxSeccompArg{arg(0, specs.OpEqualTo, 777, 0), arg(1, specs.OpEqualTo, 5, 0)}, []string{"777 5 0"}, []string{"777 6 0", "776 5 0"}},
		{"high word", []specs.LinuxSeccompArg{arg(0, specs.OpEqualTo, 0x500000309, 0)}, []string{"0x500000309 1 0"}, []string{"777 1 0", "0x500000308 1 0"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.name == "high word" || c.name == "greater" || c.name == "equal" {
				need64Bit(t)
			}
			r := specs.LinuxSyscall{Names: []string{"dup3"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(95)), Args: c.args}
			b := newBundle(t).filter(r)
			var commands []string
			for _, a := range append(append([]string{}, c.hit...), c.miss...) {
				commands = append(commands, "syscall dup3 "+a)
			}
			for i, got := range b.do(commands...) {
				if hit := strings.HasPrefix(got.Err, "errno 95:"); hit != (i < len(c.hit)) {
					t.Errorf("%s: %q %q", got.Command, got.Out, got.Err)
				}
			}
		})
	}
}

func need64Bit(t *testing.T) {
	t.Helper()
	if runtime.GOARCH == "arm" {
		t.Skip("needs 64-bit arguments")
	}
}

// Rules for one call are alternatives, and the same call may appear with different actions.
func TestSeccompAlternativeRules(t *testing.T) {
	t.Parallel()
	is := func(v uint64, errno uint) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{"dup3"}, Action: specs.ActErrno, ErrnoRet: &errno, Args: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo, Value: v}}}
	}
	r := newBundle(t).filter(is(777, 95), is(778, 38)).do("syscall dup3 777 1 0", "syscall dup3 778 1 0", "syscall dup3 779 1 0")
	for i, want := range []string{"errno 95:", "errno 38:", "errno 9:"} {
		if !strings.HasPrefix(r[i].Err, want) {
			t.Errorf("%s: %s, want %s", r[i].Command, r[i].Err, want)
		}
	}
}

func TestSeccompKills(t *testing.T) {
	t.Parallel()
	for action, want := range map[specs.LinuxSeccompAction]int{
		specs.ActKillProcess: 128 + 31, specs.ActKill: 0, specs.ActKillThread: 0, specs.ActTrap: 2,
	} {
		t.Run(string(action), func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, "syscall", "getsid", "0").filter(rule(action, "getsid"))
			switch action {
			case specs.ActKillProcess, specs.ActTrap: // TRAP is SIGSYS, which Go turns into exit status 2
				if r := b.run(); r.code != want {
					t.Errorf("want exit %d: %v", want, r)
				}
			default:
				peerLacks(t, "delete does not kill the other threads", "runc")
				// Only the thread dies, the other threads of a Go program live on
				b.Spec.Process.Args = []string{"/probe", "do", "syscall", "getsid", "0", ",", "echo", "survived"}
				b.create()
				b.start()
				eventually(t, "killed", func() bool { return killedThread(b) })
				if strings.Contains(contents(b.out), "survived") {
					t.Error("the thread was not killed")
				}
			}
		})
	}
}

func TestSeccompLogAndTraceDoNotStopTheCall(t *testing.T) {
	t.Parallel()
	trace := rule(specs.ActTrace, "getpriority")
	b := newBundle(t).filter(rule(specs.ActLog, "getsid"), trace)
	r := b.do("syscall getsid 0", "syscall getpriority 0 0")
	if r[0].Err != "" {
		t.Errorf("logged call: %v", r[0])
	}
	if !strings.HasPrefix(r[1].Err, "errno 38:") { // without a tracer the kernel answers ENOSYS
		t.Errorf("traced call: %v", r[1])
	}
}

func TestSeccompFlags(t *testing.T) {
	t.Parallel()
	peerLacks(t, "know fewer", "runc", "crun")
	for _, f := range []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, "SECCOMP_FILTER_FLAG_TSYNC"} {
		b := newBundle(t).filter(rule(specs.ActErrno, "getsid"))
		b.Spec.Linux.Seccomp.Flags = []specs.LinuxSeccompFlag{f}
		if got := b.report().Seccomp; got != 2 {
			t.Errorf("%s: mode %d", f, got)
		}
	}
	b := newBundle(t, "echo").filter()
	b.Spec.Linux.Seccomp.Flags = []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_NONSENSE"}
	wantRefusal(t, b.run(), "NONSENSE")
}

func TestSeccompBadProfilesAreRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]func(s *specs.LinuxSeccomp){
		"operator":     func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args = []specs.LinuxSeccompArg{{Op: "SCMP_CMP_NONSENSE"}} },
		"architecture": func(s *specs.LinuxSeccomp) { s.Architectures = []specs.Arch{"SCMP_ARCH_NONSENSE"} },
		"action":       func(s *specs.LinuxSeccomp) { s.Syscalls[0].Action = "SCMP_ACT_NONSENSE" },
		"argument index": func(s *specs.LinuxSeccomp) {
			s.Syscalls[0].Args = []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}
		},
		"errno for allow": func(s *specs.LinuxSeccomp) {
			s.Syscalls[0].Action = specs.ActAllow
			s.Syscalls[0].ErrnoRet = ptr(uint(1))
		},
		"no names":          func(s *specs.LinuxSeccomp) { s.Syscalls[0].Names = nil },
		"notify, no socket": func(s *specs.LinuxSeccomp) { s.Syscalls[0].Action = specs.ActNotify },
		"metadata alone":    func(s *specs.LinuxSeccomp) { s.ListenerMetadata = "x" },
		"notify by default": func(s *specs.LinuxSeccomp) { s.DefaultAction = specs.ActNotify; s.ListenerPath = "/nowhere" },
	}
	lacks := map[string][]string{
		"errno for allow": {"runc", "crun"}, "no names": {"runc", "crun"}, "metadata alone": {"crun", "runc"}, "notify, no socket": {"crun"},
		"argument index": {"crun", "runc"}, "notify by default": {"crun"}, "action": {}, "operator": {},
	}
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peerLacks(t, "accepts it", lacks[name]...)
			b := newBundle(t, "echo").filter(rule(specs.ActErrno, "getsid"))
			edit(b.Spec.Linux.Seccomp)
			wantRefusal(t, b.run())
		})
	}
}

func TestSeccompForeignArchitecturesMayBeListed(t *testing.T) {
	t.Parallel()
	b := newBundle(t).filter(rule(specs.ActErrno, "getsid"))
	b.Spec.Linux.Seccomp.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM}
	r := b.do("syscall getsid 0", "syscall getppid")
	if !strings.HasPrefix(r[0].Err, "errno 1:") || r[1].Err != "" {
		t.Errorf("%v", r)
	}
	b.Spec.Linux.Seccomp.Architectures = nil // the machine's own
	r = b.do("syscall getsid 0", "syscall getppid")
	if !strings.HasPrefix(r[0].Err, "errno 1:") || r[1].Err != "" {
		t.Errorf("no architectures: %v", r)
	}
}

// Numbers with the x32 bit must not go around the filter: they fail, or kill.
func TestSeccompSeesTheX32Numbers(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64")
	}
	peerLacks(t, "libseccomp kills the thread, delete then fails", "runc")
	b := newBundle(t, "do", "syscall", "0x4000007c", "0").filter(rule(specs.ActErrno, "getsid")) // __X32_SYSCALL_BIT | getsid
	b.create()
	b.start()
	eventually(t, "over", func() bool { return killedThread(b) })
	if out := contents(b.out); strings.Contains(out, `"Err":""`) {
		t.Errorf("the call went through: %s", out)
	}
}

// killedThread is true once the program has ended, or at least its first thread.
func killedThread(b *bundle) bool {
	text, _ := os.ReadFile("/proc/" + itoa(b.pid()) + "/status")
	return strings.Contains(string(text), "State:\tZ") || b.status() == specs.StateStopped
}

// A process that joins later is no less confined.
func TestSeccompIsInheritedByExec(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").filter(rule(specs.ActErrno, "getsid"))
	b.up()
	r := b.execDo("syscall getsid 0", "syscall getppid")
	if !strings.HasPrefix(r[0].Err, "errno 1:") || r[1].Err != "" {
		t.Errorf("%v", r)
	}
}

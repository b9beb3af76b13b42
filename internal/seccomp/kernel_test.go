//go:build amd64 || arm64

package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary load a filter and try calls under it.
const childEnv = "SECCOMP_TEST_CHILD"

// A job is what a child does. It tells over standard output what came of it.
type job struct {
	Profile *specs.LinuxSeccomp
	Calls   []call
	// Answer is the errno that the listener gives to each call it gets.
	Answer int
}

type call struct {
	I386 bool
	Nr   uint32
	Args [6]uint64
}

type result struct {
	// Errnos has an element per call, 0 for success.
	Errnos []int
	// Asked are the numbers of the calls that reached the listener.
	Asked []int
	// Gone tells that the thread under the filter was killed.
	Gone bool
}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child runs a job: one thread loads the filter and makes the calls. It does
// nothing else from then on, since Go's runtime may need what is forbidden.
func child() error {
	debug.SetGCPercent(-1)
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return err
	}
	f, err := Compile(j.Profile, runtime.GOARCH)
	if err != nil {
		return err
	}
	w := worker{calls: j.Calls, errnos: make([]int, len(j.Calls)), gate: newGate()}
	w.tid.Store(0)
	w.listener.Store(-1)
	go w.run(f)
	for w.tid.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	res := result{}
	for !w.done.Load() {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", w.tid.Load())); err != nil {
			res.Gone = true
			break
		}
		if fd := w.listener.Load(); fd >= 0 {
			if nr, ok := answer(int(fd), j.Answer); ok {
				res.Asked = append(res.Asked, nr)
			}
			continue
		}
		time.Sleep(time.Millisecond)
	}
	if w.loadErr != 0 {
		return fmt.Errorf("seccomp: %w", w.loadErr)
	}
	res.Errnos = w.errnos
	return json.NewEncoder(os.Stdout).Encode(res)
}

type worker struct {
	calls    []call
	errnos   []int
	gate     *gate
	tid      atomic.Int64
	listener atomic.Int64
	loadErr  syscall.Errno
	done     atomic.Bool
}

func (w *worker) run(f *Filter) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		go w.run(f) // the first thread would stay as a zombie when killed
		select {}
	}
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		panic(err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	prog := unix.SockFprog{Len: uint16(len(f.Prog)), Filter: &f.Prog[0]}
	w.tid.Store(int64(unix.Gettid()))
	w.underFilter(&prog, uintptr(f.Flags), f.Notify)
}

// underFilter has no stack check, where the scheduler would step in and make
// calls of its own.
//
//go:nosplit
//go:norace
func (w *worker) underFilter(prog *unix.SockFprog, flags uintptr, notify bool) {
	fd, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(prog)))
	w.loadErr = errno
	if errno == 0 && notify {
		w.listener.Store(int64(fd))
	}
	for i := range w.calls {
		if errno != 0 {
			break
		}
		c := &w.calls[i]
		if c.I386 {
			w.errnos[i] = w.gate.call(c)
			continue
		}
		_, _, e := syscall.RawSyscall6(uintptr(c.Nr), uintptr(c.Args[0]), uintptr(c.Args[1]), uintptr(c.Args[2]),
			uintptr(c.Args[3]), uintptr(c.Args[4]), uintptr(c.Args[5]))
		w.errnos[i] = int(e)
	}
	w.done.Store(true)
	for w.done.Load() { // not one call more
	}
}

// answer takes one call off the listener, if there is one within 50 ms.
func answer(fd, errno int) (nr int, ok bool) {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, _ := unix.Poll(poll, 50); n != 1 {
		return 0, false
	}
	// struct seccomp_notif and seccomp_notif_resp of seccomp_unotify(2).
	var req struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	if _, _, e := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&req))); e != 0 {
		return 0, false
	}
	resp := struct {
		id     uint64
		val    int64
		errno  int32
		flags_ uint32
	}{id: req.id, errno: int32(-errno)}
	_, _, e := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&resp)))
	return int(req.nr), e == 0
}

// try runs a job in a child and returns its result, or how it died.
func try(t *testing.T, j job) (result, error) {
	t.Helper()
	data, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdin = bytes.NewReader(data)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return result{}, fmt.Errorf("%w: %s", err, stderr.String())
	}
	var r result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s %s", err, stdout.String(), stderr.String())
	}
	return r, nil
}

// harmless calls do nothing and look at no argument.
var harmless = []string{"getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "gettid"}

// TestKernelAgreesWithVerdict makes calls with all sorts of arguments under
// random profiles.
func TestKernelAgreesWithVerdict(t *testing.T) {
	for seed := range uint64(40) {
		s := &source{rand: rand.New(rand.NewPCG(seed, 11))}
		def := uint(4000)
		cfg := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &def, Architectures: []specs.Arch{specs.ArchX86, specs.ArchARM}}
		for i := range 20 {
			errno := uint(3000 + i)
			rule := specs.LinuxSyscall{Names: []string{harmless[s.n(len(harmless))]}, Action: specs.ActErrno, ErrnoRet: &errno}
			if s.n(3) == 0 {
				rule.Action, rule.ErrnoRet = specs.ActAllow, nil
			}
			for range 1 + s.n(3) {
				rule.Args = append(rule.Args, specs.LinuxSeccompArg{
					Index: uint(s.n(6)), Value: s.value(), ValueTwo: s.value(), Op: specs.LinuxSeccompOperator(Operators()[s.n(7)]),
				})
			}
			cfg.Syscalls = append(cfg.Syscalls, rule)
		}
		f, err := Compile(cfg, runtime.GOARCH)
		if err != nil {
			continue
		}
		j := job{Profile: cfg}
		for range 2000 {
			name := harmless[s.n(len(harmless))]
			c := call{Nr: number(t, name, runtime.GOARCH), Args: s.args()}
			if haveGate && s.n(2) == 0 {
				c.I386, c.Nr = true, number(t, name, "386")
				for i := range c.Args {
					c.Args[i] &= 0xffffffff // what an i386 program can pass
				}
			}
			j.Calls = append(j.Calls, c)
		}
		checkErrnos(t, f, j)
	}
}

// checkErrnos runs a job of calls that a filter refuses or that do no harm.
func checkErrnos(t *testing.T, f *Filter, j job) {
	t.Helper()
	r, err := try(t, j)
	if err != nil {
		t.Fatalf("%v under %s", err, encode(t, j.Profile))
	}
	for i, c := range j.Calls {
		v := f.Verdict(c.token(), c.Nr, c.Args)
		want := 0
		if v&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO {
			want = int(v & unix.SECCOMP_RET_DATA)
		}
		if r.Errnos[i] != want {
			t.Fatalf("call %+v: errno %d, verdict %#x, under %s", c, r.Errnos[i], v, encode(t, j.Profile))
		}
	}
}

func (c *call) token() uint32 {
	if c.I386 {
		return i386
	}
	return archs[nativeArch(runtime.GOARCH)].token
}

// TestKernelRefusesWhatRealProfilesRefuse makes every call that a real profile
// refuses.
func TestKernelRefusesWhatRealProfilesRefuse(t *testing.T) {
	for _, name := range []string{"docker", "podman"} {
		cfg := readProfile(t, name)
		if runtime.GOARCH == "arm64" {
			cfg.Architectures = []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
		}
		f := compile(t, cfg, runtime.GOARCH)
		j := job{Profile: cfg}
		for i := range uint32(600) {
			if i == 335 || i == 336 {
				continue // uretprobe and uprobe pass by seccomp since Linux 6.14
			}
			for _, c := range []call{{Nr: i}, {Nr: i, I386: true}, {Nr: i | x32Bit}} {
				if c.I386 && !haveGate {
					continue
				}
				if f.Verdict(c.token(), c.Nr, c.Args)&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO {
					j.Calls = append(j.Calls, c)
				}
			}
		}
		checkErrnos(t, f, j)
		t.Logf("%s: %d calls refused", name, len(j.Calls))
	}
}

func onGetppid(action string) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: "/l",
		Syscalls: []specs.LinuxSyscall{{Names: []string{"getppid"}, Action: specs.LinuxSeccompAction(action)}},
	}
}

func TestKernelTakesEachAction(t *testing.T) {
	getppid := []call{{Nr: number(t, "getppid", runtime.GOARCH)}}
	for _, action := range []string{"SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"} {
		_, err := try(t, job{Profile: onGetppid(action), Calls: getppid})
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGSYS {
			t.Errorf("%s: %v, want death by SIGSYS", action, err)
		}
	}
	for _, action := range []string{"SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD"} {
		r, err := try(t, job{Profile: onGetppid(action), Calls: getppid})
		if err != nil || !r.Gone {
			t.Errorf("%s: %+v, %v, want only the thread gone", action, r, err)
		}
	}
	for action, want := range map[string]syscall.Errno{
		"SCMP_ACT_ERRNO": unix.EPERM,
		"SCMP_ACT_TRACE": unix.ENOSYS, // without a tracer
		"SCMP_ACT_LOG":   0,
		"SCMP_ACT_ALLOW": 0,
	} {
		r, err := try(t, job{Profile: onGetppid(action), Calls: getppid})
		if err != nil || r.Gone || syscall.Errno(r.Errnos[0]) != want {
			t.Errorf("%s: %+v, %v, want errno %v", action, r, err, want)
		}
	}
}

func TestKernelAsksTheListener(t *testing.T) {
	cfg := onGetppid("SCMP_ACT_NOTIFY")
	cfg.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv, specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, "SECCOMP_FILTER_FLAG_TSYNC"}
	nr := number(t, "getppid", runtime.GOARCH)
	r, err := try(t, job{Profile: cfg, Calls: []call{{Nr: nr}, {Nr: number(t, "getuid", runtime.GOARCH)}}, Answer: int(unix.EXDEV)})
	if err != nil && strings.Contains(err.Error(), "invalid argument") {
		t.Skip("WAIT_KILLABLE_RECV needs Linux 5.19")
	}
	if err != nil || len(r.Asked) != 1 || r.Asked[0] != int(nr) || r.Errnos[0] != int(unix.EXDEV) || r.Errnos[1] != 0 {
		t.Errorf("result %+v, %v, want call %d asked and answered with EXDEV", r, err, nr)
	}
}

func TestKernelTakesEachFlag(t *testing.T) {
	for _, flag := range Flags() {
		cfg := onGetppid("SCMP_ACT_ERRNO")
		cfg.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(flag)}
		r, err := try(t, job{Profile: cfg, Calls: []call{{Nr: number(t, "getppid", runtime.GOARCH)}}})
		if err != nil || r.Errnos[0] != int(unix.EPERM) {
			t.Errorf("%s: %+v, %v", flag, r, err)
		}
	}
}

// TestKernelTakesTheLongestProgram comes as close to 4096 instructions as
// whole rules allow.
func TestKernelTakesTheLongestProgram(t *testing.T) {
	profile := func(rules int) *specs.LinuxSeccomp {
		cfg := onGetppid("SCMP_ACT_ALLOW")
		for i := range rules {
			errno := uint(1 + i%4000)
			cfg.Syscalls = append(cfg.Syscalls, specs.LinuxSyscall{
				Names: []string{"getpid"}, Action: specs.ActErrno, ErrnoRet: &errno,
				Args: []specs.LinuxSeccompArg{{Index: 0, Value: uint64(i) << 30, Op: specs.OpEqualTo}},
			})
		}
		return cfg
	}
	rules := sort.Search(4096, func(n int) bool {
		_, err := Compile(profile(n), runtime.GOARCH)
		return err != nil
	}) - 1
	j := job{Profile: profile(rules)}
	f := compile(t, j.Profile, runtime.GOARCH)
	if len(f.Prog) < maxInsns-10 {
		t.Errorf("%d instructions, want nearly %d", len(f.Prog), maxInsns)
	}
	for i := range rules {
		j.Calls = append(j.Calls, call{Nr: number(t, "getpid", runtime.GOARCH), Args: [6]uint64{uint64(i) << 30}})
	}
	checkErrnos(t, f, j)
}

//go:build vm

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tare.dev/tare/test/output"
	"tare.dev/tare/test/vm/suite"
)

// packages have tests that want control groups v2, or another CPU or kernel than the host's. A later
// line may run some of them again, below systemd. The seconds are those of a slow machine without
// hardware virtualization.
var packages = []struct {
	path    string
	run     string // -test.run; empty for all
	skip    string // -test.skip
	on      []string
	systemd bool
	long    bool // only where TARE_VM_LONG is set: it would take the whole run past its time
	seconds int
}{
	{path: "./internal/sysprog", on: everywhere, seconds: 120},
	{path: "./internal/program", on: arm, seconds: 120},
	{path: "./internal/host", on: everywhere, seconds: 60},
	{path: "./internal/cgroup", on: everywhere, seconds: 180},
	{path: "./internal/seccomp", on: everywhere, seconds: 120},
	{path: "./internal/container", on: everywhere, seconds: 300},
	{path: "./internal/object", on: pc, seconds: 120},
	{path: "./internal/store", on: everywhere, seconds: 120},
	{path: "./internal/rootfs", on: everywhere, seconds: 120},
	{path: "./internal/quota", on: pc, seconds: 60},
	{path: "./test/runtime", on: newPC, skip: faultsOfNoGroup, seconds: 900},
	{path: "./test/runtime", on: oldPC, seconds: 1200},
	{path: "./test/runtime", on: arm64, skip: sameOnEveryCPU, seconds: 900},
	{path: "./test/runtime", on: armhf, run: of32Bits, skip: sameOnEveryCPU, long: true, seconds: 900},
	{path: "./test/write", on: pc, seconds: 180},
	{path: "./test/compat", run: ofNoClient, on: newPC, seconds: 300},
	{path: "./test/system", on: pc, seconds: 300},
	{path: "./internal/cgroup", run: "Systemd", on: pc, systemd: true, seconds: 120},
	{path: "./test/system", run: "Driver", on: pc, systemd: true, seconds: 120},
}

const (
	// What needs no client but tare's own: the engine on pure cgroup v2.
	ofNoClient = "^(TestAProgramIsReplacedUnderItsContainers|TestWhyTellsTheRule|TestMemoryIsGuaranteedAndTaken)$"
	// Each case starts more than a hundred containers. The lists of these differ from those of the cases
	// that run in what has no part in control groups; the host runs them.
	faultsOfNoGroup = "^TestFaultInEveryOperationOfRunAndCreate$/(create_plain|seccomp|mounts|hooks)$|" +
		"^TestFaultInEveryOperationWithAMonitor$"
	// These take longest and prove what hangs on the order of calls, on names or on texts, not on the
	// CPU: faults and races, of which the amd64 machine runs the same, unprivileged use, crun beside,
	// conversions of limits, and what a tenth of a CPU, here emulated, is.
	sameOnEveryCPU = "^Test(Fault|Attack|Rootless|Killed|Many|SameBundle|OlderKernelsGiveTheSameContainer|RepeatedCommands|CPUQuota|" +
		"Unified|Shares|VersionsOf|Duplicate|HomeComes|Events)"
	// What has calls, structures and numbers of its own where a word has 32 bits; the whole suite there
	// would double the stage's time.
	of32Bits = "^Test(Exec|Exit|Terminal|Seccomp|Device|IDMapped|Time|Rlimit)"
)

var (
	newPC      = []string{"amd64"}
	oldPC      = []string{"amd64-5.10"}
	pc         = slices.Concat(newPC, oldPC)
	arm64      = []string{"arm64"}
	armhf      = []string{"armhf"}
	arm        = slices.Concat(arm64, armhf)
	everywhere = slices.Concat(pc, arm)
)

// root is where the module starts, seen from this package.
const root = "../.."

// TestMachine boots a virtual machine for each platform, runs its suites there, and reports each as a
// subtest. The last platform runs only where TARE_VM_PLATFORMS names it.
func TestMachine(t *testing.T) {
	cache, err := filepath.Abs(filepath.Join(root, "build"))
	if err != nil {
		t.Fatal(err)
	}
	lock(t, filepath.Join(cache, "vm.lock"))
	chosen := strings.Fields(os.Getenv("TARE_VM_PLATFORMS"))
	for _, p := range Platforms() {
		if slices.Contains(chosen, p.Name) || len(chosen) == 0 && p.Release == "" {
			t.Run(p.Name, func(t *testing.T) { boot(t, cache, p) })
		}
	}
}

// boot makes the machine of a platform, runs it and judges what it says.
func boot(t *testing.T, cache string, p Platform) {
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	dir := filepath.Join(cache, "vm", p.Name)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "bin"), 0o755)); err != nil {
		t.Fatal(err)
	}
	suites := build(t, ctx, dir, p)
	kernel, err := DebianKernel(ctx, filepath.Join(cache, "rootfs"), p)
	if err != nil {
		t.Fatal(err)
	}
	base, err := baseDisk(ctx, cache, p, kernel)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := suiteDisk(ctx, root, dir, suites)
	if err != nil {
		t.Fatal(err)
	}
	m := Machine{
		Platform: p, Kernel: kernel, Initrd: dir + ".initrd", Disks: []string{base, disk},
		Console: dir + ".console", Accel: os.Getenv("TARE_VM_ACCEL"),
	}
	if err := writeInitrd(m.Initrd, kernel, filepath.Join(dir, "guest")); err != nil {
		t.Fatal(err)
	}
	if m.Accel == "" {
		m.Accel = Accel(ctx, p, kernel)
	}
	fmt.Printf("linux %s, %s\n", kernel.Version, m.Accel)
	start := time.Now()
	results, err := m.Run(ctx, func(line string) { fmt.Println(line) })
	fmt.Printf("the machine ran for %.0f s\n", time.Since(start).Seconds())
	judge(t, suites, results, p)
	if err != nil {
		t.Error(err)
	}
	if !results.Done {
		console, _ := os.ReadFile(m.Console)
		t.Errorf("the machine ended early; its console:\n%s", tail(string(console), 60))
	}
}

// lock waits for another run of the machine from the same tree, which would have the same files.
func lock(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", path, err)
	}
}

// judge reports each suite as a test, those that never ran too.
func judge(t *testing.T, suites []suite.Suite, results *suite.Reader, p Platform) {
	t.Helper()
	var rules []output.Rule
	for _, name := range []string{"skips.txt", "skips-" + p.Name + ".txt"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		more, err := output.ParseRules(string(text))
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, more...)
	}
	for i, s := range suites {
		t.Run(strings.TrimPrefix(s.Name, "./"), func(t *testing.T) {
			if i >= len(results.Results) || results.Results[i].Name != s.Name {
				t.Fatal("was not run")
			}
			for _, complaint := range complaints(results.Results[i], rules) {
				t.Error(complaint)
			}
		})
	}
}

// build compiles the guest, the programs and the tests, all static, into dir.
func build(t *testing.T, ctx context.Context, dir string, p Platform) []suite.Suite {
	t.Helper()
	// The flags of `make build`: what it and `make size` have compiled need not be compiled again.
	goBuild := func(args ...string) bool {
		t.Helper()
		args = append([]string{"CGO_ENABLED=0", "GOARCH=" + p.GOARCH, "go"}, args...)
		out, err := command(ctx, root, "env", args...)
		if err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return err == nil
	}
	const entry = "-ldflags=-s -w -E=tare.dev/tare/internal/sysprog.entry"
	bin := filepath.Join(dir, "bin")
	ok := goBuild("build", "-trimpath", "-o", filepath.Join(dir, "guest"), "./test/vm/guest") &&
		goBuild("build", "-trimpath", "-o", bin+"/", "./test/runtime/probe") &&
		goBuild("build", "-trimpath", entry, "-o", filepath.Join(bin, "tare"), "./cmd/tare") &&
		goBuild("build", "-trimpath", entry, "-tags", "faultinject", "-o", filepath.Join(bin, "tare-faults"), "./cmd/tare")
	if !ok {
		t.FailNow()
	}
	if err := os.Symlink("tare", filepath.Join(bin, "tare-runtime")); err != nil {
		t.Fatal(err)
	}
	var suites []suite.Suite
	for _, pkg := range packages {
		if !slices.Contains(pkg.on, p.Name) || !wanted(pkg.path) || pkg.long && os.Getenv("TARE_VM_LONG") == "" {
			continue
		}
		name := strings.NewReplacer("./", "", "/", "-").Replace(pkg.path) + ".test"
		if !goBuild("test", "-c", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), pkg.path) {
			continue
		}
		s := suite.Suite{
			Name: pkg.path, Program: "/vm/" + name, Dir: filepath.Join("/vm/src", pkg.path),
			Args:    []string{"-test.v", fmt.Sprintf("-test.timeout=%ds", pkg.seconds)},
			Seconds: pkg.seconds + 10, Systemd: pkg.systemd,
			Env: environment(),
		}
		if pkg.run != "" {
			s.Args = append(s.Args, "-test.run="+pkg.run)
		}
		if pkg.skip != "" {
			s.Args = append(s.Args, "-test.skip="+pkg.skip)
		}
		if run := os.Getenv("TARE_VM_RUN"); run != "" {
			s.Args = append(s.Args, "-test.run="+run)
		}
		suites = append(suites, s)
	}
	return suites
}

// environment tells the tests where the machine keeps what they need. TARE_VM_RUNTIME names another
// runtime of the machine to try them with, as /usr/bin/crun.
func environment() []string {
	runtime := os.Getenv("TARE_VM_RUNTIME")
	if runtime == "" {
		runtime = "/vm/bin/tare-runtime"
	}
	return []string{
		"TARE_RUNTIME=" + runtime, "TARE_FAULT_RUNTIME=/vm/bin/tare-faults", "TARE_PROBE=/vm/bin/probe",
		"TARE_SYSTEM_ROOTFS=/srv/system",
	}
}

// wanted says whether a suite is among those that TARE_VM_ONLY names, if it names any.
func wanted(path string) bool {
	only := os.Getenv("TARE_VM_ONLY")
	return only == "" || slices.Contains(strings.Fields(only), path)
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

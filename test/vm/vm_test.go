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

// packages have tests that want control groups v2. A second line runs some of them again, below systemd.
var packages = []struct {
	path    string
	run     string // -test.run; empty for all
	systemd bool
	seconds int
}{
	{path: "./internal/sysprog", seconds: 120},
	{path: "./internal/host", seconds: 60},
	{path: "./internal/cgroup", seconds: 180},
	{path: "./internal/seccomp", seconds: 120},
	{path: "./internal/container", seconds: 300},
	{path: "./test/runtime", seconds: 900},
	{path: "./test/system", seconds: 300},
	{path: "./internal/cgroup", run: "Systemd", systemd: true, seconds: 120},
	{path: "./test/system", run: "Driver", systemd: true, seconds: 120},
}

// programs are built for the tests, which find them through the environment. The Makefile builds tare.
var programs = []string{"./test/runtime/probe"}

// root is where the module starts, seen from this package.
const root = "../.."

// TestMachine boots one virtual machine, runs every suite in it, and reports each as a subtest.
func TestMachine(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	cache, err := filepath.Abs(filepath.Join(root, "build"))
	if err != nil {
		t.Fatal(err)
	}
	lock(t, filepath.Join(cache, "vm.lock"))
	dir := filepath.Join(cache, "vm", "suites")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "bin"), 0o755)); err != nil {
		t.Fatal(err)
	}
	suites := build(t, ctx, dir)

	kernel, err := DebianKernel(ctx, filepath.Join(cache, "vm"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := baseDisk(ctx, cache, kernel)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := suiteDisk(ctx, root, dir, suites)
	if err != nil {
		t.Fatal(err)
	}
	m := Machine{
		Kernel: kernel, Initrd: filepath.Join(cache, "vm", "initrd"), Disks: []string{base, disk},
		Console: filepath.Join(cache, "vm", "console.log"), Accel: os.Getenv("TARE_VM_ACCEL"),
	}
	if err := writeInitrd(m.Initrd, kernel, filepath.Join(dir, "guest")); err != nil {
		t.Fatal(err)
	}
	if m.Accel == "" {
		m.Accel = Accel(ctx, kernel)
	}
	fmt.Printf("linux %s, %s\n", kernel.Version, m.Accel)
	start := time.Now()
	results, err := m.Run(ctx, func(line string) { fmt.Println(line) })
	fmt.Printf("the machine ran for %.0f s\n", time.Since(start).Seconds())
	judge(t, suites, results)
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
func judge(t *testing.T, suites []suite.Suite, results *suite.Reader) {
	t.Helper()
	text, err := os.ReadFile("testdata/skips.txt")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := output.ParseRules(string(text))
	if err != nil {
		t.Fatal(err)
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
func build(t *testing.T, ctx context.Context, dir string) []suite.Suite {
	t.Helper()
	goBuild := func(args ...string) bool {
		t.Helper()
		args = append([]string{"CGO_ENABLED=0", "GOARCH=amd64", "go"}, args...)
		out, err := command(ctx, root, "env", args...)
		if err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return err == nil
	}
	if !goBuild("build", "-o", filepath.Join(dir, "guest"), "./test/vm/guest") {
		t.FailNow()
	}
	for _, program := range programs {
		if exists(t, program, "*.go") {
			goBuild("build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "bin")+"/", program)
		}
	}
	if out, err := command(ctx, root, "make", "--no-print-directory", "build"); err != nil {
		t.Errorf("make build: %v\n%s", err, out)
	}
	for _, name := range []string{"tare", "tare-runtime"} {
		if out, err := command(ctx, root, "cp", "-a", filepath.Join("bin", name), filepath.Join(dir, "bin", name)); err != nil {
			t.Errorf("copy bin/%s: %v\n%s", name, err, out)
		}
	}
	var suites []suite.Suite
	for _, p := range packages {
		if !exists(t, p.path, "*_test.go") || !wanted(p.path) {
			continue
		}
		name := strings.NewReplacer("./", "", "/", "-").Replace(p.path) + ".test"
		if !goBuild("test", "-c", "-o", filepath.Join(dir, name), p.path) {
			continue
		}
		s := suite.Suite{
			Name: p.path, Program: "/vm/" + name, Dir: filepath.Join("/vm/src", p.path),
			Args: []string{"-test.v", "-test.timeout=" + fmt.Sprint(p.seconds) + "s"}, Seconds: p.seconds + 10, Systemd: p.systemd,
			Env: environment(),
		}
		if p.run != "" {
			s.Args = append(s.Args, "-test.run="+p.run)
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
	return []string{"TARE_RUNTIME=" + runtime, "TARE_PROBE=/vm/bin/probe", "TARE_SYSTEM_ROOTFS=/srv/system"}
}

// exists says whether the tree has files of a package that match the pattern.
func exists(t *testing.T, path, pattern string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, path, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return len(files) > 0
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

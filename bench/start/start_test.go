package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestSummarizeTakesPercentilesOfTheSorted(t *testing.T) {
	var list []time.Duration
	for i := range 101 {
		list = append(list, time.Duration(100-i)*time.Microsecond)
	}
	if got, want := summarize(list), (figures{Min: 0, P10: 10, Median: 50}); got != want {
		t.Errorf("summarize = %+v, want %+v", got, want)
	}
	if got, want := summarize([]time.Duration{time.Millisecond}), (figures{1000, 1000, 1000}); got != want {
		t.Errorf("summarize of one = %+v, want %+v", got, want)
	}
}

func TestReadProfileResolvesConditions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(file, []byte(`{
		"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
		"archMap": [
			{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
			{"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
			{"architecture": "SCMP_ARCH_ARM"}],
		"syscalls": [
			{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
			{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
			{"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
			{"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_CHROOT"]}},
			{"names": ["s390_pci_mmio_read"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
			{"names": ["native"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["`+runtime.GOARCH+`"]}}
		]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := readProfile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range p.Syscalls {
		names = append(names, s.Names[0]+" "+string(s.Action))
	}
	want := []string{"read SCMP_ACT_ALLOW", "chroot SCMP_ACT_ALLOW", "native SCMP_ACT_ALLOW"}
	if !slices.Equal(names, want) {
		t.Errorf("rules = %q, want %q", names, want)
	}
	if p.DefaultErrnoRet == nil || *p.DefaultErrnoRet != 38 {
		t.Errorf("default errno = %v, want 38", p.DefaultErrnoRet)
	}
	if len(p.Architectures) == 0 || runtime.GOARCH == "amd64" && p.Architectures[1] != specs.ArchX86 {
		t.Errorf("architectures = %q", p.Architectures)
	}
}

// TestMeasuresPeers runs the bench itself, without tare, so that a break of the
// floor or of the accounting shows before a benchmark is wanted.
func TestMeasuresPeers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("must run as root: it starts containers")
	}
	for _, name := range []string{"gcc", "crun", "runc"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed (see packages.txt)", name)
		}
	}
	program := filepath.Join(t.TempDir(), "start")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(program, "-n", "2", "-json", "-warm=false", "-only", "crun,floor")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("start: %v\n%s", err, stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("start complained: %s", stderr.String())
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("read the report: %v\n%s", err, out)
	}
	for _, op := range operations {
		crun, floor := r.find(op, false, "crun"), r.find(op, false, "floor")
		if crun == nil || floor == nil {
			t.Errorf("%s was not measured", op)
			continue
		}
		if floor.CPU.Min <= 0 || floor.CPU.Median >= crun.CPU.Median {
			t.Errorf("%s: the floor's CPU time is %v, crun's %v; want less, and more than nothing", op, floor.CPU, crun.CPU)
		}
	}
}

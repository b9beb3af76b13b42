package runtimetest

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The environment variable TARE_FAULT=N makes operation N of the list of system calls fail with EIO,
// in a binary built with the tag faultinject. TARE_FAULT_RUNTIME names such a binary.
const faultVariable = "TARE_FAULT"

// farEnough successes in a row mean that the list is over: some operations may fail without harm.
const farEnough = 25

var faulty = sync.OnceValues(func() (string, error) {
	p, err := suite()
	if err != nil {
		return "", err
	}
	path, err := binary("TARE_FAULT_RUNTIME", filepath.Join(p.dir, "fault", "tare"), "tare.dev/tare/cmd/tare", "-tags", "faultinject", entryFlags)
	if err != nil {
		return "", err
	}
	link := filepath.Join(p.dir, "fault", "tare-runtime")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return "", err
	}
	return link, os.Symlink(path, link)
})

func needFaults(t *testing.T) string {
	t.Helper()
	peerLacks(t, "injects no faults", "runc", "crun")
	needRoot(t)
	path, err := faulty()
	if err != nil {
		t.Skipf("needs a runtime that injects faults: %v", err)
	}
	return path
}

// faultCases are configurations whose lists of operations differ.
func faultCases() map[string]func(b *bundle) {
	return map[string]func(b *bundle){
		"plain": func(*bundle) {},
		"user namespace": func(b *bundle) {
			b.userNamespace(shiftedRoot, 65536)
		},
		"hooks": func(b *bundle) {
			h := []specs.Hook{{Path: "/bin/true"}}
			b.Spec.Hooks = &specs.Hooks{CreateRuntime: h, CreateContainer: h}
		},
		"seccomp": func(b *bundle) { b.filter(rule(specs.ActErrno, "getsid")) },
		"mounts": func(b *bundle) {
			mustWrite(b.t, b.path("volume/file"), "x")
			mustWrite(b.t, b.inRoot("data/file"), "x")
			b.Spec.Root.Readonly = true
			b.mount(bindOf(b.path("volume"), "/tmp", "ro", "rslave"),
				specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}})
		},
		"limits": func(b *bundle) {
			b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(50))}
			b.Spec.Linux.Sysctl = map[string]string{"kernel.msgmax": "9000"}
			b.Spec.Process.OOMScoreAdj = ptr(100)
			b.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}
		},
	}
}

// Every operation of a start made to fail in turn: the error names one operation, and nothing is left.
func TestFaultInEveryOperationOfRunAndCreate(t *testing.T) {
	t.Parallel()
	path := needFaults(t)
	for name, prepare := range faultCases() {
		for _, command := range []string{"run", "create"} {
			if command == "run" && name != "plain" && name != "mounts" {
				continue // the lists differ at the end only
			}
			t.Run(command+" "+name, func(t *testing.T) {
				t.Parallel()
				b := newBundle(t, "echo", "ran")
				prepare(b)
				b.runtime = path
				failed := eachFault(b, func(n int) (result, string) {
					b.env = []string{fmt.Sprintf("%s=%d", faultVariable, n)}
					if command == "run" {
						r := b.run()
						return r, r.stdout
					}
					for _, f := range []*os.File{b.out, b.err} { // what the attempt before has said
						must(t, f.Truncate(0))
						_, err := f.Seek(0, 0)
						must(t, err)
					}
					r := b.tryCreate()
					if r.code == 0 {
						b.env = nil
						b.must("delete", "--force", b.id)
					}
					return r, "ran\n"
				})
				if failed < 30 {
					t.Errorf("only %d operations failed", failed)
				}
			})
		}
	}
}

// eachFault calls attempt with 1, 2, ... until failures have ended, checks each, and returns their number.
func eachFault(b *bundle, attempt func(n int) (r result, stdout string)) (failed int) {
	b.t.Helper()
	seen := map[string]bool{}
	for n, fine := 1, 0; fine < farEnough && n < 2000; n++ {
		r, stdout := attempt(n)
		if n == farEnough && failed == 0 {
			b.t.Skip("needs a runtime that injects faults: this one does not")
		}
		for _, l := range b.leftovers() {
			b.t.Errorf("operation %d: left %s\n%v", n, l, r)
		}
		if b.t.Failed() {
			return failed
		}
		if r.code == 0 {
			if stdout != "ran\n" {
				b.t.Errorf("operation %d: success without the program's output: %v", n, r)
			}
			fine++
			continue
		}
		fine = 0
		failed++
		message := strings.TrimSpace(r.stderr)
		// The cause is EIO, or what an alternative said that was tried because of it.
		if message == "" || strings.Contains(message, "\n") {
			b.t.Errorf("operation %d: want one line with the cause: %v", n, r)
		}
		seen[message[strings.Index(message, "msg=")+1:]] = true
	}
	if len(seen) < failed/3 {
		b.t.Errorf("%d failures gave only %d different messages: do they name the operation?", failed, len(seen))
	}
	return failed
}

func TestFaultInEveryOperationOfExec(t *testing.T) {
	t.Parallel()
	path := needFaults(t)
	b := newBundle(t, "sleep", "3600").up() // it outlasts all attempts
	b.runtime = path
	for n, fine, failed := 1, 0, 0; fine < farEnough && n < 1000; n++ {
		b.env = []string{fmt.Sprintf("%s=%d", faultVariable, n)}
		r := b.exec("/probe", "echo", "ran")
		if n == farEnough && failed == 0 {
			t.Skip("needs a runtime that injects faults: this one does not")
		}
		if r.code == 0 {
			fine++
			continue
		}
		fine = 0
		failed++
		if strings.Count(strings.TrimSpace(r.stderr), "\n") != 0 || !strings.Contains(r.stderr, "input/output error") {
			t.Errorf("operation %d: %v", n, r)
		}
	}
	b.env = nil
	eventually(t, "alone again", func() bool { return len(b.processes()) == 1 })
	if got := b.status(); got != specs.StateRunning {
		t.Errorf("failed execs left the container %s", got)
	}
}

// Kernels that devices run lack calls: the same container must come of other calls.
func TestOlderKernelsGiveTheSameContainer(t *testing.T) {
	t.Parallel()
	path := needFaults(t)
	cases := map[string]func(b *bundle){
		"plain":          func(*bundle) {},
		"seccomp":        func(b *bundle) { b.filter(rule(specs.ActErrno, "getsid")) },
		"user namespace": func(b *bundle) { b.userNamespace(shiftedRoot, 65536) },
		"mounts": func(b *bundle) {
			b.Spec.Root.Readonly = true
			mustWrite(b.t, b.path("volume/file"), "x")
			mustWrite(b.t, b.inRoot("below/file"), "x")
			must(b.t, os.Symlink("/data", b.inRoot("link")))
			b.mount(bindOf(b.path("volume"), "/link/sub", "ro", "nosuid", "noexec"), bindOf(b.path("volume/file"), "/etc/hosts"),
				specs.Mount{Destination: "/below", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}})
		},
	}
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			edit(b)
			b.runtime = path
			b.Spec.Process.Args = []string{"/probe", "report"}
			first := b.mustRun()
			want, mounts := b.stable(first), mountLines(b, b.decode(first))
			for _, version := range []string{"4.19", "5.4", "5.10", "5.15", "6.1"} {
				b.env = []string{kernelVariable + "=" + version}
				r := b.mustRun()
				compare(t, "Linux "+version+": mounts", mountLines(b, b.decode(r)), mounts)
				for field, got := range b.stable(r) {
					if field != "Mounts" && !reflect.DeepEqual(got, want[field]) {
						t.Errorf("Linux %s: %s %v, want %v", version, field, got, want[field])
					}
				}
			}
		})
	}
}

func TestOlderKernelsGiveTheSameLifecycle(t *testing.T) {
	t.Parallel()
	path := needFaults(t)
	for _, version := range []string{"4.19", "5.4", "5.10", "5.15", "6.1"} {
		b := newBundle(t, "sleep", "60")
		b.runtime = path
		b.env = []string{kernelVariable + "=" + version}
		b.up()
		if got := b.status(); got != specs.StateRunning {
			t.Errorf("Linux %s: status %s", version, got)
		}
		if r := b.exec("/probe", "exit", "42"); r.code != 42 {
			t.Errorf("Linux %s: %v", version, r)
		}
		r := b.decode(b.mustExec("/probe", "report"))
		if len(r.FDs) > 3 || len(r.Processes) != 2 {
			t.Errorf("Linux %s: descriptors %v, processes %v", version, r.FDs, r.Processes)
		}
		b.must("kill", b.id, "KILL")
		b.stopped()
		b.must("delete", b.id)
		for _, l := range b.leftovers() {
			t.Errorf("Linux %s: left %s", version, l)
		}
	}
}

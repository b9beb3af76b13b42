package runtimetest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// CVE-2019-5736: what is executed in the container is the runtime itself, by /proc/self/exe or an
// interpreter line; a process inside takes hold of that file and writes to it when it no longer runs.
func TestAttackOverwriteOfTheRuntime(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "overwrite-exe", "60").caps("CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE")
	p := programsUnderTest(t)
	real, err := filepath.EvalSymlinks(p.runtime)
	must(t, err)
	b.runtime = b.path(filepath.Base(p.runtime)) // a copy: the attack may succeed
	reallyCopy(t, real, b.runtime, 0o755)
	before := fileSum(t, b.runtime)
	must(t, os.WriteFile(b.inRoot("bin/script"), []byte("#!/proc/self/exe\n"), 0o755))
	must(t, os.Symlink("/proc/self/exe", b.inRoot("bin/link")))
	b.up()
	attempts := [][]string{{"/proc/self/exe", "--version"}, {"/bin/script"}, {"/bin/link", "--help"}}
	for n := range 15 {
		b.exec(attempts[n%3]...)
		time.Sleep(20 * time.Millisecond) // the write follows the end of the program
		if fileSum(t, b.runtime) != before {
			must(t, os.Remove(b.runtime))
			reallyCopy(t, real, b.runtime, 0o755) // for cleanup
			t.Fatalf("exec of %v: the runtime was overwritten: %s", attempts[n%3], contents(b.out))
		}
	}
	b.endAttack()
	if said := contents(b.out); strings.Contains(said, "wrote ") {
		t.Errorf("a program of the host could be written to: %s", said)
	}
}

// With a shared process namespace the process that waits for start is the runtime, for as long as it waits.
func TestAttackOverwriteThroughASharedProcessNamespace(t *testing.T) {
	t.Parallel()
	attacker := newBundle(t, "overwrite-exe", "60").caps("CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE")
	attacker.up()
	victim := newBundle(t, "exit", "0").namespace(specs.PIDNamespace, fmt.Sprintf("/proc/%d/ns/pid", attacker.pid()))
	p := programsUnderTest(t)
	real, err := filepath.EvalSymlinks(p.runtime)
	must(t, err)
	victim.runtime = victim.path(filepath.Base(p.runtime))
	reallyCopy(t, real, victim.runtime, 0o755)
	before := fileSum(t, victim.runtime)
	victim.create()
	time.Sleep(200 * time.Millisecond)
	victim.start()
	attacker.endAttack()
	if fileSum(t, victim.runtime) != before {
		must(t, os.Remove(victim.runtime))
		reallyCopy(t, real, victim.runtime, 0o755) // for cleanup
		t.Errorf("the runtime was overwritten: %s", contents(attacker.out))
	}
}

// An image may name /proc/self/exe as its own entry point, too.
func TestAttackEntryPointIsTheRuntime(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	p := programsUnderTest(t)
	real, err := filepath.EvalSymlinks(p.runtime)
	must(t, err)
	b.runtime = b.path(filepath.Base(p.runtime))
	reallyCopy(t, real, b.runtime, 0o755)
	before := fileSum(t, b.runtime)
	b.Spec.Process.Args = []string{"/proc/self/exe", "--version"}
	b.run()
	if fileSum(t, b.runtime) != before {
		t.Error("the runtime was overwritten")
	}
}

func fileSum(t *testing.T, path string) [32]byte {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return sha256.Sum256(text)
}

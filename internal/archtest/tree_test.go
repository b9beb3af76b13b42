package archtest

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/deps.txt")

// root is where the module starts, seen from this package.
const root = "../.."

// go test caches by the files a test opens itself; what a child `go list` reads is invisible to it.
// The Makefile therefore runs this package with -count=1.

func TestLayers(t *testing.T) {
	layers, err := ParseLayers(document(t))
	if err != nil {
		t.Fatal(err)
	}
	// Files of one CPU may import what those of another do not.
	for _, arch := range []string{"amd64", "arm"} {
		tree := load(t, arch, "./...")
		report(t, CheckLayers(tree, layers))
	}
}

func TestWalls(t *testing.T) {
	walls, err := ParseWalls(document(t))
	if err != nil {
		t.Fatal(err)
	}
	report(t, CheckWalls(load(t, "arm64", "./..."), walls))
}

func TestLinked(t *testing.T) {
	const golden = "testdata/deps.txt"
	have := Linked(load(t, "arm64", "./cmd/tare"))
	if *update {
		if err := os.WriteFile(golden, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	report(t, CompareLinked(have, string(want)))
	if t.Failed() {
		t.Log("cmd/tare: what the device pays for has changed; if it is meant: go test ./internal/archtest -run Linked -update")
	}
}

func TestSize(t *testing.T) {
	if testing.Short() {
		t.Skip("builds cmd/tare for every CPU")
	}
	text, err := os.ReadFile("testdata/size.txt")
	if err != nil {
		t.Fatal(err)
	}
	ceilings, err := ParseCeilings(string(text))
	if err != nil {
		t.Fatal(err)
	}
	// The Makefile alone knows how the program is shipped. It also builds for riscv64, which is not measured.
	cmd := exec.Command("make", "--no-print-directory", "cross")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make cross: %v\n%s", err, out)
	}
	for _, c := range ceilings {
		info, err := os.Stat(filepath.Join(root, "bin", "tare-"+c.Arch))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes, ceiling %d", c.Arch, info.Size(), c.Bytes)
		if s := c.Check(info.Size()); s != "" {
			t.Error(s)
		}
	}
}

func TestLengths(t *testing.T) {
	text, err := os.ReadFile("testdata/long.txt")
	if err != nil {
		t.Fatal(err)
	}
	var except []string
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, "#")
		if name = strings.TrimSpace(name); name != "" {
			except = append(except, name)
		}
	}
	complaints, err := CheckLengths(root, except)
	if err != nil {
		t.Fatal(err)
	}
	report(t, complaints)
}

func document(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func load(t *testing.T, arch string, patterns ...string) Tree {
	t.Helper()
	tree, err := Load(root, arch, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func report(t *testing.T, complaints []string) {
	t.Helper()
	for _, s := range complaints {
		t.Error(s)
	}
}

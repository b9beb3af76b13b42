package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// documents are those whose sessions are run.
var documents = []string{"README.md", "docs/guide/runtime.md", "docs/guide/images.md", "docs/guide/engine.md"}

// TestSessionsWork types what the documents show, in a copy of the tree as a fresh clone would give it.
func TestSessionsWork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to run containers")
	}
	for _, name := range documents {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("../..", name))
			if err != nil {
				t.Fatal(err)
			}
			commands, err := Sessions(name, string(text))
			if err != nil {
				t.Fatal(err)
			}
			if len(commands) == 0 {
				t.Fatal("no console block")
			}
			dir := clone(t)
			netns := ""
			if name == engineGuide {
				netns = namespace(t)
				t.Cleanup(func() { endEngine(t, dir) })
			}
			t.Cleanup(func() {
				// A session that broke off leaves its containers.
				for _, id := range []string{"hello", "box"} {
					exec.Command(filepath.Join(dir, "bin/tare"), "runtime", "delete", "--force", id).Run()
				}
			})
			for _, c := range commands {
				cmd := exec.CommandContext(t.Context(), "bash", "-ec", strings.TrimPrefix(c.Text, "sudo "))
				if name == engineGuide && !strings.HasPrefix(c.Text, "mmdebstrap ") && !strings.HasPrefix(c.Text, "make ") {
					cmd.Args = append([]string{"nsenter", "--net=" + netns}, cmd.Args...)
					cmd.Path = "/usr/bin/nsenter"
				}
				cmd.Dir = dir
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // mmdebstrap that fails ends its whole group
				cmd.Env = append(os.Environ(), "TARE_ROOT="+filepath.Join(dir, "flash"), "TARE_RUN="+filepath.Join(dir, "memory"))
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %s: %v\n%s", c.Line, c.Text, err, out)
				}
				if !c.Matches(string(out)) {
					t.Errorf("%s: %s printed\n%s\nthe document says\n%s", c.Line, c.Text, out, strings.Join(c.Want, "\n"))
				}
			}
		})
	}
}

// engineGuide makes networks and publishes ports: in a network namespace of its own, but for what fetches.
const engineGuide = "docs/guide/engine.md"

// namespace is the path of a network namespace that is there until the test ends.
func namespace(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("unshare", "--net="+path, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("make a network namespace: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return path
}

// endEngine ends the engine of a session that broke off, and its containers.
func endEngine(t *testing.T, dir string) {
	cmd := exec.Command("bash", "-c", `pid=$(cat engine.pid) && kill -0 "$pid" || exit 0
		for id in $(bin/tare ps -aq); do bin/tare rm -f "$id"; done; kill "$pid"; sleep 1`)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TARE_ROOT="+filepath.Join(dir, "flash"), "TARE_RUN="+filepath.Join(dir, "memory"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("end the engine: %v: %s", err, out)
	}
}

// clone copies what belongs to the tree, committed or not.
func clone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script := `git ls-files -co --exclude-standard -z | while IFS= read -r -d '' f; do
		[ -f "$f" ] && printf '%s\0' "$f"; done | tar --null -T - -cf - | tar -xf - -C "$1"`
	cmd := exec.Command("bash", "-c", "set -o pipefail; "+script+"; true", "bash", dir)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("copy the tree: %v\n%s", err, out)
	}
	return dir
}

// TestLinksLead follows every relative link of every document.
func TestLinksLead(t *testing.T) {
	found := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "changes/*.md"} {
		files, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, target := range links(string(text)) {
				found++
				if _, err := os.Stat(filepath.Join(filepath.Dir(file), target)); err != nil {
					t.Errorf("%s links to %s, which is not there", file, target)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no links found")
	}
}

func TestSessionsAreRead(t *testing.T) {
	const document = "text\n```sh\n$ no\n```\n```console\n$ one\n$ two\n1 …  x\nend\n```\n"
	got, err := Sessions("a.md", document)
	if err != nil || len(got) != 2 || got[0].Text != "one" || got[1].Line != "a.md:7" {
		t.Fatalf("Sessions = %+v, %v", got, err)
	}
	for output, want := range map[string]bool{
		"1 2 3 x\nend\n":     true,
		"1  \t 2\n3  x\nend": true,
		"1 2 x\n":            false,
		"1 2 x\nend\nmore":   false,
		"":                   false,
	} {
		if two := got[1]; two.Matches(output) != want {
			t.Errorf("Matches(%q) = %v, want %v", output, !want, want)
		}
	}
	for _, bad := range []string{"```console\nout\n```\n", "```console\n$ a\n"} {
		if _, err := Sessions("a.md", bad); err == nil {
			t.Errorf("Sessions(%q) = nil error", bad)
		}
	}
}

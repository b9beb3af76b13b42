package runtimecli

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestExecProcessIsTheContainersWithTheFlags(t *testing.T) {
	own := func() *specs.Process {
		return &specs.Process{
			Terminal: true, Cwd: "/srv", Args: []string{"init"}, Env: []string{"PATH=/bin", "A=1"},
			User: specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{7}}, ApparmorProfile: "p", SelinuxLabel: "l",
			Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"}},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}},
		}
	}
	base := own()
	base.Terminal, base.Args = false, []string{"ls", "-l"}
	with := func(change func(*specs.Process)) *specs.Process {
		p := *base
		change(&p)
		return &p
	}
	for flags, want := range map[string]*specs.Process{
		"":                    base,
		"-t":                  with(func(p *specs.Process) { p.Terminal = true }),
		"--tty":               with(func(p *specs.Process) { p.Terminal = true }),
		"--cwd /tmp":          with(func(p *specs.Process) { p.Cwd = "/tmp" }),
		"-e B=2 --env A=3":    with(func(p *specs.Process) { p.Env = []string{"PATH=/bin", "A=1", "B=2", "A=3"} }),
		"-u 9":                with(func(p *specs.Process) { p.User.UID = 9 }),
		"--user 9:8":          with(func(p *specs.Process) { p.User.UID, p.User.GID = 9, 8 }),
		"-g 1 -g 2":           with(func(p *specs.Process) { p.User.AdditionalGids = []uint32{7, 1, 2} }),
		"--process-label x":   with(func(p *specs.Process) { p.SelinuxLabel = "x" }),
		"--apparmor x":        with(func(p *specs.Process) { p.ApparmorProfile = "x" }),
		"--no-new-privs":      with(func(p *specs.Process) { p.NoNewPrivileges = true }),
		"-c CAP_SYS_TIME":     with(func(p *specs.Process) { p.Capabilities = capSets("CAP_KILL", "CAP_SYS_TIME") }),
		"-c chown --cap KILL": with(func(p *specs.Process) { p.Capabilities = capSets("CAP_KILL", "CAP_CHOWN", "CAP_KILL") }),
	} {
		g := newStage()
		b := newBox(g.fakeStore, "web", specs.StateRunning)
		b.spec.Process = own()
		g.line(t, "exec "+flags+" web ls -l")
		if !reflect.DeepEqual(b.exec.Process, want) {
			t.Errorf("exec %s: got %+v\nwant %+v", flags, b.exec.Process, want)
		}
		if !reflect.DeepEqual(b.spec.Process, own()) {
			t.Errorf("exec %s changed the container's own process", flags)
		}
	}
}

// capSets is what adding to a container that has just the first capability gives.
// Permitted was empty there, and stays without the first one.
func capSets(first string, more ...string) *specs.LinuxCapabilities {
	both := append([]string{first}, more...)
	return &specs.LinuxCapabilities{Bounding: both, Effective: both, Permitted: more}
}

func TestAddedCapabilitiesAreAmbientOnlyWhereInheritable(t *testing.T) {
	if got := addCapabilities(nil, []string{"kill"}); got.Ambient != nil || got.Bounding[0] != "CAP_KILL" {
		t.Errorf("got %+v", got)
	}
	own := &specs.LinuxCapabilities{Inheritable: []string{"CAP_CHOWN"}}
	if got := addCapabilities(own, []string{"CAP_KILL"}); len(got.Ambient) != 1 || len(got.Inheritable) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestExecProcessFromAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	text := `{"terminal":false,"user":{"uid":1,"gid":2},"args":["true"],"cwd":"/","noNewPrivileges":true}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newStage()
	b := newBox(g.fakeStore, "web", specs.StateRunning)
	g.line(t, "exec -d --process "+file+" --pid-file pid --preserve-fds 0 --ignore-paused --cgroup sub web")
	want := &specs.Process{User: specs.User{UID: 1, GID: 2}, Args: []string{"true"}, Cwd: "/", NoNewPrivileges: true}
	if !reflect.DeepEqual(b.exec.Process, want) {
		t.Errorf("got %+v", b.exec.Process)
	}
	if o := b.exec; !filepath.IsAbs(o.PidFile) || !o.IgnorePaused || o.SubCgroup != "sub" || o.Console != nil {
		t.Errorf("options %+v", o)
	}
	for content, want := range map[string]string{
		`{"args":["x"]}`:        "process.cwd is empty",
		`{"cwd":"/"}`:           "process.args is empty",
		`{"cwd":"/","args":[`:   file + ": unexpected end of JSON",
		`{"cwd":7,"args":[""]}`: "cannot unmarshal number",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		status, _, errs := g.run("exec", "-p", file, "web")
		if status != 255 || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d, stderr %q, want %q", content, status, errs, want)
		}
	}
}

func TestExecPassesTheStatusOn(t *testing.T) {
	g := newStage()
	b := newBox(g.fakeStore, "web", specs.StateRunning)
	g.process.status = 130
	if status, _, errs := g.run("exec", "web", "sleep", "-1"); status != 130 || errs != "" {
		t.Errorf("status %d, stderr %q", status, errs)
	}
	g.wantCalls(t, "exec web sleep -1")
	b.err = errBoom
	if status, _, errs := g.run("exec", "web", "ls"); status != 255 || errs != "tare: boom\n" {
		t.Errorf("status %d, stderr %q", status, errs)
	}
}

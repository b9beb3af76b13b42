package bundle

import (
	"errors"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func accounts() Accounts {
	return Accounts{
		Passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/false\n1234:x:77:78::/:/bin/sh\nbad:x:no:1::/:/\n",
		Group:  "root:x:0:\nweb:x:33:\naudio:x:29:web,other\nvideo:x:44:other,web\n",
	}
}

func spec(t *testing.T, c v1.ImageConfig, o Options) *specs.Spec {
	t.Helper()
	o.ID, o.Rootfs = "0123456789abcdef", "/rootfs"
	s, err := Spec(c, accounts(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCommand(t *testing.T) {
	none, shell := "", "/bin/sh"
	for _, c := range []struct {
		entry, cmd []string
		o          Options
		want       string
	}{
		{nil, []string{"a", "b"}, Options{}, "a b"},
		{[]string{"e"}, []string{"a"}, Options{}, "e a"},
		{[]string{"e"}, []string{"a"}, Options{Args: []string{"x", "y"}}, "e x y"},
		{[]string{"e"}, []string{"a"}, Options{Entry: &shell}, "/bin/sh"},
		{[]string{"e"}, []string{"a"}, Options{Entry: &shell, Args: []string{"-c", "true"}}, "/bin/sh -c true"},
		{[]string{"e"}, []string{"a"}, Options{Entry: &none, Args: []string{"x"}}, "x"},
	} {
		s := spec(t, v1.ImageConfig{Entrypoint: c.entry, Cmd: c.cmd}, c.o)
		if got := strings.Join(s.Process.Args, " "); got != c.want {
			t.Errorf("entry point %q, command %q, %+v: %q, want %q", c.entry, c.cmd, c.o, got, c.want)
		}
	}
	if _, err := Spec(v1.ImageConfig{}, accounts(), Options{}); !errors.Is(err, ErrNoCommand) {
		t.Errorf("no command at all: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	c := v1.ImageConfig{Cmd: []string{"a"}, Env: []string{"A=1", "B=2", "A=3", "NOVALUE"}}
	s := spec(t, c, Options{Env: []string{"B=4", "PATH=/x"}})
	if want := []string{"PATH=/x", "A=3", "B=4"}; !slices.Equal(s.Process.Env, want) {
		t.Errorf("environment %q, want %q", s.Process.Env, want)
	}
	s = spec(t, c, Options{Terminal: true})
	if !slices.Contains(s.Process.Env, "TERM=xterm") {
		t.Errorf("environment with a terminal: %q", s.Process.Env)
	}
}

func TestUser(t *testing.T) {
	for _, c := range []struct {
		image, user string
		uid, gid    uint32
		more        []uint32
	}{
		{"", "", 0, 0, nil},
		{"web", "", 33, 33, []uint32{29, 44}},
		{"33", "", 33, 33, []uint32{29, 44}},
		{"web", "root", 0, 0, nil},
		{"", "web:audio", 33, 29, nil},
		{"", "web:1000", 33, 1000, nil},
		{"", "5000", 5000, 0, nil},
		{"", "5000:6000", 5000, 6000, nil},
		{"", "1234", 77, 78, nil}, // a name before a number
	} {
		s := spec(t, v1.ImageConfig{Cmd: []string{"a"}, User: c.image}, Options{User: c.user})
		u := s.Process.User
		if u.UID != c.uid || u.GID != c.gid || !slices.Equal(u.AdditionalGids, c.more) {
			t.Errorf("image's %q, asked for %q: %d:%d %v", c.image, c.user, u.UID, u.GID, u.AdditionalGids)
		}
		if (u.UID == 0) != (len(s.Process.Capabilities.Effective) > 0) {
			t.Errorf("%q has capabilities %v", c.user, s.Process.Capabilities.Effective)
		}
	}
	for _, user := range []string{"nobody", "web:nogroup", "-1", "bad", "4294967296"} {
		if _, err := Spec(v1.ImageConfig{Cmd: []string{"a"}}, accounts(), Options{User: user}); err == nil {
			t.Errorf("user %q is accepted", user)
		}
	}
}

func TestLittleIsAllowed(t *testing.T) {
	s := spec(t, v1.ImageConfig{Cmd: []string{"a"}}, Options{Memory: 1 << 20, CPUs: 0.5, Pids: 7})
	for _, risky := range []string{"CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_PTRACE", "CAP_NET_ADMIN"} {
		if slices.Contains(s.Process.Capabilities.Bounding, risky) {
			t.Errorf("has %s", risky)
		}
	}
	var kinds []string
	for _, n := range s.Linux.Namespaces {
		kinds = append(kinds, string(n.Type))
	}
	if !slices.Contains(kinds, "network") || !slices.Contains(kinds, "pid") || !s.Process.NoNewPrivileges {
		t.Errorf("namespaces %q, no new privileges %v", kinds, s.Process.NoNewPrivileges)
	}
	r := s.Linux.Resources
	if *r.Memory.Limit != 1<<20 || *r.CPU.Quota != 50_000 || *r.Pids.Limit != 7 {
		t.Errorf("resources %+v", r)
	}
	if s.Hostname != "0123456789ab" || s.Process.Cwd != "/" {
		t.Errorf("hostname %q, directory %q", s.Hostname, s.Process.Cwd)
	}
}

func TestMountBind(t *testing.T) {
	if m, err := MountBind("/data", "/srv/x/../y", true); err != nil || m.Destination != "/srv/y" || !slices.Contains(m.Options, "ro") {
		t.Errorf("%+v, %v", m, err)
	}
	for _, c := range [][2]string{{"data", "/x"}, {"/data", "x"}, {"/data", "/"}, {"/data", "/x/.."}, {"/data", ""}} {
		if _, err := MountBind(c[0], c[1], false); err == nil {
			t.Errorf("%q on %q is accepted", c[0], c[1])
		}
	}
}

package enginetest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A reach is a line of tare links --json.
type reach struct {
	From, FromID, To, Network, Proto, Rule string
	Port, End, HostPort                    uint16
}

// A target is where a probe connects to.
type target struct {
	to, network, address string
	port                 uint16
	published            bool
}

func (x target) String() string {
	return fmt.Sprintf("%s in %s at %s:%d", x.to, x.network, x.address, x.port)
}

func (d *device) links() (all []reach) {
	d.t.Helper()
	r := finish(d.t, exec.Command(d.path, "--root", d.root, "--run", d.run, "links", "--json"), "")
	if r.code != 0 {
		d.t.Fatalf("tare links: exit status %d: %s", r.code, r.err)
	}
	must(d.t, json.Unmarshal([]byte(r.out), &all))
	return all
}

// said tells whether the matrix has the way from one to a target.
func said(all []reach, from string, x target) bool {
	return slices.ContainsFunc(all, func(r reach) bool {
		if r.From != from || r.To != x.to || r.Network != x.network || (r.Proto != "" && r.Proto != "tcp") || x.published != (r.HostPort != 0) {
			return false
		}
		if x.published {
			return r.HostPort == x.port
		}
		return r.Port == 0 || x.port >= r.Port && x.port <= max(r.Port, r.End)
	})
}

// opens is which of the targets a container can open a connection to.
func (d *device) opens(from string, all []target) map[target]bool {
	d.t.Helper()
	var script strings.Builder
	for i, x := range all {
		fmt.Fprintf(&script, "(echo | nc -w 1 %s %d >/dev/null 2>&1 && echo %d) &\n", x.address, x.port, i)
	}
	out := map[target]bool{}
	for line := range strings.FieldsSeq(d.must("exec", from, "sh", "-c", script.String()+"wait")) {
		var i int
		_, err := fmt.Sscan(line, &i)
		must(d.t, err)
		out[all[i]] = true
	}
	return out
}

// A seat is a container's place in a network.
type seat struct{ name, network, address, gateway string }

func (d *device) seats(names []string) (all []seat) {
	d.t.Helper()
	for _, name := range names {
		text := d.must("inspect", "--format", `{{range $n, $e := .NetworkSettings.Networks}}{{println $n $e.IPAddress $e.Gateway}}{{end}}`, name)
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) == 3 {
				all = append(all, seat{name, f[0], f[1], f[2]})
			}
		}
	}
	return all
}

// targets is every address and port of the others, and what cache publishes at every address of the host that is near.
func targets(from string, seats []seat) (all []target) {
	for _, s := range seats {
		switch {
		case s.name != from:
			all = append(all, target{s.name, s.network, s.address, 80, false}, target{s.name, s.network, s.address, 81, false})
		case from != "cache":
			all = append(all, target{"cache", "shop", s.gateway, 8080, true})
		}
	}
	return all
}

// compare probes every pair of the containers, at every address and port they have, and holds it against the matrix.
func (d *device) compare(when string, names []string) (open []string) {
	d.t.Helper()
	all, seats := d.links(), d.seats(names)
	for _, from := range names {
		probes := targets(from, seats)
		got := d.opens(from, probes)
		published, wanted := false, false // at any address of the host
		for _, x := range probes {
			want := said(all, from, x)
			switch {
			case x.published:
				published, wanted = published || got[x], want
			case got[x] != want:
				d.t.Errorf("%s: from %s to %s: open is %v, tare links says %v", when, from, x, got[x], want)
			case want:
				open = append(open, fmt.Sprintf("%s %s %s %d", from, x.to, x.network, x.port))
			}
		}
		if published != wanted {
			d.t.Errorf("%s: from %s to what cache publishes: open is %v, tare links says %v", when, from, published, wanted)
		}
	}
	slices.Sort(open)
	return open
}

// TestLinksOnlyWhereDeclared: every pair of four containers in two networks reaches what is declared, and
// tare links says so; after a killed engine, too.
func TestLinksOnlyWhereDeclared(t *testing.T) {
	d := newDevice(t)
	d.must("network", "create", "-o", "dev.tare.links=declared", "shop")
	d.must("network", "create", "plain")
	box := func(name string, flags ...string) {
		args := append([]string{"run", "-d", "--name", name}, flags...)
		d.must(append(args, "box", "sh", "-c", "httpd -p 81 -h /; exec httpd -f -p 80 -h /")...)
	}
	names := []string{"app", "db", "cache", "web"}
	box("app", "--network", "shop", "--label", "dev.tare.links=data:80/tcp, cache")
	box("db", "--network", "shop", "--network-alias", "data")
	box("cache", "--network", "shop", "-p", "8080:80", "--label", "dev.tare.links=app:81-90")
	box("web", "--network", "plain", "--label", "dev.tare.links=db:80")
	d.must("network", "connect", "plain", "db")
	want := []string{
		"app cache shop 80", "app cache shop 81", "app db shop 80", "cache app shop 81",
		"db web plain 80", "db web plain 81", "web db plain 80", "web db plain 81",
	}
	check := func(when string) {
		t.Helper()
		if got := d.compare(when, names); !slices.Equal(got, want) {
			t.Errorf("%s: open are %q, want %q", when, got, want)
		}
	}
	check("at first")
	d.kill()
	d.eventually("the engine answers", func() bool { return d.docker("version").code == 0 })
	check("after a killed engine")

	d.must("restart", "-t", "0", "app")
	d.must("rename", "db", "base") // its alias stays
	d.must("rename", "base", "db")
	d.must("stop", "-t", "0", "cache")
	names, want = []string{"app", "db", "web"}, slices.Concat(want[2:3], want[4:])
	check("after an end")
	d.must("network", "disconnect", "shop", "db")
	want = want[1:]
	check("after a disconnect")
	d.must("network", "connect", "--alias", "data", "shop", "db")
	d.must("start", "cache")
	names = append(names, "cache")
	want = []string{
		"app cache shop 80", "app cache shop 81", "app db shop 80", "cache app shop 81",
		"db web plain 80", "db web plain 81", "web db plain 80", "web db plain 81",
	}
	check("again")
	d.must("rm", "-f", "app", "db", "cache", "web")
	if all := d.links(); len(all) != 0 {
		t.Errorf("links of nobody: %v", all)
	}
	d.must("network", "rm", "shop", "plain")
	d.clean()
}

// TestLinksOfComposeAfterABoot: what a compose file declares holds for its services' names, when the file is brought up
// again, and after a boot. Containers with the network of the host or of another are in the matrix as well.
func TestLinksOfComposeAfterABoot(t *testing.T) {
	d := newDevice(t)
	compose, err := exec.LookPath("docker-compose")
	if err != nil {
		t.Skip("docker-compose is not installed")
	}
	dir := filepath.Join(d.dir, "shop")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "docker-compose.yml"), []byte(`version: "2.4"
x-box: &box {image: box, restart: always, command: sh -c "httpd -p 81 -h /; exec httpd -f -p 80 -h /", networks: [strict]}
services:
  app: {<<: *box, container_name: app, labels: {dev.tare.links: "data:80/tcp"}}
  data: {<<: *box, container_name: db}
networks:
  strict: {driver_opts: {dev.tare.links: declared}}
`), 0o644))
	up := func() {
		t.Helper()
		cmd := exec.Command(compose, "up", "-d")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "DOCKER_HOST=unix://"+d.run+"/tare.sock")
		if r := finish(t, cmd, ""); r.code != 0 {
			t.Fatalf("docker-compose up: exit status %d\n%s%s", r.code, r.out, r.err)
		}
	}
	check := func(when string) {
		t.Helper()
		if got, want := d.compare(when, []string{"app", "db"}), []string{"app db shop_strict 80"}; !slices.Equal(got, want) {
			t.Errorf("%s: open are %q, want %q", when, got, want)
		}
	}
	up()
	up()
	check("at first")
	d.reboot()
	d.eventually("all run", func() bool { return d.state("app") == "running" && d.state("db") == "running" })
	check("after a boot")

	d.must("run", "-d", "--name", "host", "--network", "host", "box", "sleep", "1000")
	d.must("run", "-d", "--name", "guest", "--network", "container:db", "box", "sleep", "1000")
	at := strings.Fields(d.must("inspect", "--format", "{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}", "db"))[0]
	for from, want := range map[string]bool{"host": true, "guest": true, "app": true} {
		x := target{"db", "shop_strict", at, 80, false}
		if from == "guest" {
			x.network = "container:db"
		}
		if got := d.opens(from, []target{x})[x]; got != want || said(d.links(), from, x) != want {
			t.Errorf("from %s to %s: open is %v, tare links says %v", from, x, got, d.links())
		}
	}
	d.must("rm", "-f", "guest", "host", "app", "db")
	d.must("network", "rm", "shop_strict")
	d.clean()
}

// TestLinksThatCannotBeRead are refused when a container or a network is made.
func TestLinksThatCannotBeRead(t *testing.T) {
	d := newDevice(t)
	for _, label := range []string{"db:", "db:x", "db:0", "db:70000", "db:9-8", "db:80/sctp", "a b", ":80", "db;cache"} {
		if r := d.docker("create", "--label", "dev.tare.links="+label, "box", "true"); r.code == 0 || !strings.Contains(r.err, "dev.tare.links") {
			t.Errorf("label %q: exit status %d: %s", label, r.code, r.err)
		}
	}
	if r := d.docker("create", "--network", "host", "--label", "dev.tare.links=db", "box", "true"); r.code == 0 {
		t.Error("a container with the host's network declares links")
	}
	for _, flags := range [][]string{
		{"-o", "dev.tare.links=some"},
		{"-o", "dev.tare.links=declared", "-o", "com.docker.network.bridge.enable_icc=true"},
		{"-d", "macvlan", "-o", "parent=lo", "-o", "dev.tare.links=declared"},
	} {
		if r := d.docker(append(append([]string{"network", "create"}, flags...), "net")...); r.code == 0 || !strings.Contains(r.err, "dev.tare.links") {
			t.Errorf("network create %v: exit status %d: %s", flags, r.code, r.err)
		}
	}
	d.clean()
}

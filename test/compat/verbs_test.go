package compat

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// TestVerbs is a day with our own command line.
func TestVerbs(t *testing.T) {
	e := start(t)
	e.steps("tare", []step{
		{args: "info", want: []string{"containers", "0 running"}},
		{args: "run --rm busybox:1 sh -c 'echo out; echo err >&2; exit 3'", status: 3, want: []string{"out", "err"}},
		{args: "run --rm -i busybox:1 cat", stdin: "from here", want: []string{"from here"}},
		{args: "run --rm busybox:1 nothing", status: 127},
		{args: "run --rm busybox:1 /etc/passwd", status: 126},
		{args: "run --rm nobody:1", status: 125, want: []string{"tare pull nobody:1"}},
		{args: "run --rm busybox:1 ip -o link", want: []string{"lo"}, never: []string{"eth0"}},
		{args: "run --rm busybox:1 grep -E 'CapBnd|NoNewPrivs' /proc/self/status", want: []string{"00000000800405fb", "NoNewPrivs:\t1"}},
		{args: "run --rm --cap-add NET_ADMIN busybox:1 grep CapBnd /proc/self/status", want: []string{"00000000800415fb"}},
		{args: "run --no-engine --rm busybox:1 echo alone", want: []string{"alone"}},
		{args: "run --no-engine -d busybox:1", status: 2, want: []string{"--detach needs the engine"}},
		{args: "run --restart sometimes busybox:1", status: 125, want: []string{"--restart sometimes"}},
		{args: "run -d --name web -p 18060:80 -e COLOUR=blue -l app=shop busybox:1 " +
			"sh -c 'mkdir /tmp/www; echo page >/tmp/www/index.html; echo ready; exec httpd -f -p 80 -h /tmp/www'"},
		{args: "ps", want: []string{"web", "18060->80/tcp", "Up"}},
		{args: "ps -q --filter label=app=shop"},
		{args: "ps --filter name=nobody", never: []string{"busybox"}},
		{args: "port web", want: []string{"80/tcp -> 0.0.0.0:18060"}},
		{args: "port web 81", status: 1},
		{args: "exec web sh -c 'echo $COLOUR; exit 4'", status: 4, want: []string{"blue"}},
		{args: "exec -i web cat", stdin: "typed", want: []string{"typed"}},
		{args: "exec -u 1000 -w /tmp -e A=b web sh -c 'id -u; pwd; echo $A'", want: []string{"1000\n/tmp\nb"}},
		{args: "exec nobody true", status: 1, want: []string{"No such container: nobody"}},
		{args: "logs web", want: []string{"ready"}},
		{args: "logs -t --tail 1 web", want: []string{"Z ready"}},
		{args: "top web", want: []string{"httpd"}},
		{args: "top", want: []string{"CPU %", "web"}},
		{args: "stats --no-stream web", want: []string{"web"}},
		{args: "rename web shop"},
		{args: "update -m 64m --memory-swap -1 shop"},
		{args: "pause shop"},
		{args: "unpause shop"},
		{args: "diff shop", want: []string{"A /tmp/www"}},
		{args: "restart -t 1 shop"},
		{args: "stop -t 1 shop nobody", status: 1, want: []string{"shop\n", "No such container: nobody"}},
		{args: "wait shop"},
		{args: "start shop"},
		{args: "kill -s KILL shop"},
		{args: "wait shop"},
		{args: "ps", never: []string{"shop"}},
		{args: "ps -a", want: []string{"Exited"}},
		{args: "rm shop nobody", status: 1, want: []string{"shop\n", "No such container: nobody"}},
		{args: "rm -f nobody"},
		{args: "network create --subnet 10.88.0.0/24 shop"},
		{args: "network ls", want: []string{"10.88.0.0/24"}},
		{args: "run -d --name db --network shop busybox:1 sh -c 'echo row >/tmp/row; while true; do nc -l -p 5432 -e cat /tmp/row; done'"},
		{args: "run --rm --network shop busybox:1 nc db 5432", want: []string{"row"}},
		{args: "network disconnect shop db"},
		{args: "network connect --alias database shop db"},
		{args: "run --rm --network shop busybox:1 nc database 5432", want: []string{"row"}},
		{args: "network rm shop", status: 1},
		{args: "rm -f db"},
		{args: "volume create kept", want: []string{"kept"}},
		{args: "run --name holder -v kept:/data busybox:1 sh -c 'echo text >/data/file'"},
		{args: "volume rm kept", status: 1, want: []string{"in use"}},
		{args: "volume prune -a", never: []string{"kept"}},
		{args: "rm holder"},
		{args: "volume rm kept", want: []string{"kept"}},
		{args: "volume rm kept", status: 1, want: []string{"no such volume"}},
		{args: "network prune", want: []string{"shop"}},
		{args: "events --since 10m --until 0s", want: []string{"container", "start", "die", "network"}},
		{args: "inspect busybox:1", want: []string{`"RepoTags"`}},
		{args: "inspect bridge", want: []string{`"Subnet"`}},
		{args: "inspect nobody", status: 1, want: []string{"is called nobody"}},
	})
	for _, list := range []string{"ps -a", "network ls", "stats", "volume ls", "images"} {
		var all []map[string]any
		if out := e.must("", split("tare "+list+" --json")...); json.Unmarshal([]byte(out), &all) != nil {
			t.Errorf("tare %s --json prints %s", list, out)
		}
	}
}

// TestTerminals is what a person sees who sits at one.
func TestTerminals(t *testing.T) {
	script := need(t, "script")
	e := start(t)
	e.must("", "tare", "run", "-d", "--name", "web", "busybox:1", "sh", "-c", "while true; do :; done")
	typed := func(keys string, args ...string) string {
		t.Helper()
		return e.must(keys, script, "-qec", e.tare+" "+strings.Join(args, " "), filepath.Join(scratch, "typescript"))
	}
	if out := typed("echo $((6*7)); exit\n", "run", "--rm", "-it", "busybox:1"); !strings.Contains(out, "42") {
		t.Errorf("run -it prints %q", out)
	}
	if out := typed("tty; echo $((6*7)); exit\n", "exec", "-it", "web", "sh"); !strings.Contains(out, "42") || !strings.Contains(out, "/dev/pts/") {
		t.Errorf("exec -it prints %q", out)
	}
	out := typed("mq", "top")
	for _, want := range []string{"\x1b[?1049h", "web", "q quit", "\x1b[?1049l"} {
		if !strings.Contains(out, want) {
			t.Errorf("top draws no %q: %q", want, out)
		}
	}
}

// TestWithoutAnEngineTheVerbsSaySo, and those that can do without it do.
func TestWithoutAnEngineTheVerbsSaySo(t *testing.T) {
	e := start(t)
	env := e.env
	e.env = append(env, "TARE_RUN="+e.run+"2")
	defer func() { e.env = env }()
	e.steps("tare", []step{
		{args: "ps", status: 1, want: []string{"no engine answers on " + e.run + "2/tare.sock", "tare daemon"}},
		{args: "stop one two", status: 1, want: []string{"no engine answers"}},
		{args: "run -d busybox:1", status: 1, want: []string{"run --detach: no engine answers"}},
		{args: "run --rm busybox:1 echo alone", want: []string{"alone"}},
		{args: "run --no-engine busybox:1 echo alone", want: []string{"alone"}},
		{args: "inspect busybox:1", want: []string{`"RepoTags"`}},
		{args: "rm nobody", status: 1, want: []string{"no container of that name has written to flash"}},
	})
}

package enginetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// step is a command of docker's, and what it does.
type step struct {
	line  string // words; ' keeps together
	stdin string
	code  int
	out   string // what it prints, with * for anything; "-" is not looked at
	err   string // a part of what it says
}

// words cuts a line.
func words(line string) []string {
	var all []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

// like tells whether text is the pattern, with * for anything.
func like(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	for i, p := range parts {
		at := strings.Index(text, p)
		if at < 0 || i == 0 && at != 0 {
			return false
		}
		text = text[at+len(p):]
	}
	return text == "" || strings.HasSuffix(pattern, "*")
}

func (d *device) do(steps []step) {
	d.t.Helper()
	for _, s := range steps {
		r := d.with(s.stdin, words(strings.ReplaceAll(s.line, "DIR", d.dir))...)
		if r.code != s.code || s.out != "-" && !like(s.out, r.out) || !strings.Contains(r.err, s.err) {
			d.t.Errorf("docker %s: exit status %d, want %d\n%s\nwant %s\n%s\nwant %s", s.line, r.code, s.code, r.out, s.out, r.err, s.err)
		}
	}
}

func TestEveryday(t *testing.T) {
	d := newDevice(t)
	must(t, os.WriteFile(filepath.Join(d.dir, "file"), []byte("from the host\n"), 0o644))
	for name, steps := range map[string][]step{
		"run":         runSteps(),
		"rights":      rightsSteps(),
		"life":        lifeSteps(),
		"names":       namesSteps(),
		"exec":        execSteps(),
		"files":       filesSteps(),
		"volumes":     volumesSteps(),
		"logs":        logsSteps(),
		"limits":      limitsSteps(),
		"not offered": notOfferedSteps(),
		"prune":       pruneSteps(),
		"shared":      sharedSteps(),
	} {
		t.Run(name, func(t *testing.T) {
			inner := *d
			inner.t = t
			inner.do(steps)
			inner.clean()
		})
	}
}

func runSteps() []step {
	return []step{
		{line: "run --rm --network none box echo hello", out: "hello"},
		{line: "run --rm --network none box sh -c 'echo out; echo err >&2'", out: "out", err: "err"},
		{line: "run --rm --network none -i box cat", stdin: "typed", out: "typed"},
		{line: "run --rm --network none box true", code: 0},
		{line: "run --rm --network none box false", code: 1},
		{line: "run --rm --network none box sh -c 'exit 42'", code: 42},
		{line: "run --rm --network none box sh -c 'sleep 9 & kill -9 $!; wait $!'", code: 137},
		{line: "run --rm --network none box nonexistent", code: 127, err: "executable file not found in $PATH"},
		{line: "run --rm --network none box /no/such", code: 127, err: "no such file or directory"},
		{line: "run --rm --network none box /etc/passwd", code: 126, err: "permission denied"},
		{line: "run --rm --network none box /etc", code: 126},
		{line: "run --rm --network none --pull never nosuchimage", code: 125, err: "No such image: nosuchimage:latest"},
		{line: "run --rm --network none -e A=1 -e B=2 box sh -c 'echo $A$B'", out: "12"},
		{line: "run --rm --network none -w /tmp box pwd", out: "/tmp"},
		{line: "run --rm --network none -u user box id", out: "uid=1000(user) gid=1000(user)*"},
		{line: "run --rm --network none -u 7:8 box id -u", out: "7"},
		{line: "run --rm --network none --group-add 44 box id -G", out: "0 44"},
		{line: "run --rm --network none -h named box hostname", out: "named"},
		{line: "run --rm --network none --entrypoint echo box a b", out: "a b"},
		{line: "run --rm --network none --read-only box touch /x", code: 1, err: "Read-only"},
		{line: "run --rm --network none --read-only --tmpfs /x box touch /x/y"},
		{line: "run --rm --network none --tmpfs /x:size=1m box df -m /x", out: "*tmpfs*1*0*1*0% /x"},
		{line: "run --rm --network none --shm-size 2m box df -m /dev/shm", out: "*2*0*2*0% /dev/shm"},
		{line: "run --rm --network none --add-host there:10.1.2.3 box grep there /etc/hosts", out: "10.1.2.3\tthere"},
		{line: "run --rm --network none --dns 10.9.8.7 box cat /etc/resolv.conf", out: "nameserver 10.9.8.7*"},
		{line: "run --rm --network none --ulimit nofile=77:88 box sh -c 'ulimit -n; ulimit -Hn'", out: "77\n88"},
		{line: "run --rm --network none --sysctl kernel.msgmax=4242 box cat /proc/sys/kernel/msgmax", out: "4242"},
		{line: "run --rm --network none --pids-limit 20 box sh -c 'cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max'", out: "20"},
		{line: "run --rm --network none --pid host box sh -c 'test -d /proc/'" + itoa(os.Getpid())},
		{line: "run --rm --network none --init box ps -o pid,comm", out: "*1 *"},
	}
}

func rightsSteps() []step {
	return []step{
		{line: "run --rm --network none box sh -c 'mount -t tmpfs x /tmp'", code: 1, err: "denied"},
		{line: "run --rm --network none --privileged box mount -t tmpfs x /tmp"},
		{line: "run --rm --network none --cap-add SYS_ADMIN box mount -t tmpfs x /tmp"},
		{line: "run --rm --network none --cap-drop ALL box chown 1 /tmp", code: 1, err: "not permitted"},
		{line: "run --rm --network none --cap-drop all --cap-add chown box chown 1 /tmp"},
		{line: "run --rm --network none --cap-add FLY box true", code: 125, err: "FLY"},
		{line: "run --rm --network none box grep -c 'Seccomp:.2' /proc/self/status", out: "1"},
		{line: "run --rm --network none --security-opt seccomp=unconfined box grep -c 'Seccomp:.0' /proc/self/status", out: "1"},
		{line: "run --rm --network none --security-opt no-new-privileges box grep -c 'NoNewPrivs:.1' /proc/self/status", out: "1"},
		{line: "run --rm --network none box grep -c 'NoNewPrivs:.0' /proc/self/status", out: "1"},
		{line: "run --rm --network none --device /dev/zero:/dev/mine box head -c 1 /dev/mine", out: "-"},
		{line: "run --rm --network none --device /dev/none box true", code: 127, err: "/dev/none"},
	}
}

func lifeSteps() []step {
	return []step{
		{line: "create --name life --network none box sh -c 'trap \"exit 5\" TERM; while :; do sleep 0.1; done'", out: "*"},
		{line: "inspect --format {{.State.Status}} life", out: "created"},
		{line: "start life", out: "life"},
		{line: "start life", out: "life"},
		{line: "ps --format '{{.Names}} {{.State}}'", out: "life running"},
		{line: "pause life", out: "life"},
		{line: "inspect --format {{.State.Status}} life", out: "paused"},
		{line: "exec life true", code: 1, err: "paused"},
		{line: "unpause life", out: "life"},
		{line: "unpause life", code: 1, err: "is not paused"},
		{line: "rename life living", out: ""},
		{line: "rm living", code: 1, err: "container is running"},
		{line: "stop living", out: "living"},
		{line: "wait living", out: "5"},
		{line: "inspect --format {{.State.ExitCode}} living", out: "5"},
		{line: "ps --all --filter exited=5 --format {{.Names}}", out: "living"},
		{line: "stop living", out: "living"},
		{line: "kill living", code: 1, err: "is not running"},
		{line: "restart living", out: "living"},
		{line: "kill living", out: "living"},
		{line: "wait living", out: "137"},
		{line: "rm living", out: "living"},
		{line: "rm living", code: 1, err: "No such container: living"},
		{line: "inspect living", code: 1, out: "*", err: "No such object: living"},
		{line: "logs living", code: 1, err: "No such container: living"},
		{line: "exec living true", code: 1, err: "No such container: living"},
	}
}

func namesSteps() []step {
	return []step{
		{line: "create --name twin --network none --label a=b --label c box true", out: "*"},
		{line: "create --name twin --network none box true", code: 1, err: "already in use"},
		{line: "create --name x/y --network none box true", code: 1, err: "Invalid container name"},
		{line: "ps --all --filter label=a=b --format {{.Names}}", out: "twin"},
		{line: "ps --all --filter label=c --format {{.Names}}", out: "twin"},
		{line: "ps --all --filter label=a=x --format {{.Names}}", out: ""},
		{line: "ps --all --filter name=win --format {{.Names}}", out: "twin"},
		{line: "ps --all --filter name=^/twin$ --format {{.Names}}", out: "twin"},
		{line: "ps --all --filter status=created --filter ancestor=box --format {{.Names}}", out: "twin"},
		{line: "ps --all --filter bogus=1", code: 1, err: "invalid filter"},
		{line: "rm twin", out: "twin"},
	}
}

func execSteps() []step {
	return []step{
		{line: "run --detach --name host --network none -e A=1 box sleep 1000", out: "*"},
		{line: "exec host echo hi", out: "hi"},
		{line: "exec -i host cat", stdin: "typed", out: "typed"},
		{line: "exec host sh -c 'exit 9'", code: 9},
		{line: "exec host sh -c 'kill -9 $$'", code: 137},
		{line: "exec host nonexistent", code: 127, out: "*executable file not found in $PATH*"},
		{line: "exec -u user -w /tmp -e B=2 host sh -c 'id -u; pwd; echo $A$B'", out: "1000\n/tmp\n12"},
		{line: "exec --detach host touch /made", out: ""},
		{line: "top host", out: "*sleep 1000"},
		{line: "top host -o pid,args", out: "PID*sleep 1000"},
		{line: "stats --no-stream --format '{{.Name}} {{.PIDs}}' host", out: "host 1"},
		{line: "rm --force host", out: "host"},
	}
}

func filesSteps() []step {
	return []step{
		{line: "run --detach --name files --network none box sleep 1000", out: "*"},
		{line: "cp DIR/file files:/tmp/", out: "-"},
		{line: "cp DIR/file files:/new", out: "-"},
		{line: "exec files cat /tmp/file /new", out: "from the host\nfrom the host"},
		{line: "cp files:/tmp/file DIR/back", out: "-"},
		{line: "cp files:/none DIR/none", code: 1, err: "Could not find the file /none"},
		{line: "exec files sh -c 'ln -s /tmp/file /link; rm /etc/group'"},
		{line: "cp -L files:/link DIR/followed", out: "-"},
		{line: "diff files", out: "C /etc\nD /etc/group\nA /link\nA /new\nC /tmp\nA /tmp/file"},
		{line: "export --output DIR/export.tar files", out: ""},
		{line: "stop -t 0 files", out: "files"},
		{line: "cp files:/tmp/file DIR/stopped", out: "-"},
		{line: "start files", out: "files"},
		{line: "exec files cat /new", out: "from the host"},
		{line: "rm --force files", out: "files"},
	}
}

func volumesSteps() []step {
	return []step{
		{line: "run --rm --network none -v data:/data box sh -c 'echo kept > /data/f'"},
		{line: "run --rm --network none -v data:/data:ro box cat /data/f", out: "kept"},
		{line: "run --rm --network none -v data:/data:ro box touch /data/g", code: 1, err: "Read-only"},
		{line: "run --rm --network none --mount type=volume,src=data,dst=/d box cat /d/f", out: "kept"},
		{line: "run --rm --network none -v DIR:/host:ro box cat /host/file", out: "from the host"},
		{line: "run --rm --network none --mount type=bind,src=DIR/none,dst=/d box true", code: 125, err: "bind source path does not exist"},
		{line: "run --rm --network none --mount type=tmpfs,dst=/t,tmpfs-size=1048576 box df -m /t", out: "*1*0*1*0% /t"},
		{line: "run --rm --network none -v /anonymous box touch /anonymous/x"},
		{line: "volume ls --quiet", out: "data"},
		{line: "create --name user --network none -v data:/data box true", out: "*"},
		{line: "volume rm data", code: 1, err: "in use"},
		{line: "run --rm --network none --volumes-from user box cat /data/f", out: "kept"},
		{line: "rm user", out: "user"},
		{line: "volume rm data", out: "data"},
	}
}

func logsSteps() []step {
	return []step{
		{line: "run --name logs --network none box sh -c 'echo one; echo two >&2; sleep 0.1; echo three'", out: "one\nthree", err: "two"},
		{line: "logs logs", out: "one\nthree", err: "two"},
		{line: "logs --tail 1 logs", out: "three"},
		{line: "logs --timestamps --tail 1 logs", out: "20*T*Z three"},
		{line: "logs --follow logs", out: "one\nthree"},
		{line: "logs --since 1h logs", out: "one\nthree"},
		{line: "logs --until 1h logs", out: ""},
		{line: "start --attach logs", out: "one\nthree", err: "two"},
		{line: "logs logs", out: "one\nthree\none\nthree"},
		{line: "rm logs", out: "logs"},
	}
}

func limitsSteps() []step {
	return []step{
		{line: "run --name small --network none --memory 8m box tail /dev/zero", code: 137},
		{line: "inspect --format {{.State.OOMKilled}} small", out: "true"},
		{line: "rm small", out: "small"},
		{line: "run --rm --network none --memory 1m box true", code: 125, err: "Minimum memory limit"},
		{line: "run --detach --name grown --network none --memory 16m --cpus 0.5 box sleep 1000", out: "*"},
		{line: "update --memory 32m --memory-swap 64m grown", out: "grown"},
		{line: "inspect --format {{.HostConfig.Memory}} grown", out: "33554432"},
		{line: "rm --force grown", out: "grown"},
	}
}

func pruneSteps() []step {
	return []step{
		{line: "create --network none --name idle box true", out: "*"},
		{line: "create --network none --name linked --link idle:near box true", out: "*"},
		{line: "container prune --force --filter label=none", out: "Total reclaimed space: 0B"},
		{line: "container prune --force", out: "Deleted Containers:*Total reclaimed space: 0B"},
		{line: "system prune --force", out: "*"},
		{line: "system df --format {{.Type}}", out: "Images\nContainers\nLocal Volumes\nBuild Cache"},
	}
}

func sharedSteps() []step {
	return []step{
		{line: "run --detach --name base --ipc shareable box sleep 1000", out: "*"},
		{line: "run --rm --network container:base --pid container:base --ipc container:base box ps -o args", out: "*sleep 1000*"},
		{line: "run --rm --network host box ip -o link show lo", out: "1: lo*"},
		{line: "run --rm --link base:near box grep -c near /etc/hosts", out: "1"},
		{line: "network create inner", out: "*"},
		{line: "network connect inner base", out: ""},
		{line: "run --rm --network inner box ping -c 1 -W 5 base", out: "*1 packets received*"},
		{line: "network disconnect inner base", out: ""},
		{line: "network rm inner", out: "inner"},
		{line: "rm --force base", out: "base"},
		{line: "run --rm --network container:base box true", code: 125, err: "No such container: base"},
	}
}

func notOfferedSteps() []step {
	return []step{
		{line: "swarm init", code: 1, err: "does not offer swarm"},
		{line: "plugin ls --quiet", out: ""},
		{line: "commit x", code: 1, err: "does not offer commit"},
	}
}

package compat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tare.dev/tare/test/distribution"
)

// clients are the docker command lines of this machine: Debian's, and a newer one where there is any.
func clients(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range []string{need(t, "docker"), "/usr/bin/docker"} {
		if _, err := os.Stat(path); err == nil {
			all[strings.ReplaceAll(strings.Trim(path, "/"), "/", "-")] = path
		}
	}
	return all
}

// everyday is a day with docker.
var everyday = []step{
	{args: "version", want: []string{"Tare"}},
	{args: "info", want: []string{"Server Version", "Kernel Version"}},
	{args: "images", want: []string{"busybox"}},
	{args: "run --rm busybox:1 echo hello", want: []string{"hello"}},
	{args: "run --rm busybox:1 sh -c 'echo out; echo err >&2; exit 3'", status: 3, want: []string{"out", "err"}},
	{args: "run --rm -i busybox:1 cat", stdin: "from here", want: []string{"from here"}},
	{args: "run --rm busybox:1 nothing", status: 127, want: []string{"nothing"}},
	{args: "run --rm busybox:1 /etc/passwd", status: 126},
	{args: "run --rm nobody:1", status: 125, want: []string{"nobody:1"}},
	{args: "run -d --name web -p 18080:80 -e COLOUR=blue --label app=shop --restart on-failure:2 --health-cmd 'test -f /tmp/ok' " +
		"--health-interval 1s busybox:1 sh -c 'mkdir /www; echo page >/www/index.html; touch /tmp/ok; echo ready; exec httpd -f -p 80 -h /www'"},
	{args: "run --name web busybox:1", status: 125, want: []string{"already in use"}},
	{args: "ps", want: []string{"web", "0.0.0.0:18080->80/tcp", "Up"}},
	{args: "ps -q --filter label=app=shop --filter status=running --no-trunc"},
	{args: "ps --filter name=nobody", never: []string{"busybox"}},
	{args: "ps -a --format '{{.Names}} {{.State}} {{.Image}}'", want: []string{"web running busybox:1"}},
	{args: "port web", want: []string{"80/tcp -> 0.0.0.0:18080"}},
	{args: "inspect -f '{{.State.Status}} {{.Config.Labels.app}} {{.HostConfig.RestartPolicy.Name}}' web", want: []string{"running shop on-failure"}},
	{args: "inspect nobody", status: 1, want: []string{"[]"}},
	{args: "exec web sh -c 'echo $COLOUR; exit 4'", status: 4, want: []string{"blue"}},
	{args: "exec -i web cat", stdin: "typed", want: []string{"typed"}},
	{args: "exec -u 1000 -w /tmp -e A=b web sh -c 'id -u; pwd; echo $A'", want: []string{"1000\n/tmp\nb"}},
	{args: "exec -d web touch /tmp/later"},
	{args: "exec web nothing", status: 127},
	{args: "logs web", want: []string{"ready"}},
	{args: "logs -t --tail 1 --since 10m web", want: []string{"ready", "Z ready"}},
	{args: "top web", want: []string{"httpd"}},
	{args: "stats --no-stream web", want: []string{"web", "iB / "}},
	{args: "rename web shop"},
	{args: "update -m 64m --memory-swap -1 --restart no shop", want: []string{"shop"}},
	{args: "inspect -f '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}' shop", want: []string{"67108864 no"}},
	{args: "pause shop"},
	{args: "ps", want: []string{"(Paused)"}},
	{args: "unpause shop"},
	{args: "diff shop", want: []string{"/www"}},
	{args: "kill -s USR1 nobody", status: 1, want: []string{"No such container: nobody"}},
	{args: "restart -t 1 shop"},
	{args: "stop -t 1 shop"},
	{args: "wait shop"},
	{args: "start shop"},
	{args: "rm shop", status: 1, want: []string{"running"}},
	{args: "rm -f shop"},
	{args: "rm shop", status: 1, want: []string{"No such container: shop"}},
	{args: "rm -f shop"},
	{args: "create --name made busybox:1 sh -c 'echo started'"},
	{args: "ps -a", want: []string{"Created"}},
	{args: "start -a made", want: []string{"started"}},
	{args: "container prune -f", want: []string{"Total reclaimed space"}},
	{args: "ps -aq", never: []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
	{args: "run --rm --read-only --tmpfs /tmp busybox:1 sh -c 'touch /tmp/x && ! touch /x'"},
	{args: "run --rm --cap-drop ALL busybox:1 chown 1 /tmp", status: 1},
	{args: "run --rm -h box --add-host db:10.0.0.9 busybox:1 sh -c 'hostname; cat /etc/hosts'", want: []string{"box", "10.0.0.9\tdb"}},
	{args: "run --rm --network none busybox:1 ip -o link", never: []string{"eth0"}},
	{args: "run --rm --network host busybox:1 ip -o link", want: []string{"lo"}},
	{args: "run --rm --entrypoint echo busybox:1 in place", want: []string{"in place"}},
	{args: "run --rm --init busybox:1 ps", want: []string{"init"}},
	{args: "run --rm -m 32m --pids-limit 50 --cpus 0.5 busybox:1 true"},
	{args: "swarm init", status: 1, want: []string{"not"}},
	{args: "search busybox", status: 1},
	{args: "system df", want: []string{"Images"}},
	{args: "events --since 10m --until 0s", want: []string{"container create", "container die", "network connect"}},
}

// TestEverydayCommandsOfDockerToday builds the newest command line whose modules can all be fetched.
func TestEverydayCommandsOfDockerToday(t *testing.T) {
	start(t).steps(built(t, "docker29", "github.com/docker/cli/cmd/docker"), everyday)
}

func TestEverydayCommandsOfDocker(t *testing.T) {
	for name, path := range clients(t) {
		t.Run(name, func(t *testing.T) { start(t).steps(path, everyday) })
	}
}

func TestImagesByDocker(t *testing.T) {
	registry := distribution.Start(t, distribution.V2, distribution.Config{})
	docker := need(t, "docker")
	e := start(t)
	dir := filepath.Dir(e.root)
	archive, there := filepath.Join(dir, "saved.tar"), registry.Host+"/tools/busybox:1"
	e.steps(docker, []step{
		{args: "tag busybox:1 " + there},
		{args: "push " + there, want: []string{"digest: sha256:"}},
		{args: "save -o " + archive + " busybox:1"},
		{args: "rmi " + there, want: []string{"Untagged: " + there}},
		{args: "rmi busybox:1", want: []string{"Untagged: busybox:1", "Deleted: sha256:"}},
		{args: "images -q", never: []string{"0", "1", "a", "f"}},
		{args: "load -i " + archive, want: []string{"Loaded image: busybox:1"}},
		{args: "pull " + there, want: []string{"Pull complete", "Digest: sha256:", "Status: Downloaded newer image for " + there}},
		{args: "pull " + there, want: []string{"Status: Image is up to date for " + there}},
		{args: "pull -q " + there, want: []string{there}},
		{args: "pull " + registry.Host + "/tools/nothing:1", status: 1},
		{args: "history busybox:1", want: []string{"SIZE"}},
		{args: "images --filter reference=*/tools/* --format '{{.Repository}}:{{.Tag}}'", want: []string{there}, never: []string{"\nbusybox"}},
		{args: "image inspect -f '{{.Os}} {{index .RepoTags 0}}' busybox:1", want: []string{"linux "}},
		{args: "run -d --name user busybox:1 sleep 1000"},
		{args: "rmi busybox:1", status: 1, want: []string{"container"}},
		{args: "rm -f user"},
		{args: "image prune -af", want: []string{"Total reclaimed space"}},
		{args: "images -q", never: []string{"0", "1", "a", "f"}},
		{args: "rmi nothing", status: 1, want: []string{"No such image: nothing"}},
	})
	tree := filepath.Join(scratch, "busybox.tar")
	e.steps(docker, []step{
		{args: "import -c 'CMD echo imported' -m note " + tree + " made:1", want: []string{"sha256:"}},
		{args: "run --rm made:1", want: []string{"imported"}},
	})
}

func TestVolumesAndNetworksByDocker(t *testing.T) {
	docker := need(t, "docker")
	e := start(t)
	e.steps(docker, []step{
		{args: "volume create --label app=shop data", want: []string{"data"}},
		{args: "volume ls --filter label=app=shop", want: []string{"local", "data"}},
		{args: "run --rm -v data:/data busybox:1 sh -c 'echo kept >/data/file'"},
		{args: "run --rm -v data:/data:ro busybox:1 sh -c 'cat /data/file; ! touch /data/x'", want: []string{"kept"}},
		{args: "run -d --name holder -v data:/data -v /anonymous busybox:1 sleep 1000"},
		{args: "volume rm data", status: 1, want: []string{"in use"}},
		{args: "volume prune -f"},
		{args: "rm -fv holder"},
		{args: "volume ls -q", want: []string{"data"}},
		{args: "volume inspect data", want: []string{`"Mountpoint"`, `"app": "shop"`}},
		{args: "volume rm data"},
		{args: "volume rm data", status: 1, want: []string{"no such volume"}},
		{args: "volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=1m fast"},
		{args: "run --rm -v fast:/fast busybox:1 sh -c 'df -k /fast | tail -1'", want: []string{"1024"}},
		{args: "volume rm fast"},

		{args: "network create --subnet 10.77.0.0/24 --label app=shop shop"},
		{args: "network create shop", status: 1, want: []string{"already exists"}},
		{args: "network ls --filter label=app=shop", want: []string{"shop", "bridge"}},
		{args: "run -d --name db --network shop --network-alias database busybox:1 sh -c 'echo row >/row; while true; do nc -l -p 5432 -e cat /row; done'"},
		{args: "run -d --name alone busybox:1 sleep 1000"},
		{args: "run --rm --network shop busybox:1 nc database 5432", want: []string{"row"}},
		{args: "network inspect -f '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}' shop", want: []string{"db 10.77.0."}},
		{args: "exec alone nc -w 1 db 5432", status: 1},
		{args: "network connect --alias visitor shop alone"},
		{args: "exec alone nc db 5432", want: []string{"row"}},
		{args: "network connect shop alone", status: 1, want: []string{"already exists"}},
		{args: "network rm shop", status: 1, want: []string{"shop"}},
		{args: "network disconnect shop alone"},
		{args: "exec alone nc -w 1 db 5432", status: 1},
		{args: "network rm bridge", status: 1, want: []string{"pre-defined"}},
		{args: "rm -f db alone"},
		{args: "network prune -f", want: []string{"shop"}},
		{args: "network inspect shop", status: 1},
		{args: "run -d --name first -p 18081:80 busybox:1 sleep 1000"},
		{args: "run -d --name second -p 18081:80 busybox:1 sleep 1000", status: 125, want: []string{"port is already allocated"}},
		{args: "rm -f first second"},
	})
}

// TestCopiesByDocker copies in both ways, also of a container that does not run.
func TestCopiesByDocker(t *testing.T) {
	docker := need(t, "docker")
	e := start(t)
	dir := filepath.Join(filepath.Dir(e.root), "files")
	for name, text := range map[string]string{"in/a": "one", "in/sub/b": "two"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	e.must("", docker, "create", "--name", "box", "busybox:1", "sh", "-c", "cat /in/sub/b; sleep 1000")
	for _, client := range []string{docker, "tare"} {
		e.steps(client, []step{
			{args: "cp " + dir + "/in box:/"},
			{args: "cp " + dir + "/in/a box:/in/renamed"},
			{args: "cp box:/in " + dir + "/out"},
			{args: "cp box:/in/. " + dir + "/merged", status: 0},
			{args: "cp box:/nothing " + dir, status: 1},
			{args: "start box"},
			{args: "cp box:/in/renamed " + dir + "/back"},
			{args: "exec box cat /in/sub/b", want: []string{"two"}},
			{args: "stop -t 0 box"},
		})
		for name, want := range map[string]string{"out/sub/b": "two", "merged/a": "one", "back": "one"} {
			if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
				t.Errorf("%s: %s is %q, %v; want %q", client, name, text, err, want)
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, "out")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExportByDocker(t *testing.T) {
	docker := need(t, "docker")
	e := start(t)
	e.must("", docker, "run", "--name", "box", "busybox:1", "sh", "-c", "echo made >/file")
	archive := filepath.Join(filepath.Dir(e.root), "out.tar")
	e.must("", docker, "export", "-o", archive, "box")
	if text := e.must("", "tar", "-xOf", archive, "file"); text != "made" {
		t.Errorf("the exported file is %q", text)
	}
	var info []struct{ Config struct{ Cmd []string } }
	if err := json.Unmarshal([]byte(e.must("", docker, "inspect", "box")), &info); err != nil || len(info) != 1 || info[0].Config.Cmd[0] != "sh" {
		t.Errorf("inspect = %+v, %v", info, err)
	}
}

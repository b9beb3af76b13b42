package enginetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// dockerd starts docker's own daemon beside, with the same image. It has no networks: that takes a packet
// filter that not every kernel has.
func dockerd(t *testing.T, box string) *device {
	t.Helper()
	for _, name := range []string{"dockerd", "containerd", "runc"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name + " is not installed")
		}
	}
	dir, err := os.MkdirTemp("", "td-")
	must(t, err)
	d := &device{t: t, dir: dir, run: dir}
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd := exec.Command("dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "--host", "unix://"+dir+"/tare.sock",
		"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none", "--storage-driver", "vfs")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM) // it ends its containerd too
		_ = cmd.Wait()
		log.Close()
		text, _ := os.ReadFile("/proc/self/mounts")
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
				_ = unix.Unmount(f[1], unix.MNT_DETACH)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	d.eventually("dockerd answers", func() bool { return d.docker("version").code == 0 })
	d.must("import", box, "box")
	return d
}

// TestSameAsDocker runs the same commands with both, and compares what a script sees.
func TestSameAsDocker(t *testing.T) {
	ours := newDevice(t)
	theirs := dockerd(t, filepath.Join(ours.dir, "box.tar"))
	for _, line := range []string{
		"run --rm --network none box true",
		"run --rm --network none box false",
		"run --rm --network none box echo hello",
		"run --rm --network none box nonexistent",
		"run --rm --network none box /no/such",
		"run --rm --network none box /etc/passwd",
		"run --rm --network none box /etc",
		"run --rm --network none box sh -c 'exit 42'",
		"run --rm --network none box sh -c 'sleep 9 & kill -9 $!; wait $!'",
		"run --rm --network none -w /tmp -u user box sh -c 'pwd; id'",
		"run --rm --network none -h named box hostname",
		"run --rm --network none -h e -e A=1 box sh -c 'echo $A $PATH $HOME $HOSTNAME'",
		"run --rm --network none -h e box env",
		"run --rm --network none box cat /proc/mounts | head -0",
		"run --rm --network none box grep -E 'Cap(Prm|Eff|Bnd|Inh|Amb)' /proc/self/status",
		"run --rm --network none --user user box grep -E 'Cap(Prm|Eff|Bnd|Inh|Amb)' /proc/self/status",
		"run --rm --network none --memory 1m box true",
		"run --rm --network none --cap-add FLY box true",
		"run --rm --network none -v relative/dir:/x box true",
		"run --rm --network none -v /:/ box true",
		"run --rm --network none --mount type=bind,src=/none/such,dst=/x box true",
		"run --rm --network none --restart always box true",
		"run --rm --network none --init box sh -c 'echo $$ | grep -v ^1$ >/dev/null; echo $?'",
		"create --name one --network none --stop-timeout 1 --label l=1 box sh -c 'echo out; echo err >&2; exit 3'",
		"create --name one --network none box true",
		"start --attach one",
		"wait one",
		"logs one",
		"ps --all --format '{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Labels}}'",
		"inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}} {{.Path}} {{.Args}} {{.Config.Image}} {{.Config.Cmd}} {{.HostConfig.NetworkMode}}' one",
		"inspect --format '{{json .Config.Labels}} {{.Config.StopTimeout}} {{.HostConfig.RestartPolicy.Name}} {{.Name}}' one",
		"kill one", "pause one", "unpause one", "stop one", "exec one true", "top one", "rename one two", "rename two two", "port two", "rm two", "rm two",
		"run --detach --quiet --name bg --network none box sleep 1000",
		"exec bg echo hi", "exec bg false", "exec bg false",
		"stop -t 0 bg", "inspect --format {{.State.ExitCode}} bg", "start bg", "pause bg", "exec bg true", "unpause bg",
		"kill --signal 0 bg", "kill --signal FOO bg", "kill --signal HUP bg", "rm bg", "rm --force bg",
		"start none", "stop none", "logs none", "inspect nosuch", "rm none", "rm --force none", "wait none", "exec none true", "cp none:/x .", "diff none",
		"image inspect none", "volume inspect none", "network inspect none1", "volume create vol", "volume ls -q", "volume rm vol", "volume rm vol",
		"create --network none1 --name lost box true", "start lost", "rm --force lost",
	} {
		if strings.HasPrefix(line, "run --detach") {
			ours.must(words(line)...)
			theirs.must(words(line)...)
			continue
		}
		a, b := ours.docker(words(line)...), theirs.docker(words(line)...)
		if a.code != b.code {
			t.Errorf("docker %s: exit status %d, docker's %d\n%s\ndocker's\n%s", line, a.code, b.code, a.err, b.err)
		}
		if a.out != b.out && !strings.HasPrefix(line, "create") && !strings.HasPrefix(line, "top") {
			t.Errorf("docker %s printed\n%s\ndocker's\n%s", line, a.out, b.out)
		}
	}
	ours.clean()
}

package images

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// docker starts a daemon of its own and returns a way to call it.
func docker(t *testing.T) func(args ...string) string {
	t.Helper()
	needRoot(t)
	client, daemon := needProgram(t, "docker"), needProgram(t, "dockerd")
	needProgram(t, "containerd")
	dir, err := os.MkdirTemp("", "tare-docker-") // short: the path of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	host := "unix://" + dir + "/sock"
	cmd := exec.Command(daemon, "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "--host", host,
		"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none", "--storage-driver", "vfs")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM) // it ends its containerd too
		_ = cmd.Wait()
		log.Close()
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("dockerd: %s", text[max(0, len(text)-3000):])
		}
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	command := func(args ...string) *exec.Cmd {
		c := exec.Command(client, append([]string{"--host", host}, args...)...)
		c.Env = append(os.Environ(), "DOCKER_CONFIG="+dir, "DOCKER_CLI_HINTS=false")
		return c
	}
	for start := time.Now(); command("version").Run() != nil; time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal("dockerd does not answer")
		}
	}
	return func(args ...string) string {
		t.Helper()
		out, err := command(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
}

func unmountBelow(t *testing.T, dir string) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
	}
	for line := range bytes.Lines(text) {
		if f := strings.Fields(string(line)); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
}

func TestDockerAndTareReadEachOther(t *testing.T) {
	call := docker(t)
	f := newForeign(t)
	f.list("two", f.image(here(), f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, append([]thing{dir(".", 0o755)}, lower(t)...)...)),
		f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, upper(t)...))))
	d := newDevice(t)
	d.must("pull", "-q", "oci:"+f.dir+":two")
	d.must("tag", "localhost/"+filepath.Base(f.dir)+":two", "example.org/app:1")
	dir := t.TempDir()
	for _, how := range []string{"none", "gzip"} {
		archive := filepath.Join(dir, how+".tar")
		d.must("save", "--compress", how, "-o", archive, "example.org/app:1")
		if got := call("load", "--input", archive); got != "Loaded image: example.org/app:1" {
			t.Errorf("docker load printed %q", got)
		}
	}
	var seen []struct {
		Config v1.ImageConfig
		RootFS struct{ Layers []string }
	}
	if err := json.Unmarshal([]byte(call("image", "inspect", "example.org/app:1")), &seen); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || len(seen[0].RootFS.Layers) != 1 || seen[0].Config.Labels["org.example"] != "yes" {
		t.Errorf("docker inspect: %+v", seen)
	}

	// Docker's own archive of it, from a file and through a pipe, is the same tree again.
	saved := filepath.Join(dir, "saved.tar")
	call("save", "--output", saved, "example.org/app:1")
	want := filepath.Join(dir, "want.tar")
	d.must("export", "-o", want, "example.org/app:1")
	for _, way := range []string{"file", "pipe"} {
		back := newDevice(t)
		printed := ""
		if way == "file" {
			printed = back.must("load", "-q", "-i", saved)
		} else {
			printed = back.piped(saved, "load", "-q")
		}
		if printed != "Loaded image: example.org/app:1" {
			t.Errorf("load from a %s printed %q", way, printed)
		}
		got := filepath.Join(dir, way+"-got.tar")
		back.must("export", "-o", got, "example.org/app:1")
		same(t, "docker save, tare load from a "+way, snapshot(t, gnuTar(t, got)), snapshot(t, gnuTar(t, want)))
	}
}

// piped runs tare with a file that comes through a pipe.
func (d *device) piped(name string, args ...string) string {
	d.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Close()
	data, err := os.ReadFile(name)
	if err != nil {
		d.t.Fatal(err)
	}
	go func() {
		defer w.Close()
		_, _ = w.Write(data) // a command that ends early leaves the rest
	}()
	got := d.with(r, args...)
	if got.code != 0 {
		d.t.Fatalf("tare %s: exit status %d\n%s", strings.Join(args, " "), got.code, got.err)
	}
	return strings.TrimSuffix(got.out, "\n")
}

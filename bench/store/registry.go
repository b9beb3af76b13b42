package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"tare.dev/tare/bench/measure"
)

// A server is a registry on the loopback interface.
type server struct {
	host string
	cmd  *exec.Cmd
}

func startRegistry(ctx context.Context, dir string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{host: l.Addr().String()}
	l.Close()
	config := filepath.Join(dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\nlog: {level: error, accesslog: {disabled: true}}\n",
		filepath.Join(dir, "registry"), s.host)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	s.cmd = exec.Command("docker-registry", "serve", config)
	s.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, eventually(ctx, "the registry answers", func() bool {
		r, err := http.Get("http://" + s.host + "/v2/")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill() // its store is thrown away
	_ = s.cmd.Wait()
}

// push copies the images of an OCI layout to the registry.
func (s *server) push(layout string, all []*image) error {
	for _, i := range all {
		if err := measure.Command("skopeo", "copy", "--quiet", "--dest-tls-verify=false",
			"oci:"+layout+":"+i.name, "docker://"+s.ref(i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) ref(i *image) string { return s.host + "/bench/" + i.name + ":1" }

func eventually(ctx context.Context, what string, ok func() bool) error {
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after a minute it is still not so that %s", what)
		}
		measure.Pause(ctx, 20*time.Millisecond)
	}
	return nil
}

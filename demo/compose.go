package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/test/rootfs"
)

// shop is the root file system of all three services.
func shop() rootfs.Debian {
	return rootfs.Debian{Name: "demo-shop", Packages: []string{"redis-server", "lighttpd"}}
}

// project is what a team would write for any engine.
const project = `services:
  database:
    image: demo-shop
    command: redis-server --bind 0.0.0.0 --protected-mode no --save ""
    mem_limit: 48m
    healthcheck: {test: [CMD, redis-cli, ping], interval: 1s, timeout: 5s, retries: 30}
  worker:
    image: demo-shop
    command: sh -c 'while :; do redis-cli -h database incr jobs >/dev/null; sleep 0.1; done'
    restart: always
    mem_limit: 16m
    depends_on: {database: {condition: service_healthy}}
  web:
    image: demo-shop
    command: lighttpd -D -f /site/lighttpd.conf
    ports: ["8080:80"]
    volumes: ["./site:/site:ro"]
    mem_limit: 32m
    depends_on: {database: {condition: service_healthy}}
`

// site is what web serves: a page with a number from the database.
var site = map[string]string{
	"lighttpd.conf": `server.document-root = "/site/pages"
server.modules = ("mod_cgi")
server.upload-dirs = ("/tmp")
index-file.names = ("index.sh")
cgi.assign = (".sh" => "/bin/sh")
`,
	"pages/index.sh": `printf 'Content-Type: text/plain\r\n\r\n'
echo "jobs done: $(redis-cli -h database get jobs)"
`,
}

// An engine is the daemon, in a network of its own: nothing of this machine's changes.
type engine struct {
	d      *demo
	cmd    *exec.Cmd
	socket string
	dir    string // of the project
}

// showCompose runs a project of three services, kills the engine, and asks the web page.
func (d *demo) showCompose(ctx context.Context) (err error) {
	archive, err := shop().Archive(ctx, d.cache)
	if err != nil {
		return err
	}
	if _, err := d.tareRun(ctx, "device", "import", "-q", archive, "demo-shop"); err != nil {
		return err
	}
	e, err := d.startEngine(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop()) }()
	show("$ tare daemon &")
	show("$ docker-compose up -d")
	if err := e.compose(ctx, "up", "-d"); err != nil {
		return err
	}
	if err := e.show(ctx, "ps"); err != nil {
		return err
	}
	before, err := e.page(ctx)
	if err != nil {
		return err
	}
	if err := e.kill(ctx); err != nil {
		return err
	}
	if err := e.show(ctx, "ps"); err != nil {
		return err
	}
	after, err := e.page(ctx)
	if err != nil {
		return err
	}
	if after <= before {
		return fmt.Errorf("the worker did %d jobs before the engine died, and %d after", before, after)
	}
	show("$ docker-compose down")
	if err := e.compose(ctx, "down", "-t", "3"); err != nil {
		return err
	}
	out, err := d.tareRun(ctx, "device", "ps", "-aq")
	if err == nil && strings.TrimSpace(out) != "" {
		err = fmt.Errorf("left: %s", out)
	}
	return err
}

func (d *demo) startEngine(ctx context.Context) (*engine, error) {
	e := &engine{d: d, socket: filepath.Join(d.bundle, "run", "tare.sock"), dir: filepath.Join(d.bundle, "shop")}
	for name, text := range site {
		path := filepath.Join(e.dir, "site", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(e.dir, "docker-compose.yml"), []byte(project), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(d.bundle, "engine.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	e.cmd = exec.Command(d.program(), "--root", filepath.Join(d.bundle, "device"), "--run", filepath.Join(d.bundle, "run"), "daemon")
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := e.cmd.Start(); err != nil {
		return nil, err
	}
	if err := e.inNetwork(loopbackUp); err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, e.answers(ctx)
}

// answers waits until the engine does.
func (e *engine) answers(ctx context.Context) error {
	var err error
	for range 200 {
		if _, err = e.d.tareRun(ctx, "device", "ps"); err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	said, _ := os.ReadFile(filepath.Join(e.d.bundle, "engine.log"))
	return fmt.Errorf("%w; the engine says: %s", err, lastLine(string(said)))
}

func (e *engine) stop() error {
	// Containers go on when an engine ends, so those of a demo that failed are removed before.
	if out, err := e.d.tareRun(context.Background(), "device", "ps", "-aq"); err == nil && strings.TrimSpace(out) != "" {
		_, _ = e.d.tareRun(context.Background(), "device", append([]string{"rm", "-f"}, strings.Fields(out)...)...)
	}
	_ = e.cmd.Process.Signal(unix.SIGTERM)
	return e.cmd.Wait()
}

func (e *engine) compose(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "docker-compose", args...)
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.socket, "COMPOSE_PROJECT_NAME=shop")
	out, err := cmd.CombinedOutput()
	if err != nil {
		said, _ := os.ReadFile(filepath.Join(e.d.bundle, "engine.log"))
		return fmt.Errorf("docker-compose %s: %w\n%s\n%s", strings.Join(args, " "), err, out, said)
	}
	return nil
}

// show prints what a command of tare's prints.
func (e *engine) show(ctx context.Context, args ...string) error {
	out, err := e.d.tareRun(ctx, "device", args...)
	if err != nil {
		return err
	}
	show("$ tare " + strings.Join(args, " "))
	for line := range strings.Lines(out) {
		show(strings.TrimRight(line, "\n"))
	}
	return nil
}

// page fetches the web page, and returns the number in it.
func (e *engine) page(ctx context.Context) (int, error) {
	var text string
	err := e.inNetwork(func() error {
		var err error
		text, err = fetch(ctx, "http://127.0.0.1:8080/")
		return err
	})
	if err != nil {
		return 0, err
	}
	show("$ curl http://127.0.0.1:8080/")
	show(strings.TrimSpace(text))
	return strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(text), "jobs done: "))
}

// fetch dials from the calling thread, which is in the right network.
func fetch(ctx context.Context, url string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, errors.ErrUnsupported }
	var last error
	for range 50 {
		conn, err := dialHere("127.0.0.1", 8080)
		if err == nil {
			client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return "", err
			}
			answer, err := client.Do(request)
			if err == nil {
				defer answer.Body.Close()
				text, err := io.ReadAll(answer.Body)
				if err == nil && answer.StatusCode != http.StatusOK {
					err = fmt.Errorf("%s: %s", url, answer.Status)
				}
				return string(text), err
			}
			last = err
		} else {
			last = err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "", last
}

// dialHere makes its socket on the calling thread; package net might take another.
func dialHere(host string, port int) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "web")
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte(net.ParseIP(host).To4())}); err != nil {
		return nil, fmt.Errorf("connect to %s:%d: %w", host, port, err)
	}
	return net.FileConn(f)
}

// inNetwork does something on a thread in the engine's network, which ends with it.
func (e *engine) inNetwork(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked, so the thread ends
		done <- func() error {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", e.cmd.Process.Pid))
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter the engine's network: %w", err)
			}
			return do()
		}()
	}()
	return <-done
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// kill kills the engine, and waits for the next one.
func (e *engine) kill(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "pgrep", "-P", strconv.Itoa(e.cmd.Process.Pid), "tare-engine").Output()
	if err != nil {
		return fmt.Errorf("find the engine below the keeper: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return err
	}
	show("$ kill -9 $(pidof tare-engine)")
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond) // the next one begins after 100
	return e.answers(ctx)
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/test/rootfs"
)

// images are two root file systems that a team would make one after the other: most files are the
// same, but no layer is, because each was built by itself.
func images() []rootfs.Debian {
	return []rootfs.Debian{
		{Name: "demo-sensor", Packages: []string{"python3-minimal"}},
		{Name: "demo-gateway", Packages: []string{"openssl", "ca-certificates"}},
	}
}

// tareRun calls the device program on a store of its own.
func (d *demo) tareRun(ctx context.Context, store string, args ...string) (string, error) {
	all := append([]string{"--root", filepath.Join(d.bundle, store), "--run", filepath.Join(d.bundle, "run")}, args...)
	cmd := exec.CommandContext(ctx, d.program(), all...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("tare %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

func (d *demo) program() string { return filepath.Join(filepath.Dir(d.cache), "bin", "tare") }

// showImages builds two images, pushes them to a registry, pulls both into an empty store, and runs them.
func (d *demo) showImages(ctx context.Context) error {
	host, stop, err := d.startRegistry(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var names []string
	for _, image := range images() {
		name := host + "/" + image.Name
		names = append(names, name)
		archive, err := image.Archive(ctx, d.cache)
		if err != nil {
			return err
		}
		if _, err := d.tareRun(ctx, "workshop", "import", "-q", archive, name); err != nil {
			return err
		}
		show("$ tare push " + name)
		out, err := d.tareRun(ctx, "workshop", "push", name)
		if err != nil {
			return err
		}
		show(lastLine(out))
	}
	fmt.Println()
	for _, name := range names {
		show("$ tare pull " + name)
		out, err := d.tareRun(ctx, "device", "pull", name)
		if err != nil {
			return err
		}
		show(lastLine(out))
	}
	if err := d.showUsage(ctx); err != nil {
		return err
	}
	return d.runImages(ctx, names)
}

// showUsage is the table: a layer store keeps each image's layers by themselves.
func (d *demo) showUsage(ctx context.Context) error {
	out, err := d.tareRun(ctx, "device", "store", "du", "--json")
	if err != nil {
		return err
	}
	var u struct {
		Images []struct {
			Names   []string `json:"names"`
			Logical int64    `json:"logicalBytes"`
			Shared  int64    `json:"sharedBytes"`
		} `json:"images"`
		Logical int64 `json:"logicalBytes"`
		Unique  int64 `json:"uniqueBytes"`
		OnDisk  int64 `json:"onDiskBytes"`
	}
	if err := json.Unmarshal([]byte(out), &u); err != nil {
		return err
	}
	fmt.Println()
	show(fmt.Sprintf("%-14s %12s %12s", "image", "its files", "of it shared"))
	for _, i := range u.Images {
		show(fmt.Sprintf("%-14s %9.1f MB %9.1f MB", strings.TrimPrefix(lastPart(i.Names[0]), "demo-"), mega(i.Logical), mega(i.Shared)))
	}
	fmt.Println()
	show(fmt.Sprintf("a store of layers keeps %7.1f MB (docker, containerd, podman: no layer is shared)", mega(u.Logical)))
	show(fmt.Sprintf("Tare keeps              %7.1f MB", mega(u.OnDisk)))
	if len(u.Images) != 2 || u.OnDisk*10 > u.Logical*7 {
		return fmt.Errorf("two images of %d bytes take %d", u.Logical, u.OnDisk)
	}
	return nil
}

func (d *demo) runImages(ctx context.Context, names []string) error {
	fmt.Println()
	for i, command := range [][]string{
		{"python3", "-c", `import os; print("sensor sees", len(os.listdir("/proc")) > 0 and "process", os.getpid())`},
		{"openssl", "version"},
	} {
		show("$ tare run " + lastPart(names[i]) + " " + command[0] + " …")
		out, err := d.tareRun(ctx, "device", append([]string{"run", "--memory", "64m", names[i]}, command...)...)
		if err != nil {
			return err
		}
		show(strings.TrimSpace(out))
	}
	show("")
	show("$ tare store ramshare")
	out, err := d.tareRun(ctx, "device", "store", "ramshare")
	if err != nil {
		return err
	}
	show(lastLine(out))
	show("$ tare store verify")
	out, err = d.tareRun(ctx, "device", "store", "verify")
	if err != nil {
		return err
	}
	show(lastLine(out))
	return nil
}

// startRegistry starts Debian's docker-registry on a free port of loopback.
func (d *demo) startRegistry(ctx context.Context) (host string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	host = l.Addr().String()
	l.Close()
	config := filepath.Join(d.bundle, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n",
		filepath.Join(d.bundle, "registry"), host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for range 100 {
		if answer, err := http.Get("http://" + host + "/v2/"); err == nil {
			answer.Body.Close()
			return host, stop, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			stop()
			return "", nil, ctx.Err()
		}
	}
	stop()
	return "", nil, errors.New("docker-registry does not answer")
}

func mega(n int64) float64 { return float64(n) / 1e6 }

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func lastPart(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	return strings.TrimSuffix(name, ":latest")
}

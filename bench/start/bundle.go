package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

//go:embed floor/floor.c
var floorSource []byte

//go:embed floor/payload.c
var payloadSource []byte

//go:embed floor/syscall.h
var syscallHeader []byte

// compile builds one of the C programs without a C library, so that it costs
// nothing before its first statement.
func compile(dir, name string, source []byte, out string) error {
	for file, text := range map[string][]byte{name + ".c": source, "syscall.h": syscallHeader} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			return err
		}
	}
	cmd := exec.Command("gcc", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector",
		"-fno-pie", "-no-pie", "-fno-tree-loop-distribute-patterns", "-Wall", "-Werror", "-s",
		"-o", out, filepath.Join(dir, name+".c"))
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s.c: %w\n%s", name, err, msg)
	}
	return nil
}

// makeRootfs makes the least root file system that `runc spec`'s default
// bundle can be mounted on.
func makeRootfs(dir, payload string) error {
	for _, d := range []string{"bin", "dev", "proc", "sys", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(payload)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "bin/payload"), program, 0o755)
}

// defaultSpec is what `runc spec` writes, with no terminal and a cgroup
// namespace, for rootfs.
func defaultSpec(dir, rootfs string) (*specs.Spec, error) {
	tmp := filepath.Join(dir, "spec")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	if msg, err := exec.Command("runc", "spec", "--bundle", tmp).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("runc spec: %w\n%s", err, msg)
	}
	content, err := os.ReadFile(filepath.Join(tmp, "config.json"))
	if err != nil {
		return nil, err
	}
	spec := new(specs.Spec)
	if err := json.Unmarshal(content, spec); err != nil {
		return nil, fmt.Errorf("read runc's spec: %w", err)
	}
	spec.Process.Terminal = false
	spec.Root.Path = rootfs
	has := false
	for _, n := range spec.Linux.Namespaces {
		has = has || n.Type == specs.CgroupNamespace
	}
	if !has {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return spec, nil
}

// writeBundle writes spec as c's bundle, with args as its process.
func writeBundle(spec *specs.Spec, c *target, seccomp *specs.LinuxSeccomp, args ...string) error {
	process, linux, s := *spec.Process, *spec.Linux, *spec
	process.Args = args
	linux.CgroupsPath = c.path
	linux.Seccomp = seccomp
	s.Process, s.Linux = &process, &linux
	content, err := json.MarshalIndent(&s, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.bundle, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.bundle, "config.json"), content, 0o644)
}

package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestBusyboxRuns(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for chroot")
	}
	dir := filepath.Join(t.TempDir(), "root")
	if err := Busybox(dir); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("chroot", dir, "/bin/sh", "-c", "echo $(id -un) $(ls -d /proc)").CombinedOutput()
	if got, want := string(out), "root /proc\n"; err != nil || got != want {
		t.Errorf("sh in the tree = %q, %v, want %q", got, err, want)
	}
	if err := Busybox(dir); err == nil {
		t.Error("Busybox over an existing tree = nil error")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".part-*")); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func TestExtractLeavesNothingWhenItFails(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "broken.tar")
	if err := os.WriteFile(archive, []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Extract(t.Context(), archive, filepath.Join(dir, "root")); err == nil {
		t.Error("Extract of rubbish = nil error")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v, want only the archive", left, err)
	}
}

package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

func TestAnotherCPUsPackagesAreOnlyUnpacked(t *testing.T) {
	d := Debian{Arch: "arm64", Release: "bullseye", Changes: []string{"true"}}
	const key = "deb [signed-by=/k] "
	release, lines := d.foreign("bookworm", []string{
		key + "http://a/security bookworm-security main", key + "http://a/debian bookworm main", key + "http://a/debian bookworm contrib",
	})
	if want := []string{key + "http://a/debian bullseye main"}; release != "bullseye" || !slices.Equal(lines, want) {
		t.Errorf("foreign = %s, %q, want bullseye, %q", release, lines, want)
	}
	args := d.arguments()
	for _, want := range []string{"--variant=extract", "--architectures=arm64", "--extract-hook=true"} {
		if !slices.Contains(args, want) {
			t.Errorf("arguments = %q, want %s", args, want)
		}
	}
	if slices.Contains(args, "--include=") {
		t.Errorf("arguments = %q: mmdebstrap refuses an empty list of packages", args)
	}
}

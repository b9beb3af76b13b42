package rootfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Debian is a choice of packages.
type Debian struct {
	Name     string   // of the file in the cache
	Packages []string // besides the essential ones and apt; without those if Arch is set
	Changes  []string // shell commands run when the packages are there, with the tree's place as $1

	// Arch is an architecture in Debian's words. The packages are then only unpacked: no program of
	// theirs runs. The changes find apt's configuration for that architecture in
	// $MMDEBSTRAP_APT_CONFIG; this machine's own stays as it is.
	Arch string
	// Release, with Arch, is the code name of another release of Debian.
	Release string
}

// Base is a small Debian with the programs that show what a process sees.
func Base() Debian {
	return Debian{Name: "base", Packages: []string{"procps", "iproute2"}}
}

// System is a Debian that boots: systemd, a login prompt on the console, and an account root
// whose password is "tare".
func System() Debian {
	return Debian{
		Name: "system",
		Packages: []string{
			"systemd", "systemd-sysv", "dbus", "login", "procps", "iproute2", "kmod", "uidmap",
			"busybox-static", "crun",
		},
		Changes: []string{`echo root:tare | chroot "$1" chpasswd`, `echo debian >"$1/etc/hostname"`},
	}
}

// Archive returns the tree as a tar file below cache, made by mmdebstrap from this machine's own
// package sources unless it is there already.
func (d Debian) Archive(ctx context.Context, cache string) (string, error) {
	suite, sources, err := sources(ctx)
	if err != nil {
		return "", err
	}
	if d.Arch != "" {
		suite, sources = d.foreign(suite, sources)
	}
	args := d.arguments()
	key := sha256.Sum256([]byte(strings.Join(args, "\x00") + d.Release))
	archive := filepath.Join(cache, fmt.Sprintf("%s-%x.tar", d.Name, key[:6]))
	if _, err := os.Stat(archive); !errors.Is(err, fs.ErrNotExist) {
		return archive, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	part := archive + ".part"
	defer os.Remove(part)
	args = append(args, suite, part)
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(args, sources...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap %s: %w\n%s", suite, err, out)
	}
	return archive, os.Rename(part, archive)
}

func (d Debian) arguments() []string {
	variant, hook := "minbase", "customize"
	if d.Arch != "" {
		variant, hook = "extract", "extract" // no later hook runs in this variant
	}
	args := []string{"--variant=" + variant, "--format=tar", "--quiet"}
	if len(d.Packages) > 0 {
		args = append(args, "--include="+strings.Join(d.Packages, ","))
	}
	// A container needs neither manuals nor the lists of packages.
	for _, dir := range []string{"doc", "man", "locale"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+dir+"/*")
	}
	if d.Arch != "" {
		args = append(args, "--architectures="+d.Arch)
	}
	for _, change := range d.Changes {
		args = append(args, "--"+hook+"-hook="+change)
	}
	return args
}

// foreign returns the release and the one package source for another architecture or release. Of this
// machine's own sources only the main one is sure to carry those.
func (d Debian) foreign(suite string, sources []string) (string, []string) {
	release := suite
	if d.Release != "" {
		release = d.Release
	}
	for _, line := range sources {
		if main, ok := strings.CutSuffix(line, " "+suite+" main"); ok {
			return release, []string{main + " " + release + " main"}
		}
	}
	return release, sources
}

// Unpack returns the tree below cache as a directory, unpacked once and then shared: mount it
// read-only or below an overlay, or copy it.
func (d Debian) Unpack(ctx context.Context, cache string) (string, error) {
	archive, err := d.Archive(ctx, cache)
	if err != nil {
		return "", err
	}
	dir := strings.TrimSuffix(archive, ".tar")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	return dir, Extract(ctx, archive, dir)
}

// Extract unpacks an archive into dir, which must not exist.
func Extract(ctx context.Context, archive, dir string) error {
	part, err := os.MkdirTemp(filepath.Dir(dir), ".part-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	if err := os.Chmod(part, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", archive, "-C", part)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tar -x %s: %w\n%s", archive, err, out)
	}
	// The package manager's devices are the host's; a container gets its own.
	if err := os.RemoveAll(filepath.Join(part, "dev")); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(part, "dev"), 0o755); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

// sources returns this machine's release of Debian and the lines of its own package sources that
// carry it, so that a machine with a mirror of its own uses that.
func sources(ctx context.Context) (suite string, lines []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format",
		"$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages", "Origin: Debian").Output()
	if err != nil {
		return "", nil, fmt.Errorf("apt-get indextargets: %w", err)
	}
	suite, err = codename()
	if err != nil {
		return "", nil, err
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		_, release, _ := strings.Cut(line, " ")
		if line == "" || seen[line] || !strings.HasPrefix(release, suite) {
			continue
		}
		seen[line] = true
		lines = append(lines, "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "+line)
	}
	if len(lines) == 0 {
		return "", nil, fmt.Errorf("apt-get indextargets: no package source of Debian %s; run apt-get update", suite)
	}
	return suite, lines, nil
}

// codename is VERSION_CODENAME of os-release(5).
func codename() (string, error) {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`), nil
		}
	}
	return "", errors.New("/etc/os-release: no VERSION_CODENAME")
}

package system

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"tare.dev/tare/test/rootfs"
)

// unified is true where control groups are v2 only.
func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// runtimePath is the runtime under test.
func runtimePath(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("TARE_RUNTIME"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "tare-runtime")
	cmd := exec.Command("go", "build", "-o", path, "tare.dev/tare/cmd/tare")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build tare: %v\n%s", err, out)
	}
	return path
}

// tree is a Debian that must not be written to.
func tree(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("TARE_SYSTEM_ROOTFS"); dir != "" {
		return dir
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("no mmdebstrap (test/install.sh demo)")
	}
	dir, err := rootfs.System().Unpack(t.Context(), "../../build/rootfs")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// bundle makes a bundle whose root is the Debian below a layer of its own for what it writes.
func bundle(t *testing.T, id string) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "rootfs")
	for _, name := range []string{"rootfs", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lower, err := filepath.Abs(tree(t))
	if err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, dir, dir)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		t.Fatalf("mount overlay on %s: %v", root, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Errorf("unmount %s: %v", root, err)
		}
	})
	text, err := json.MarshalIndent(spec(id), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// spec is what systemd asks of a container (systemd.io/CONTAINER_INTERFACE): a terminal that is its
// console, /run as a tmpfs, a writable control group of its own, and the variable "container".
// CAP_SYS_BOOT lets it say how it ends: reboot(2) in a pid namespace kills the namespace's first
// process with SIGHUP for a restart and SIGINT for a halt.
func spec(id string) *specs.Spec {
	caps := []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
		"CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_TTY_CONFIG",
	}
	return &specs.Spec{
		Version: "1.0.2", // nothing here is newer, and older runtimes can be tried
		Process: &specs.Process{
			Terminal: true,
			Args:     []string{"/sbin/init"},
			Env:      []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux", "container=oci"},
			Cwd:      "/",
			Capabilities: &specs.LinuxCapabilities{
				Bounding: caps, Effective: caps, Permitted: caps,
			},
		},
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: "debian",
		Mounts:   mounts(),
		Linux: &specs.Linux{
			CgroupsPath: "/" + id,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.NetworkNamespace},
				{Type: specs.CgroupNamespace},
			},
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
				"/proc/scsi", "/sys/firmware",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

func mounts() []specs.Mount {
	plain := func(options string) []string { return strings.Split(options, ",") }
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: plain("nosuid,noexec,nodev")},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: plain("nosuid,strictatime,mode=755,size=65536k")},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: plain("nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5")},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: plain("nosuid,noexec,nodev,mode=1777")},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: plain("nosuid,noexec,nodev")},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: plain("nosuid,noexec,nodev,ro")},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: plain("nosuid,noexec,nodev,relatime,rw")},
		{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: plain("nosuid,nodev,mode=755")},
		{Destination: "/run/lock", Type: "tmpfs", Source: "tmpfs", Options: plain("nosuid,nodev,noexec,mode=1777")},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: plain("nosuid,nodev,mode=1777")},
		{Destination: "/var/log/journal", Type: "tmpfs", Source: "tmpfs", Options: plain("nosuid,nodev,mode=755")},
	}
}

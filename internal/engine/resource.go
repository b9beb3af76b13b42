package engine

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/instance"
)

// minMemory is the least that a process can live in; docker's.
const minMemory = 6 << 20

// resources are the limits of the API as the runtime's.
func resources(r *container.Resources) (*specs.LinuxResources, error) {
	if r.Memory > 0 && r.Memory < minMemory {
		return nil, Errorf(Invalid, "Minimum memory limit allowed is 6MB")
	}
	if r.Memory > 0 && r.MemoryReservation > r.Memory {
		return nil, Errorf(Invalid, "Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	if r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory {
		return nil, Errorf(Invalid, "Minimum memoryswap limit should be larger than memory limit, see usage")
	}
	if r.NanoCPUs > 0 && (r.CPUQuota > 0 || r.CPUPeriod > 0) {
		return nil, Errorf(Invalid, "Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set")
	}
	if hasNull(r) {
		return nil, Errorf(Invalid, "null is no limit: one stands in a list of the request")
	}
	l := &specs.LinuxResources{Memory: memory(r), CPU: cpu(r)}
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		l.Pids = &specs.LinuxPids{Limit: r.PidsLimit}
	}
	var err error
	l.BlockIO, err = blockIO(r)
	return l, err
}

// hasNull tells whether a list of limits has a null, which JSON allows.
func hasNull(r *container.Resources) bool {
	if slices.Contains(r.Ulimits, nil) || slices.Contains(r.BlkioWeightDevice, nil) {
		return true
	}
	for _, list := range [][]*blkiodev.ThrottleDevice{r.BlkioDeviceReadBps, r.BlkioDeviceWriteBps, r.BlkioDeviceReadIOps, r.BlkioDeviceWriteIOps} {
		if slices.Contains(list, nil) {
			return true
		}
	}
	return false
}

func memory(r *container.Resources) *specs.LinuxMemory {
	m := &specs.LinuxMemory{}
	if r.Memory > 0 {
		m.Limit = &r.Memory
		swap := r.MemorySwap
		if swap == 0 {
			swap = 2 * r.Memory // docker's way
		}
		if swapAccounted() {
			m.Swap = &swap
		}
	}
	if r.MemoryReservation > 0 {
		m.Reservation = &r.MemoryReservation
	}
	if s := r.MemorySwappiness; s != nil && *s >= 0 {
		n := uint64(*s)
		m.Swappiness = &n
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		m.DisableOOMKiller = r.OomKillDisable
	}
	if *m == (specs.LinuxMemory{}) {
		return nil
	}
	return m
}

// swapAccounted tells whether this kernel can limit swap: not all of v1 can.
func swapAccounted() bool {
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		return true // v2
	}
	_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	return err == nil
}

func cpu(r *container.Resources) *specs.LinuxCPU {
	c := &specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.CPUShares > 0 {
		n := uint64(r.CPUShares)
		c.Shares = &n
	}
	if r.NanoCPUs > 0 {
		period := uint64(100_000)
		quota := r.NanoCPUs * int64(period) / 1e9
		c.Period, c.Quota = &period, &quota
	}
	if r.CPUPeriod > 0 {
		n := uint64(r.CPUPeriod)
		c.Period = &n
	}
	if r.CPUQuota != 0 {
		c.Quota = &r.CPUQuota
	}
	if r.CPURealtimePeriod > 0 {
		n := uint64(r.CPURealtimePeriod)
		c.RealtimePeriod = &n
	}
	if r.CPURealtimeRuntime > 0 {
		c.RealtimeRuntime = &r.CPURealtimeRuntime
	}
	if *c == (specs.LinuxCPU{}) {
		return nil
	}
	return c
}

func blockIO(r *container.Resources) (*specs.LinuxBlockIO, error) {
	b := &specs.LinuxBlockIO{}
	some := false
	if r.BlkioWeight > 0 {
		b.Weight, some = &r.BlkioWeight, true
	}
	for _, d := range r.BlkioWeightDevice {
		major, minor, err := deviceNumber(d.Path)
		if err != nil {
			return nil, err
		}
		w := specs.LinuxWeightDevice{Weight: &d.Weight}
		w.Major, w.Minor = major, minor
		b.WeightDevice, some = append(b.WeightDevice, w), true
	}
	for _, kind := range []struct {
		from []*blkiodev.ThrottleDevice
		to   *[]specs.LinuxThrottleDevice
	}{
		{r.BlkioDeviceReadBps, &b.ThrottleReadBpsDevice},
		{r.BlkioDeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{r.BlkioDeviceReadIOps, &b.ThrottleReadIOPSDevice},
		{r.BlkioDeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range kind.from {
			major, minor, err := deviceNumber(d.Path)
			if err != nil {
				return nil, err
			}
			t := specs.LinuxThrottleDevice{Rate: d.Rate}
			t.Major, t.Minor = major, minor
			*kind.to, some = append(*kind.to, t), true
		}
	}
	if !some {
		return nil, nil
	}
	return b, nil
}

func deviceNumber(path string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, Errorf(Invalid, "device %s: %w", path, err)
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), nil
}

// devices are those of --device, and all of the host's for a privileged container.
func devices(s *specs.Spec, h *container.HostConfig) error {
	res := s.Linux.Resources
	if h.Privileged {
		res.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		return addHostDevices(s)
	}
	res.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	for _, d := range h.Devices {
		if err := addDevice(s, d); err != nil {
			return err
		}
	}
	for _, rule := range h.DeviceCgroupRules {
		d, err := parseDeviceRule(rule)
		if err != nil {
			return err
		}
		res.Devices = append(res.Devices, d)
	}
	if len(h.DeviceRequests) > 0 {
		return Errorf(NotOffered, "device requests are not offered: name the device with --device")
	}
	return nil
}

// addDevice adds a device node, or all below a directory.
func addDevice(s *specs.Spec, d container.DeviceMapping) error {
	inside := d.PathInContainer
	if inside == "" {
		inside = d.PathOnHost
	}
	access := d.CgroupPermissions
	if access == "" {
		access = "rwm"
	}
	found := false
	path, err := filepath.EvalSymlinks(d.PathOnHost)
	if err != nil {
		return Errorf(Invalid, "error gathering device information while adding custom device %q: no such file or directory", d.PathOnHost)
	}
	err = filepath.WalkDir(path, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeDevice == 0 {
			return nil // what is not there any more, or no device, is none of ours
		}
		node, err := deviceNode(at, inside+strings.TrimPrefix(at, path))
		if err != nil {
			return err
		}
		found = true
		s.Linux.Devices = append(s.Linux.Devices, node)
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: node.Type, Major: &node.Major, Minor: &node.Minor, Access: access,
		})
		return nil
	})
	if err == nil && !found {
		err = Errorf(Invalid, "error gathering device information while adding custom device %q: not a device node", d.PathOnHost)
	}
	return err
}

func deviceNode(path, inside string) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return specs.LinuxDevice{}, fmt.Errorf("device %s: %w", path, err)
	}
	kind := "c"
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		kind = "b"
	}
	mode := os.FileMode(st.Mode & 0o777)
	return specs.LinuxDevice{
		Path: inside, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
	}, nil
}

// addHostDevices adds the nodes of the host's /dev, without terminals and what a container has of its own.
func addHostDevices(s *specs.Spec) error {
	own := map[string]bool{
		"/dev/null": true, "/dev/zero": true, "/dev/full": true, "/dev/random": true, "/dev/urandom": true, "/dev/tty": true,
		"/dev/console": true, "/dev/ptmx": true,
	}
	return filepath.WalkDir("/dev", func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if e.IsDir() && (at == "/dev/pts" || at == "/dev/shm" || at == "/dev/mqueue" || at == "/dev/fd") {
			return fs.SkipDir
		}
		if e.Type()&fs.ModeDevice == 0 || own[at] {
			return nil
		}
		node, err := deviceNode(at, at)
		if err == nil {
			s.Linux.Devices = append(s.Linux.Devices, node)
		}
		return nil
	})
}

// parseDeviceRule reads "c 189:* rmw".
func parseDeviceRule(rule string) (specs.LinuxDeviceCgroup, error) {
	bad := Errorf(Invalid, "invalid device cgroup rule format: '%s'", rule)
	f := strings.Fields(rule)
	if len(f) != 3 || f[0] != "a" && f[0] != "b" && f[0] != "c" {
		return specs.LinuxDeviceCgroup{}, bad
	}
	d := specs.LinuxDeviceCgroup{Allow: true, Type: f[0], Access: f[2]}
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return d, bad
	}
	for _, number := range []struct {
		text string
		to   **int64
	}{{major, &d.Major}, {minor, &d.Minor}} {
		if number.text == "*" {
			continue
		}
		n, err := strconv.ParseInt(number.text, 10, 64)
		if err != nil {
			return d, bad
		}
		*number.to = &n
	}
	return d, nil
}

// parseBytes reads a number of bytes with a unit of 1024: 10m.
func parseBytes(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	return instance.ParseSize(s)
}

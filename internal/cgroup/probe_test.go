package cgroup

import (
	"reflect"
	"strings"
	"testing"
)

func TestProbeFindsTheMode(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  Mode
	}{
		"v1":     {v1Files("cpu", "memory"), V1},
		"hybrid": {hybridFiles([]string{"cpu", "memory"}, ""), Hybrid},
		"v2":     {v2Files("/"), V2},
		"none":   {map[string]string{"proc/self/mountinfo": "31 23 0:28 / /x rw - tmpfs tmpfs rw\n"}, None},
		"not mounted": {map[string]string{
			"proc/self/mountinfo": "31 23 0:28 / /x rw - tmpfs tmpfs rw\n",
			"proc/self/cgroup":    "1:memory:/\n0::/\n",
		}, None},
	}
	for name, test := range tests {
		h, _ := probeTree(t, test.files)
		if h.Mode() != test.want {
			t.Errorf("%s: mode = %v, want %v", name, h.Mode(), test.want)
		}
	}
}

func TestProbeFailsWithoutMountinfo(t *testing.T) {
	if _, err := ProbeAt(t.TempDir()); err == nil {
		t.Error("ProbeAt of an empty tree succeeded")
	}
}

func TestProbeFindsControllersMountedTogether(t *testing.T) {
	h, root := probeTree(t, v1Files("cpu,cpuacct", "name=systemd"))
	for _, name := range []string{"cpu", "cpuacct"} {
		y := h.find(name)
		if y == nil || y.point != root+"/sys/fs/cgroup/cpu,cpuacct" {
			t.Errorf("find(%s) = %+v", name, y)
		}
	}
	want := []Mount{
		{Controllers: []string{"cpu", "cpuacct"}, Mountpoint: root + "/sys/fs/cgroup/cpu,cpuacct", Root: "/"},
		{Controllers: []string{"name=systemd"}, Mountpoint: root + "/sys/fs/cgroup/systemd", Root: "/"},
	}
	if got := h.Mounts(); !reflect.DeepEqual(got, want) {
		t.Errorf("Mounts() = %+v, want %+v", got, want)
	}
}

// A container without a cgroup namespace sees its group mounted as the top: the
// path of /proc/self/cgroup is to be taken from there.
func TestProbeInsideAContainerWithoutCgroupNamespace(t *testing.T) {
	h, root := probeTree(t, map[string]string{
		"proc/self/mountinfo": "40 31 0:40 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"41 31 0:41 /docker/other /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
		"proc/self/cgroup": "4:memory:/docker/abc/inner\n5:pids:/docker/abc\n",
	})
	if got, want := h.find("memory").own, root+"/sys/fs/cgroup/memory/inner"; got != want {
		t.Errorf("own memory group = %q, want %q", got, want)
	}
	if got := h.find("pids").own; got != "" {
		t.Errorf("own pids group = %q, but it is not below the mount", got)
	}
}

func TestProbePrefersTheStandardPlace(t *testing.T) {
	h, root := probeTree(t, map[string]string{
		"proc/self/mountinfo": "40 31 0:40 / /var/lib/c1/rootfs/cg/memory rw - cgroup cgroup rw,memory\n" +
			"41 31 0:40 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"42 31 0:40 / /var/lib/c2/rootfs/cg/memory rw - cgroup cgroup rw,memory\n",
		"proc/self/cgroup": "4:memory:/\n",
	})
	if got, want := h.find("memory").point, root+"/sys/fs/cgroup/memory"; got != want {
		t.Errorf("memory is at %q, want %q", got, want)
	}
}

func TestParseMountinfoHonoursLaterMountsAndEscapes(t *testing.T) {
	got, err := parseMountinfo(
		"1 0 0:1 / /cg rw - cgroup cgroup rw,memory\n" +
			"2 0 0:2 / /cg rw shared:5 master:3 - tmpfs tmpfs rw\n" +
			"3 0 0:3 /a\\040b /c\\134d rw shared:5 - cgroup2 none rw\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []mount{{root: "/a b", point: `/c\d`, v2: true, options: []string{"rw"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parseMountinfo = %+v, want %+v", got, want)
	}
	for _, bad := range []string{"1 0 0:1 / /cg rw cgroup", "1 0 / - cgroup"} {
		if _, err := parseMountinfo(bad); err == nil {
			t.Errorf("parseMountinfo(%q) succeeded", bad)
		}
	}
}

func TestParseMembership(t *testing.T) {
	got, err := parseMembership("12:cpu,cpuacct:/a:b\n1:name=systemd:/x\n0::/y z\n")
	want := []membership{
		{12, []string{"cpu", "cpuacct"}, "/a:b"}, {1, []string{"name=systemd"}, "/x"}, {0, nil, "/y z"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("parseMembership = %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"x", "1:cpu", "a:cpu:/", "1:cpu:relative"} {
		if _, err := parseMembership(bad); err == nil {
			t.Errorf("parseMembership(%q) succeeded", bad)
		}
	}
}

func TestHugepageName(t *testing.T) {
	for entry, want := range map[string]string{
		"hugepages-2048kB": "2MB", "hugepages-1048576kB": "1GB", "hugepages-64kB": "64KB",
		"hugepages-0kB": "", "hugepages-xkB": "", "other": "",
	} {
		if got, _ := hugepageName(entry); got != want {
			t.Errorf("hugepageName(%q) = %q, want %q", entry, got, want)
		}
	}
}

func TestProbeOfThisMachine(t *testing.T) {
	h, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("mode %v, page sizes %v", h.Mode(), hugepageSizes("/"))
	for _, m := range h.Mounts() {
		t.Logf("%s on %s, root %s", strings.Join(m.Controllers, ","), m.Mountpoint, m.Root)
	}
}

func FuzzParseProcFiles(f *testing.F) {
	f.Add("1 0 0:1 / /cg rw - cgroup cgroup rw,memory\n", "4:memory:/x\n0::/\n")
	f.Add("1 0 0:1 /\\040 /cg rw shared:1 - cgroup2 cgroup2 rw\n", "0::/../x\n")
	f.Fuzz(func(t *testing.T, mountinfo, member string) {
		mounts, err1 := parseMountinfo(mountinfo)
		list, err2 := parseMembership(member)
		if err1 != nil || err2 != nil {
			return
		}
		h := &Host{files: "/nonexistent"}
		for _, m := range list {
			h.add(m, mounts)
		}
		for _, y := range h.v1 {
			if y.own != "" && y.own != y.point && !strings.HasPrefix(y.own, strings.TrimSuffix(y.point, "/")+"/") {
				t.Errorf("own group %q is not below the mount %q", y.own, y.point)
			}
		}
	})
}

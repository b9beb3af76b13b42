package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes a fake "/" of files; a name that ends with a slash is a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// with returns files and more in one map.
func with(files map[string]string, more ...string) map[string]string {
	all := make(map[string]string)
	for k, v := range files {
		all[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// v1Files is a machine with each controller in a hierarchy of its own, where
// this process is in a group of its own in one of them. own is that group's path
// in the memory hierarchy.
func v1Files(controllers ...string) map[string]string {
	files := map[string]string{"sys/kernel/mm/hugepages/hugepages-2048kB/": ""}
	var mounts, member strings.Builder
	for i, c := range controllers {
		name := strings.TrimPrefix(c, "name=")
		point := "sys/fs/cgroup/" + name
		fmt.Fprintf(&mounts, "%d 31 0:%d / /%s rw,relatime - cgroup cgroup rw,%s\n", 40+i, 40+i, point, c)
		fmt.Fprintf(&member, "%d:%s:/\n", i+1, c)
		files[point+"/"] = ""
		for sub := range strings.SplitSeq(c, ",") {
			switch sub {
			case "memory":
				files[point+"/memory.memsw.limit_in_bytes"] = "9223372036854771712\n"
			case "cpuset":
				files[point+"/cpuset.cpus"] = "0-3\n"
				files[point+"/cpuset.mems"] = "0\n"
			case "freezer":
			}
		}
	}
	files["proc/self/mountinfo"] = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" + mounts.String()
	files["proc/self/cgroup"] = member.String()
	return files
}

// hybridFiles adds a v2 hierarchy that has the given controllers.
func hybridFiles(v1 []string, v2 string) map[string]string {
	files := v1Files(v1...)
	files["proc/self/mountinfo"] += "60 31 0:60 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	files["proc/self/cgroup"] += "0::/\n"
	files["sys/fs/cgroup/unified/cgroup.controllers"] = v2 + "\n"
	files["sys/fs/cgroup/unified/cgroup.subtree_control"] = "\n"
	files["sys/fs/cgroup/unified/cgroup.procs"] = "1\n2\n"
	return files
}

const v2All = "cpuset cpu io memory hugetlb pids rdma misc"

// v2Files is a machine with v2 only, where this process is in own.
func v2Files(own string) map[string]string {
	files := map[string]string{
		"sys/kernel/mm/hugepages/hugepages-2048kB/":    "",
		"sys/kernel/mm/hugepages/hugepages-1048576kB/": "",
		"proc/self/mountinfo":                          "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
		"proc/self/cgroup":                             "0::" + own + "\n",
		"sys/fs/cgroup/cgroup.controllers":             v2All + "\n",
		"sys/fs/cgroup/cgroup.subtree_control":         "\n",
		"sys/fs/cgroup/cgroup.procs":                   "1\n2\n",
	}
	return files
}

// v2Group adds a group to a v2 machine.
func v2Group(files map[string]string, path, controllers, subtree, procs string) map[string]string {
	dir := "sys/fs/cgroup" + path + "/"
	return with(files, dir+"cgroup.controllers", controllers+"\n", dir+"cgroup.subtree_control", subtree+"\n",
		dir+"cgroup.procs", procs, dir+"cgroup.type", "domain\n", dir+"cgroup.freeze", "0\n",
		dir+"cgroup.events", "populated 0\nfrozen 0\n")
}

func probeTree(t *testing.T, files map[string]string) (*Host, string) {
	t.Helper()
	root := tree(t, files)
	h, err := ProbeAt(root)
	if err != nil {
		t.Fatalf("ProbeAt = %v", err)
	}
	return h, root
}

func ptr[T any](v T) *T { return &v }

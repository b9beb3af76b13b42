package engine

import (
	"os"
	"path/filepath"
	"strings"

	runtime "tare.dev/tare/internal/container"
)

// outOfMemory tells whether the kernel killed a process of the container for lack of memory: the group's
// own count, memory.events of v2 and memory.oom_control of v1 (since Linux 4.13).
func outOfMemory(r *runtime.Container) bool {
	st, err := r.State()
	if err != nil {
		return false
	}
	dir := st.CgroupPaths["memory"]
	if dir == "" {
		dir = st.CgroupPaths[""]
	}
	for _, name := range []string{"memory.events", "memory.oom_control"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" {
				return f[1] != "0"
			}
		}
	}
	return false
}

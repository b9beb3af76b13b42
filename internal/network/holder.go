package network

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// socketHolder is the process that has a port, or "". Only asked when a port is refused: it looks at
// every open file of every process.
func socketHolder(p Port) string {
	for _, version := range []string{"", "6"} {
		f, err := os.Open("/proc/thread-self/net/" + p.Proto + version)
		if err != nil {
			continue
		}
		inode := socketInode(f, p.HostPort)
		_ = f.Close()
		if inode == "" || inode == "0" {
			continue
		}
		if pid := fileHolder("socket:[" + inode + "]"); pid != "" {
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
		}
	}
	return ""
}

// socketInode reads proc_net_tcp(5): the inode of the first socket bound to a port and not connected.
func socketInode(r io.Reader, port uint16) string {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		_, local, ok := strings.Cut(fields[1], ":")
		number, err := strconv.ParseUint(local, 16, 16)
		if !ok || err != nil || uint16(number) != port {
			continue
		}
		if _, remote, _ := strings.Cut(fields[2], ":"); remote == "0000" {
			return fields[9]
		}
	}
	return ""
}

// fileHolder is the id of a process that has a file of this name open.
func fileHolder(name string) string {
	processes, _ := filepath.Glob("/proc/[0-9]*/fd")
	for _, dir := range processes {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // ended meanwhile
		}
		for _, e := range entries {
			if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && target == name {
				return filepath.Base(filepath.Dir(dir))
			}
		}
	}
	return ""
}

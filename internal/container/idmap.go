package container

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mapIDs writes the id maps of the process's new user namespace.
// See user_namespaces(7).
func (k *creation) mapIDs() error {
	l := k.spec.Linux
	if err := writeMaps(k.pid, l.UIDMappings, l.GIDMappings, k.caller.UID, k.caller.GID); err != nil {
		return err
	}
	return k.setOOMScore()
}

// denySetgroups tells whether the kernel will accept a group map only if the
// namespace gives up setgroups(2): a caller without privilege that maps only
// its own group.
func (k *creation) denySetgroups() bool {
	l := k.spec.Linux
	return k.caller.UID != 0 && l != nil && ownOnly(l.GIDMappings, k.caller.GID) && len(l.UIDMappings) > 0
}

func ownOnly(m []specs.LinuxIDMapping, id int) bool {
	return len(m) == 1 && m[0].Size == 1 && int(m[0].HostID) == id
}

func writeMaps(pid int, uids, gids []specs.LinuxIDMapping, uid, gid int) error {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	if uid != 0 && ownOnly(gids, gid) {
		if err := os.WriteFile(dir+"setgroups", []byte("deny"), 0); err != nil {
			return fmt.Errorf("deny setgroups: %w", err)
		}
	}
	if err := writeMap(dir+"uid_map", "newuidmap", pid, uids, uid); err != nil {
		return err
	}
	return writeMap(dir+"gid_map", "newgidmap", pid, gids, gid)
}

// writeMap writes a map itself where the kernel lets it, or has the setuid
// program of package uidmap do it, which checks /etc/subuid and /etc/subgid.
func writeMap(path, helper string, pid int, m []specs.LinuxIDMapping, id int) error {
	var lines, args []string
	args = append(args, strconv.Itoa(pid))
	for _, x := range m {
		f := []string{strconv.FormatUint(uint64(x.ContainerID), 10), strconv.FormatUint(uint64(x.HostID), 10), strconv.FormatUint(uint64(x.Size), 10)}
		lines = append(lines, strings.Join(f, " "))
		args = append(args, f...)
	}
	direct := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0)
	if direct == nil {
		return nil
	}
	if id == 0 || ownOnly(m, id) {
		return fmt.Errorf("write id map: %w", direct)
	}
	program, err := exec.LookPath(helper)
	if err != nil {
		return fmt.Errorf("write id map: %w; and %s of package uidmap is missing", direct, helper)
	}
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("write id map: %s: %w: %s", helper, err, strings.TrimSpace(string(out)))
	}
	return nil
}

package bundle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Accounts are the texts of passwd(5) and group(5) in the root file system; "" where it has none.
type Accounts struct{ Passwd, Group string }

// user finds who USER[:GROUP] is. Numbers need no entry, names do.
func (a Accounts) user(s string) (specs.User, error) {
	name, group, grouped := strings.Cut(s, ":")
	if name == "" {
		name = "0"
	}
	var u specs.User
	entry := find(a.Passwd, name, 2)
	switch {
	case entry != nil:
		uid, err1 := id(entry[2])
		gid, err2 := id(entry[3])
		if err1 != nil || err2 != nil {
			return u, fmt.Errorf("user %s: /etc/passwd has %s:%s for it", name, entry[2], entry[3])
		}
		u.UID, u.GID, name = uid, gid, entry[0]
	default:
		uid, err := id(name)
		if err != nil {
			return u, fmt.Errorf("user %s: not in the image's /etc/passwd", name)
		}
		u.UID = uid
	}
	if !grouped {
		u.AdditionalGids = a.groupsOf(name, u.GID)
		return u, nil
	}
	gid, err := a.group(group)
	u.GID = gid
	return u, err
}

func (a Accounts) group(s string) (uint32, error) {
	if entry := find(a.Group, s, 2); entry != nil {
		s = entry[2]
	}
	gid, err := id(s)
	if err != nil {
		return 0, fmt.Errorf("group %s: not in the image's /etc/group", s)
	}
	return gid, nil
}

// groupsOf are the groups that list the user, but its own.
func (a Accounts) groupsOf(name string, own uint32) []uint32 {
	var all []uint32
	for line := range strings.Lines(a.Group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		if gid, err := id(f[2]); err == nil && gid != own {
			all = append(all, gid)
		}
	}
	return all
}

// find returns the fields of the entry with that name, or, failing that, that number.
func find(file, name string, number int) []string {
	var byNumber []string
	for line := range strings.Lines(file) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		if f[0] == name {
			return f
		}
		if f[number] == name && byNumber == nil {
			byNumber = f
		}
	}
	return byNumber
}

func id(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

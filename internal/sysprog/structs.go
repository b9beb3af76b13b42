package sysprog

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// field is a 64-bit word of a structure that a call takes by address.
type field struct {
	name string
	off  int
	format
}

var resolveFlags = []flag{
	{unix.RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT"},
	{unix.RESOLVE_NO_MAGICLINKS, "RESOLVE_NO_MAGICLINKS"},
	{unix.RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS"},
}

// fieldsOf gives the structures whose bytes say nothing to people, and differ
// from CPU to CPU.
func fieldsOf(call string, i int) []field {
	switch {
	case call == "openat2" && i == 2: // struct open_how
		return []field{{"flags", 0, format{asFlags, openFlags}}, {"resolve", 16, format{asFlags, resolveFlags}}}
	case call == "mount_setattr" && i == 3: // struct mount_attr
		return []field{{"set", 0, format{asFlags, attrFlags}}, {"clear", 8, format{asFlags, attrFlags}}, {"propagation", 16, format{asFlags, mountFlags}}}
	case call == "clone3" && i == 0: // struct clone_args
		return []field{{"flags", 0, format{asFlags, cloneFlags}}, {"exit_signal", 32, format{}}}
	}
	return nil
}

// structText shows a buffer as the structure that argument i of call is.
func structText(call string, i int, b *Buf) (string, bool) {
	fields := fieldsOf(call, i)
	if b == nil || fields == nil {
		return "", false
	}
	var s []string
	for _, f := range fields {
		if v := binary.NativeEndian.Uint64(b.Data[f.off:]); v != 0 {
			s = append(s, f.name+"="+f.show(v))
		}
	}
	return "{" + strings.Join(s, ", ") + "}", true
}

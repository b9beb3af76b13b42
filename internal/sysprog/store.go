package sysprog

import (
	"fmt"
	"os"
	"path/filepath"
)

// StoreDir is where programs lie that a command line can run again without
// starting Go: see entry_amd64.s. It is in memory and root's.
const StoreDir = "/run/tare/start"

// storedMagic marks a stored program; it changes with the layout of ops.
const storedMagic = uint64(0x3030657261742f01)

// maxStored is the size of the largest program that is stored; an ordinary
// start takes 100 KiB.
const maxStored = 512 << 10

// StoredName is the name in StoreDir for a command line: FNV-1a of the
// arguments, each with its NUL byte, and of one NUL more for the 0 at the end.
func StoredName(args []string) string {
	h := uint64(0xcbf29ce484222325)
	for _, s := range args {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 0x100000001b3
		}
		h *= 0x100000001b3 // the NUL
	}
	return fmt.Sprintf("%016x", h)
}

// Arguments is the slot that holds, in a stored program, the address of the
// command line's bytes, argv(0) first.
func Arguments() *Slot { return &Slot{name: "arguments", off: resArgs * WordSize} }

// Store assembles l and writes it to the file that the command line args
// finds. The list must check all that it depends on, leave nothing behind when
// it fails, and not return when it succeeds.
func Store(l *List, args []string) error {
	img, err := Assemble(l, Base)
	if err != nil {
		return err
	}
	if len(img.Bytes) > maxStored {
		return fmt.Errorf("store program: %d bytes are more than %d", len(img.Bytes), maxStored)
	}
	for _, w := range []struct {
		word  int
		value uintptr
	}{
		{resMagic, uintptr(storedMagic & uint64(^uintptr(0)))},
		{resBase, img.Base},
		{resSize, uintptr(len(img.Bytes))},
		{resEntry, img.entry},
	} {
		putWord(img.Bytes[w.word*WordSize:], w.value)
	}
	if err := os.MkdirAll(StoreDir, 0o700); err != nil {
		return fmt.Errorf("store program: %w", err)
	}
	name := filepath.Join(StoreDir, StoredName(args))
	tmp := fmt.Sprintf("%s.%d", name, os.Getpid())
	if err := os.WriteFile(tmp, img.Bytes, 0o600); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("store program: %w", err)
	}
	if err := os.Rename(tmp, name); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("store program: %w", err)
	}
	return nil
}

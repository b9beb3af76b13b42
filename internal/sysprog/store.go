package sysprog

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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
func Store(l *List, args []string) error { return store(l, args, 0o600) }

// onceMode is the mode of a program that is for one time.
const onceMode = 0o400

// StoreOnce is Store for a program that removes itself when it has run. If that
// never comes, Stale tells: when of is not there any more, if it is not "".
func StoreOnce(l *List, args []string, of string) error {
	note := append([]byte(of), 0, 0)
	binary.NativeEndian.PutUint16(note[len(of):], uint16(len(of)))
	return store(l, args, onceMode, note...)
}

// staleAfter is when what has been stored for once, or has not been stored to
// its end, is not going to be run if nothing says otherwise.
const staleAfter = time.Minute

// Stale tells whether a file in StoreDir is one that a command has left that was
// killed. Name and info are those of the directory entry.
func Stale(name string, info fs.FileInfo, now time.Time) bool {
	if now.Sub(info.ModTime()) < staleAfter {
		return false
	}
	if strings.Contains(name, ".") { // of store
		return true
	}
	if info.Mode() != onceMode {
		return false
	}
	b, err := os.ReadFile(filepath.Join(StoreDir, name))
	if err != nil || len(b) < 2 {
		return err == nil
	}
	n := int(binary.NativeEndian.Uint16(b[len(b)-2:]))
	if n == 0 || n > len(b)-2 {
		return true
	}
	return unix.Access(string(b[len(b)-2-n:len(b)-2]), unix.F_OK) == unix.ENOENT
}

// store is Store with the file's mode, and with what the file ends with.
func store(l *List, args []string, mode os.FileMode, note ...byte) error {
	img, err := Assemble(l, Base)
	if err != nil {
		return err
	}
	img.Bytes = append(img.Bytes, note...)
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
	if err := os.WriteFile(tmp, img.Bytes, mode); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("store program: %w", err)
	}
	if err := os.Rename(tmp, name); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("store program: %w", err)
	}
	return nil
}

package vm

import (
	"fmt"
	"io"
)

// A cpioFile is one file of an initial memory file system.
type cpioFile struct {
	name string // without a leading slash
	mode uint32 // as st_mode
	data []byte
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
)

// writeCPIO writes an archive in the "newc" form, as the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst describes it. Directories must precede
// what is in them.
func writeCPIO(w io.Writer, files []cpioFile) error {
	for i, f := range append(files, cpioFile{name: "TRAILER!!!"}) {
		header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			i+1, f.mode, 0, 0, 1, 0, len(f.data), 0, 0, 0, 0, len(f.name)+1, 0)
		for _, part := range [][]byte{
			[]byte(header), []byte(f.name), padding(len(header)+len(f.name)+1, 1), f.data, padding(len(f.data), 0),
		} {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// padding is what brings n bytes to a multiple of four, after at least the given number of zeros.
func padding(n, zeros int) []byte {
	return make([]byte, zeros+(4-n%4)%4)
}

package layout

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/layer"
)

// ErrCompressed is an archive that is compressed as a whole: there is no reading in the
// middle of it. See Spool.
var ErrCompressed = errors.New("is compressed as a whole")

// maxSpool is the most bytes that Spool writes: more is a bomb.
const maxSpool = 64 << 30

// Spool opens an archive that cannot be read in place, because it comes through a pipe or
// is compressed as a whole. It copies it, unpacked, to a file without a name in dir, of
// which nothing is left after Close or a crash. The lists of an archive may stand at its
// end, so that there is no reading it in one pass.
func Spool(r io.Reader, dir string) (*Reader, error) {
	const name = "archive"
	unpacked, err := layer.Decompress(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer unpacked.Close()
	f, err := unnamed(dir)
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, io.LimitReader(unpacked, maxSpool+1))
	if err == nil && n > maxSpool {
		err = fmt.Errorf("has more than %d bytes", int64(maxSpool))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return readArchive(name, f)
}

// unnamed opens a new file that no directory names.
func unnamed(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	// Some file systems have no O_TMPFILE: NFS, and UBIFS before Linux 4.9.
	name := filepath.Join(dir, tempPrefix+randomText())
	if f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	if err := os.Remove(name); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

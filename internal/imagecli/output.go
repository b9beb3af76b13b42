package imagecli

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"tare.dev/tare/internal/console"
)

// An output is a file that appears when it is whole, standard output, or what is no file: a device, a pipe.
type output struct {
	io.Writer
	f    *os.File // nil for standard output
	path string   // to rename f to; "" for what is no file
}

// newOutput begins the file at path; "" and "-" are standard output.
func newOutput(path string, out io.Writer) (*output, error) {
	if path == "" || path == "-" {
		return &output{Writer: out}, notTerminal(out)
	}
	if inPlace(path) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return nil, err
		}
		return &output{f, f, ""}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tare-*")
	if err != nil {
		return nil, err
	}
	return &output{f, f, path}, nil
}

// inPlace tells what must not be replaced by a file: /dev/null is a device, /dev/stdout a symbolic link.
func inPlace(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && !info.Mode().IsRegular()
}

// end gives the file its name, and makes it last, or removes it after an error.
func (o *output) end(err error) error {
	if o.f == nil {
		return err
	}
	if o.path == "" {
		return errors.Join(err, o.f.Close())
	}
	if err == nil {
		err = o.f.Chmod(0o644)
	}
	if err == nil {
		err = o.f.Sync()
	}
	err = errors.Join(err, o.f.Close())
	if err == nil {
		err = os.Rename(o.f.Name(), o.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(o.f.Name()))
	}
	return nil
}

// notTerminal refuses to write an archive to a terminal.
func notTerminal(w io.Writer) error {
	if f, ok := w.(*os.File); ok && console.Is(f) {
		return errors.New("write to standard output: is a terminal (name a file with -o FILE)")
	}
	return nil
}

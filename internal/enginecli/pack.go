package enginecli

import (
	"archive/tar"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/moby/moby/api/types/container"
)

// decodeStat reads the header that tells of a path in a container: JSON in base64.
func decodeStat(header string, to *container.PathStat) error {
	text, err := base64.StdEncoding.DecodeString(header)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		return fmt.Errorf("read what the path is: %w", err)
	}
	return nil
}

// pack writes a file, or a directory with all in it, as a tar stream in which it is called as.
func pack(w io.Writer, source, as string) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(source, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(source, at)
		if err != nil {
			return err
		}
		return packOne(t, at, path.Join(as, filepath.ToSlash(rest)), e)
	})
	return errors.Join(err, t.Close())
}

func packOne(t *tar.Writer, at, name string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil // a tar stream has none
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(at); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return fmt.Errorf("copy %s: %w", at, err)
	}
	if h.Name = name; info.IsDir() {
		h.Name += "/"
	}
	if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(t, f)
	return err
}

package enginecli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

const cpLong = `Copy files and directories between a container, which need not run, and the host. One side is
CONTAINER:PATH, the other PATH, or - for a tar stream.

As with cp -r, into a directory that is there when the destination is one, else under its name.`

func cpCommand(s *session) cli.Command {
	var archive bool
	return cli.Command{
		Name: "cp", Args: "[CONTAINER:]SOURCE [CONTAINER:]DESTINATION", MinArgs: 2, MaxArgs: 2,
		Short: "copy files to or from a container", Long: cpLong,
		Flags: func(f *cli.Flags) { f.Bool(&archive, "archive", "a", "keep owners, too") },
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			from, source, out := containerPath(c.Args[0])
			to, dest, in := containerPath(c.Args[1])
			switch {
			case out && in:
				return c.Usagef("copying between containers takes two steps")
			case out:
				return s.copyOut(ctx, c, from, source, dest)
			case in:
				return s.copyIn(ctx, c, to, source, dest, archive)
			}
			return c.Usagef("one side is CONTAINER:PATH")
		},
	}
}

// containerPath splits CONTAINER:PATH. A path of the host with a colon begins with / or a dot.
func containerPath(s string) (name, at string, ok bool) {
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, ".") || s == "-" {
		return "", s, false
	}
	name, at, ok = strings.Cut(s, ":")
	if !ok {
		return "", s, false
	}
	return name, at, true
}

// copyOut copies from a container.
func (s *session) copyOut(ctx context.Context, c *cli.Call, name, source, dest string) error {
	resp, err := s.client().request(ctx, http.MethodGet, "/containers/"+name+"/archive", url.Values{"path": {source}}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if dest == "-" {
		_, err := io.Copy(c.Out, resp.Body)
		return err
	}
	into, as, err := destination(dest, source)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		return err
	}
	defer root.Close()
	x := extraction{root: root, as: as, contents: source == "/" || strings.HasSuffix(source, "/.")}
	return x.extract(resp.Body)
}

// destination is the directory that what is copied goes to, and its name there; "" keeps that.
func destination(dest, source string) (into, as string, err error) {
	info, err := os.Stat(dest)
	switch {
	case err == nil && info.IsDir():
		if strings.HasSuffix(source, "/.") {
			return dest, ".", nil // its contents
		}
		return dest, "", nil
	case err == nil, errors.Is(err, fs.ErrNotExist):
		if strings.HasSuffix(dest, "/") && err != nil {
			return "", "", fmt.Errorf("copy to %s: %w", dest, err)
		}
		return filepath.Dir(dest), filepath.Base(dest), nil
	}
	return "", "", err
}

// An extraction writes a tar stream below root, and nowhere else.
type extraction struct {
	root     *os.Root
	as       string // what is copied is called so; "" keeps its name
	contents bool   // the stream's names are below what is copied, and do not begin with its name
}

func (x *extraction) extract(r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.one(t, h); err != nil {
			return fmt.Errorf("copy %s: %w", h.Name, err)
		}
	}
}

// name is what a path of the stream is called.
func (x *extraction) name(s string) string {
	s = path.Clean(s)
	if x.as == "" {
		return s
	}
	if !x.contents {
		_, s, _ = strings.Cut(s, "/")
	}
	return path.Join(x.as, s)
}

func (x *extraction) one(t *tar.Reader, h *tar.Header) error {
	name, mode := x.name(h.Name), h.FileInfo().Mode()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := x.root.Mkdir(name, 0o700|mode.Perm()); name != "." && err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeReg:
		f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode.Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		return errors.Join(err, f.Chmod(mode.Perm()), f.Close())
	case tar.TypeSymlink, tar.TypeLink:
		if err := x.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if h.Typeflag == tar.TypeLink {
			return x.root.Link(x.name(h.Linkname), name)
		}
		return x.root.Symlink(h.Linkname, name)
	}
	return nil // devices and sockets stay where they are
}

// copyIn copies to a container.
func (s *session) copyIn(ctx context.Context, c *cli.Call, name, source, dest string, owners bool) error {
	at := "/containers/" + name + "/archive"
	q := url.Values{"noOverwriteDirNonDir": {"true"}}
	if owners {
		q.Set("copyUIDGID", "1")
	}
	if source == "-" {
		q.Set("path", dest)
		return s.client().do(ctx, http.MethodPut, at, q, c.In, nil)
	}
	if _, err := os.Lstat(source); err != nil {
		return err
	}
	into, as := dest, filepath.Base(source)
	if is, err := s.isDir(ctx, at, dest); err != nil {
		return err
	} else if !is {
		if strings.HasSuffix(dest, "/") {
			return fmt.Errorf("copy to %s:%s: %w", name, dest, fs.ErrNotExist)
		}
		into, as = path.Dir(dest), path.Base(dest)
	} else if strings.HasSuffix(source, "/.") {
		as = "."
	}
	q.Set("path", into)
	r, w := io.Pipe()
	go func() { w.CloseWithError(pack(w, source, as)) }()
	defer r.Close()
	return s.client().do(ctx, http.MethodPut, at, q, io.Reader(r), nil)
}

// isDir tells whether a path of a container is a directory, by a header of the API's.
func (s *session) isDir(ctx context.Context, at, name string) (bool, error) {
	resp, err := s.client().request(ctx, http.MethodHead, at, url.Values{"path": {name}}, nil)
	if isStatus(err, http.StatusNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	var stat container.PathStat
	if err := decodeStat(resp.Header.Get("X-Docker-Container-Path-Stat"), &stat); err != nil {
		return false, err
	}
	return stat.Mode.IsDir(), nil
}

package tree

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// memory is a file in memory.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(m.b) {
		m.b = append(m.b, make([]byte, need-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

// step is a line of a test: "path" a file, "path/" a directory, "a -> b" a symbolic link, "a => b" a hard
// link, "--" the next layer.
func apply(b *Builder, steps ...string) error {
	for _, s := range steps {
		var err error
		from, to, soft := strings.Cut(s, " -> ")
		link, target, hard := strings.Cut(s, " => ")
		switch {
		case s == "--":
			b.NextLayer()
		case soft:
			err = b.Add(from, erofs.Inode{Mode: unix.S_IFLNK | 0o777, Data: []byte(to), Size: int64(len(to))})
		case hard:
			err = b.Link(link, target)
		case strings.HasSuffix(s, "/"):
			err = b.Add(s, erofs.Inode{Mode: unix.S_IFDIR | 0o700})
		default:
			data := fmt.Appendf(nil, "%s of layer %d", s, b.layer)
			err = b.Add(s, erofs.Inode{Mode: unix.S_IFREG | 0o600, Data: data, Size: int64(len(data))})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list is the paths of the finished tree, directories with their mode.
func list(t *testing.T, m *memory, b *Builder) []string {
	t.Helper()
	size, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	img, err := erofs.Open(bytes.NewReader(m.b), size)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	err = img.Walk(func(path string, _ erofs.NID, in *erofs.Inode) error {
		path = strings.TrimPrefix(path, "/")
		switch in.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if path != "" && path != "." {
				all = append(all, fmt.Sprintf("%s/ %o", path, in.Mode&0o7777))
			}
		case unix.S_IFLNK:
			all = append(all, path+" -> "+string(in.Data))
		default:
			all = append(all, fmt.Sprintf("%s = %s, %d", path, in.Data, in.Nlink))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func TestLayersLieOverEachOther(t *testing.T) {
	for name, c := range map[string]struct {
		steps []string
		want  []string
	}{
		"parents are made":             {[]string{"a/b/c"}, []string{"a/ 755", "a/b/ 755", "a/b/c = a/b/c of layer 0, 1"}},
		"a later layer wins":           {[]string{"a", "--", "a"}, []string{"a = a of layer 1, 1"}},
		"a directory keeps its files":  {[]string{"d/", "d/f", "--", "d/"}, []string{"d/ 700", "d/f = d/f of layer 0, 1"}},
		"a directory becomes a file":   {[]string{"d/f", "--", "d"}, []string{"d = d of layer 1, 1"}},
		"a file becomes a directory":   {[]string{"d", "--", "d/f"}, nil},
		"a whiteout":                   {[]string{"a", "b", "--", ".wh.a"}, []string{"b = b of layer 0, 1"}},
		"a whiteout of a directory":    {[]string{"d/e/f", "--", ".wh.d"}, []string{}},
		"a whiteout of nothing":        {[]string{"a", "--", ".wh.b"}, []string{"a = a of layer 0, 1"}},
		"a whiteout, then the file":    {[]string{"a", "--", ".wh.a", "a"}, []string{"a = a of layer 1, 1"}},
		"the file, then its whiteout":  {[]string{"a", "--", "a", ".wh.a"}, []string{"a = a of layer 1, 1"}},
		"new files, then the whiteout": {[]string{"d/old", "--", "d/new", ".wh.d"}, []string{"d/ 755", "d/new = d/new of layer 1, 1"}},
		"opaque":                       {[]string{"d/old", "d/e/old", "--", "d/new", "d/.wh..wh..opq"}, []string{"d/ 755", "d/new = d/new of layer 1, 1"}},
		"opaque first":                 {[]string{"d/old", "--", "d/.wh..wh..opq", "d/new"}, []string{"d/ 755", "d/new = d/new of layer 1, 1"}},
		"opaque root":                  {[]string{"a", "--", ".wh..wh..opq", "b"}, []string{"b = b of layer 1, 1"}},
		"what aufs noted":              {[]string{"a", "--", ".wh..wh.plnk", ".wh..wh.aufs"}, []string{"a = a of layer 0, 1"}},
		"a hard link":                  {[]string{"a", "b => a"}, []string{"a = a of layer 0, 2", "b = a of layer 0, 2"}},
		"a hard link to a lower layer": {[]string{"a", "--", "b => a"}, []string{"a = a of layer 0, 2", "b = a of layer 0, 2"}},
		"one name of two goes":         {[]string{"a", "b => a", "--", ".wh.a"}, []string{"b = a of layer 0, 1"}},
		"a hard link to itself":        {[]string{"a", "a => a"}, []string{"a = a of layer 0, 1"}},
		"a link on the way":            {[]string{"usr/lib/", "lib -> usr/lib", "lib/f"}, []string{"lib -> usr/lib", "usr/ 755", "usr/lib/ 700", "usr/lib/f = lib/f of layer 0, 1"}},
		"an absolute link on the way":  {[]string{"x/", "d/l -> /x", "d/l/f"}, []string{"d/ 755", "d/l -> /x", "x/ 700", "x/f = d/l/f of layer 0, 1"}},
		"a link that would go out":     {[]string{"l -> ../../../etc", "l/passwd"}, []string{"etc/ 755", "etc/passwd = l/passwd of layer 0, 1", "l -> ../../../etc"}},
		"slashes and dots":             {[]string{"./a//b/./c", "/d"}, []string{"a/ 755", "a/b/ 755", "a/b/c = ./a//b/./c of layer 0, 1", "d = /d of layer 0, 1"}},
		"the root itself":              {[]string{"./", "a"}, []string{"a = a of layer 0, 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			b := NewBuilder(m, Limits{})
			err := apply(b, c.steps...)
			if c.want == nil {
				if !errors.Is(err, ErrConflict) {
					t.Fatalf("err = %v, want a conflict", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := list(t, m, b); !slices.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestEntriesThatAreRefused(t *testing.T) {
	deep := strings.Repeat("d/", 30)
	for name, c := range map[string]struct {
		steps []string
		want  error
	}{
		"out of the root":              {[]string{"../a"}, ErrPath},
		"out of a directory":           {[]string{"d/../../a"}, ErrPath},
		"a hard link out":              {[]string{"a", "b => ../a"}, ErrPath},
		"a name with a zero":           {[]string{"a\x00b"}, ErrPath},
		"a name too long":              {[]string{strings.Repeat("n", 256)}, ErrLimit},
		"a path too long":              {[]string{strings.Repeat("abc/", 1025)}, ErrLimit},
		"too deep":                     {[]string{deep + "f"}, ErrLimit},
		"too deep by links":            {[]string{"a/b/c/d/e/f/g/h/i/j/", "l -> a/b/c/d/e/f/g/h/i/j", "l/k/k/k/k/k/k/k/k/k/k/k/k/f"}, ErrLimit},
		"links in a circle":            {[]string{"a -> b", "b -> a", "a/f"}, ErrPath},
		"below a file":                 {[]string{"a", "a/b"}, ErrConflict},
		"twice":                        {[]string{"a", "a"}, ErrConflict},
		"a file, then a directory":     {[]string{"a", "a/"}, ErrConflict},
		"a directory, then a file":     {[]string{"a/", "a"}, ErrConflict},
		"a hard link to a directory":   {[]string{"d/", "l => d"}, ErrConflict},
		"a hard link to nothing":       {[]string{"l => a"}, ErrConflict},
		"a hard link over a file":      {[]string{"a", "b", "a => b"}, ErrConflict},
		"a hard link as the root":      {[]string{"a", ". => a"}, ErrPath},
		"a whiteout that is a link":    {[]string{"a", ".wh.b => a"}, ErrPath},
		"a whiteout of the directory":  {[]string{"d/", "d/.wh.."}, ErrPath},
		"a whiteout without a name":    {[]string{".wh."}, ErrPath},
		"too many":                     {[]string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17"}, ErrLimit},
		"too many by the way to there": {[]string{"1", "2", "3", "4", "5", "6", "7", "8", "a/b/c/d/e/f/g/h/i/j"}, ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			limits := Limits{Entries: 16, Depth: 20}
			if name == "too deep" || name == "too deep by links" {
				limits.Entries = 0
			}
			err := apply(NewBuilder(&memory{}, limits), c.steps...)
			if !errors.Is(err, c.want) {
				t.Fatalf("err = %v, want %v", err, c.want)
			}
			if text := err.Error(); strings.ContainsAny(text, "\n\x00") || len(text) > 400 {
				t.Errorf("the error is not a line: %q", text)
			}
		})
	}
}

func TestOverlaysOwnAttributesAreEscaped(t *testing.T) {
	m := &memory{}
	b := NewBuilder(m, Limits{})
	in := erofs.Inode{Mode: unix.S_IFREG, Xattrs: []erofs.Xattr{{Name: "trusted.overlay.redirect", Value: []byte("/etc/shadow")}}}
	if err := b.Add("a", in); err != nil {
		t.Fatal(err)
	}
	size, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	img, err := erofs.Open(bytes.NewReader(m.b), size)
	if err != nil {
		t.Fatal(err)
	}
	err = img.Walk(func(path string, _ erofs.NID, in *erofs.Inode) error {
		if in.Redirect != "" {
			t.Errorf("%s leads to %s", path, in.Redirect)
		}
		if in.Mode&unix.S_IFMT == unix.S_IFREG && (len(in.Xattrs) != 1 || in.Xattrs[0].Name != "trusted.overlay.overlay.redirect") {
			t.Errorf("%s has %v", path, in.Xattrs)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhiteoutDevicesAreRefused(t *testing.T) {
	b := NewBuilder(&memory{}, Limits{})
	if err := b.Add("a", erofs.Inode{Mode: unix.S_IFCHR}); !errors.Is(err, ErrConflict) {
		t.Errorf("err = %v", err)
	}
	if err := b.Add("b", erofs.Inode{Mode: unix.S_IFCHR, Rdev: unix.Mkdev(1, 3)}); err != nil {
		t.Error(err)
	}
}

func TestAttributesHaveALimit(t *testing.T) {
	b := NewBuilder(&memory{}, Limits{Xattrs: 100})
	in := erofs.Inode{Mode: unix.S_IFREG, Xattrs: []erofs.Xattr{{Name: "user.big", Value: make([]byte, 100)}}}
	if err := b.Add("a", in); !errors.Is(err, ErrLimit) {
		t.Errorf("err = %v", err)
	}
}

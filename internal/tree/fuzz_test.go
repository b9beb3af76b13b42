package tree

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// A flat is a tree as plain as can be: paths, each with what Add said of it. It does what the
// specification says, in as many steps as it takes.
type flat struct {
	nodes map[string]node
	layer int
}

type node struct {
	kind, id uint32
	layer    int
}

// parents makes the directories above p; it tells when there is something else.
func (f *flat) parents(p string) bool {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		n, ok := f.nodes[dir]
		if !ok {
			f.nodes[dir] = node{unix.S_IFDIR, 0, f.layer}
		} else if n.kind != unix.S_IFDIR {
			return false
		}
	}
	return true
}

func (f *flat) add(p string, kind, id uint32) {
	if kind != unix.S_IFDIR || f.nodes[p].kind != kind {
		maps.DeleteFunc(f.nodes, func(q string, _ node) bool { return strings.HasPrefix(q, p+"/") })
	}
	f.nodes[p] = node{kind, id, f.layer}
}

// hide removes what layers below brought, below dir or in all; a directory stays that this layer has put
// something into.
func (f *flat) hide(in func(p string) bool) {
	keep := map[string]bool{}
	for p, n := range f.nodes {
		if n.layer == f.layer {
			for ; p != "."; p = path.Dir(p) {
				keep[p] = true
			}
		}
	}
	maps.DeleteFunc(f.nodes, func(p string, _ node) bool { return in(p) && !keep[p] })
}

// FuzzBuilder lays layers over each other in the builder and in the plain tree.
func FuzzBuilder(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x01\x05\x00\x02\x01"))
	f.Add([]byte("\x01\x00\x00\x04\x00\x08\x05\x00\x03\x00\x00\x04"))
	f.Add([]byte("\x00\x04\x05\x00\x04\x00\x00\x05"))
	f.Add([]byte("\x01\x04\x00\x24\x05\x00\x06\x14\x02\x04"))
	names := []string{"a", "b", "c"}
	f.Fuzz(func(t *testing.T, ops []byte) {
		var image memory
		b := NewBuilder(&image, Limits{})
		model := &flat{nodes: map[string]node{}}
		for i := 0; i+1 < len(ops) && i < 200; i += 2 {
			parts := []string{names[ops[i+1]%4%3], names[ops[i+1]/4%4%3], names[ops[i+1]/16%4%3]}
			p := strings.Join(parts[:1+ops[i+1]/64%3], "/")
			id := uint32(i + 1)
			in := erofs.Inode{Mode: unix.S_IFREG | 0o644, Mtime: int64(id)}
			var err error
			switch ops[i] % 7 {
			case 0:
				err = b.Add(p, in)
			case 1:
				in.Mode = unix.S_IFDIR | 0o755
				err = b.Add(p, in)
			case 2:
				in.Mode, in.Data = unix.S_IFLNK|0o777, []byte("x")
				err = b.Add(p, in)
			case 3:
				in.Mode = unix.S_IFREG
				err = b.Add(path.Join(path.Dir(p), ".wh."+path.Base(p)), in)
			case 4:
				err = b.Add(p+"/.wh..wh..opq", in)
			case 5:
				b.NextLayer()
				model.layer++
				continue
			case 6:
				from := names[ops[i+1]%4%3]
				err = b.Link(p+"/l", from)
				if err != nil || !model.parents(p+"/l") {
					return
				}
				model.add(p+"/l", model.nodes[from].kind, model.nodes[from].id)
				continue
			}
			if err != nil {
				return // what it refuses is another test's
			}
			above := p
			if ops[i]%7 == 4 {
				above = p + "/x"
			}
			if !model.parents(above) {
				return // through a symbolic link, which the plain tree does not follow
			}
			switch ops[i] % 7 {
			case 3:
				model.hide(func(q string) bool { return q == p || strings.HasPrefix(q, p+"/") })
			case 4:
				model.hide(func(q string) bool { return strings.HasPrefix(q, p+"/") })
			default:
				model.add(p, in.Mode&unix.S_IFMT, id)
			}
		}
		size, err := b.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := listImage(t, image.b[:size]), model.list(); !slices.Equal(got, want) {
			t.Errorf("image\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func (f *flat) list() []string {
	var all []string
	for p, n := range f.nodes {
		all = append(all, fmt.Sprintf("%s %o %d", p, n.kind, n.id))
	}
	slices.Sort(all)
	return all
}

func listImage(t *testing.T, b []byte) []string {
	im, err := erofs.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	if err := im.Walk(func(p string, _ erofs.NID, in *erofs.Inode) error {
		if p != "." {
			all = append(all, fmt.Sprintf("%s %o %d", p, in.Mode&unix.S_IFMT, in.Mtime))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

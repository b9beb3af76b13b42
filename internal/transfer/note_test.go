package transfer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"tare.dev/tare/internal/erofs"
)

// list is a builder that writes down what it is told.
type list struct {
	all  []string
	fail int // at which entry; 0 means never
}

var errBuilder = errors.New("no more")

func (l *list) Add(path string, in erofs.Inode) error {
	return l.add(fmt.Sprintf("add %q %+v", path, in))
}

func (l *list) Link(path, target string) error { return l.add(fmt.Sprintf("link %q %q", path, target)) }

func (l *list) add(s string) error {
	if l.all = append(l.all, s); len(l.all) == l.fail {
		return errBuilder
	}
	return nil
}

func TestNotesComeBackAsTheyWere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func(most int) string {
		b := make([]byte, 1+r.IntN(most))
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return string(b)
	}
	var packed bytes.Buffer
	n, want := newNotes(&packed), &list{}
	for range 500 {
		if r.IntN(5) == 0 {
			path, target := text(50), text(50)
			_ = want.Link(path, target) // it has no errors
			if err := n.Link(path, target); err != nil {
				t.Fatal(err)
			}
			continue
		}
		in := erofs.Inode{
			Mode: r.Uint32(), UID: r.Uint32(), GID: r.Uint32(), Mtime: r.Int64() - r.Int64(), MtimeNsec: r.Uint32N(1e9),
			Rdev: r.Uint64(), Size: r.Int64(),
		}
		switch r.IntN(3) {
		case 0:
			in.Data = []byte(text(3000))
		case 1:
			in.Redirect = "/" + text(65)
		}
		for range r.IntN(3) {
			in.Xattrs = append(in.Xattrs, erofs.Xattr{Name: text(20), Value: []byte(text(300))})
		}
		path := text(300)
		_ = want.Add(path, in)
		if err := n.Add(path, in); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // several images may have the layer
		got := &list{}
		if err := replay(bytes.NewReader(packed.Bytes()), got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatal("other entries came back")
		}
	}
	if err := replay(bytes.NewReader(packed.Bytes()), &list{fail: 7}); !errors.Is(err, errBuilder) {
		t.Errorf("replay to a builder that fails = %v", err)
	}
}

func TestNotesAreSmall(t *testing.T) {
	var packed bytes.Buffer
	n := newNotes(&packed)
	for i := range 10_000 {
		in := erofs.Inode{Mode: 0o100644, Mtime: 1_700_000_000 + int64(i/100), Size: int64(i), Redirect: fmt.Sprintf("/%x/%063x", i%16, sha256.Sum256([]byte{byte(i), byte(i >> 8)}))[:66]}
		if err := n.Add(fmt.Sprintf("usr/lib/python3/dist-packages/%d/file%d.py", i/30, i), in); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes for an entry", packed.Len()/10_000)
	if got := packed.Len() / 10_000; got > 60 {
		t.Errorf("%d bytes for an entry, want at most 60", got)
	}
}

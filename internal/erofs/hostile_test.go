package erofs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// A victim is an image with places in it to be changed.
type victim struct {
	t *testing.T
	b []byte
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	var f buffer
	if err := writeKinds(&f); err != nil {
		t.Fatal(err)
	}
	return &victim{t, f.b}
}

// inode returns where the inode at a path begins.
func (v *victim) inode(path string) []byte {
	v.t.Helper()
	im := (&buffer{v.b}).open(v.t)
	nid, err := im.Lookup(path)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.b[nid*32:]
}

// entry returns the entry of the root directory with a name.
func (v *victim) entry(name string) []byte {
	v.t.Helper()
	const start = 1152 + 64
	names := int(binary.LittleEndian.Uint16(v.b[start+8:]))
	for at := start; at < start+names; at += 12 {
		offset := start + int(binary.LittleEndian.Uint16(v.b[at+8:]))
		if strings.HasPrefix(string(v.b[offset:]), name) {
			return v.b[at:]
		}
	}
	v.t.Fatalf("no entry %q", name)
	return nil
}

// replace changes a string that is in the image once.
func (v *victim) replace(old, with string) {
	v.t.Helper()
	if n := bytes.Count(v.b, []byte(old)); n != 1 || len(old) != len(with) {
		v.t.Fatalf("%q is in the image %d times", old, n)
	}
	copy(v.b[bytes.Index(v.b, []byte(old)):], with)
}

func put16(b []byte, v uint16) { binary.LittleEndian.PutUint16(b, v) }
func put32(b []byte, v uint32) { binary.LittleEndian.PutUint32(b, v) }
func put64(b []byte, v uint64) { binary.LittleEndian.PutUint64(b, v) }

// In writeKinds, "aa" has data and attributes, "ab" is a redirect, "ac" has a block of data, "ad" is a
// symbolic link, "ae" a device, "af" a FIFO.
func TestReaderRefusesWhatIsWrong(t *testing.T) {
	tests := map[string]func(v *victim){
		"magic number":             func(v *victim) { v.b[1024] = 0 },
		"block size":               func(v *victim) { v.b[1024+12] = 9 },
		"directory block size":     func(v *victim) { v.b[1024+90] = 1 },
		"unknown feature":          func(v *victim) { put32(v.b[1024+80:], 0x24) },
		"device":                   func(v *victim) { put16(v.b[1024+86:], 1) },
		"without checksum":         func(v *victim) { put32(v.b[1024+8:], 0) },
		"more blocks than there":   func(v *victim) { put32(v.b[1024+36:], uint32(len(v.b)/4096)+1) },
		"fewer blocks than needed": func(v *victim) { put32(v.b[1024+36:], 1) },
		"root beyond the end":      func(v *victim) { put16(v.b[1024+14:], 0xffff) },
		"root is a file":           func(v *victim) { put64(v.entry("aa")[0:], 36); put16(v.b[1152+4:], unix.S_IFREG) },
		"metadata beyond the end":  func(v *victim) { put32(v.b[1024+40:], 0xffffffff) },

		"inode beyond the end":       func(v *victim) { put64(v.entry("aa"), 1<<63) },
		"unknown format":             func(v *victim) { v.inode("aa")[0] |= 0x80 },
		"unknown layout":             func(v *victim) { v.inode("aa")[0] = 1 | 6<<1 },
		"negative size":              func(v *victim) { v.inode("ac")[15] = 0x80 },
		"data beyond the end":        func(v *victim) { put32(v.inode("ac")[16:], 0xfffffff0) },
		"data larger than the image": func(v *victim) { put64(v.inode("ac")[8:], 1<<40) },
		"inline data over the block": func(v *victim) { put64(v.inode("aa")[8:], 4095) },
		"compressed symbolic link":   func(v *victim) { v.inode("ad")[0] = 1 | 3<<1 },
		"symbolic link to nothing":   func(v *victim) { put64(v.inode("ad")[8:], 0) },
		"symbolic link with a 0":     func(v *victim) { v.replace("target", "tar\x00et") },
		"FIFO with data":             func(v *victim) { put64(v.inode("af")[8:], 1) },
		"nanoseconds":                func(v *victim) { put32(v.inode("af")[40:], 1e9) },
		"chunks beyond the end":      func(v *victim) { put64(v.inode("ab")[8:], 1<<62) },
		"unknown bits of chunks":     func(v *victim) { v.inode("ab")[17] = 1 },
		"no data and no redirect":    func(v *victim) { f := v.inode("ac"); f[0] = 1; put32(f[16:], 0xffffffff) },

		"attributes beyond the end": func(v *victim) { put16(v.inode("aa")[2:], 0xffff) },
		"shared beyond attributes":  func(v *victim) { v.inode("aa")[64+4] = 200 },
		"shared beyond the end":     func(v *victim) { f := v.inode("ab"); put32(f[64+12:], 0xffffffff) },
		"attribute of no kind":      func(v *victim) { v.replace("\x01\x01\x01\x00ab", "\x01\x07\x01\x00ab") },
		"attribute over its room":   func(v *victim) { v.replace("\x01\x01\x01\x00ab", "\x01\x01\xff\x00ab") },
		"attribute twice":           func(v *victim) { f := v.inode("ab"); copy(f[64+16:64+20], f[64+12:]) },
		"redirect alone":            func(v *victim) { v.replace("overlay.metacopy", "overlay.metacopi") },
		"metacopy alone":            func(v *victim) { v.replace("overlay.redirect", "overlay.redirekt") },
		"relative redirect":         func(v *victim) { v.replace("/0/123", "00/123") },
		"redirect of a device":      func(v *victim) { f := v.inode("ab"); put16(f[4:], unix.S_IFCHR); put64(f[8:], 0) },

		"directory in itself":       func(v *victim) { put64(v.entry("sub"), 36) },
		"directory twice":           func(v *victim) { e := v.entry("af"); copy(e[:8], v.entry("sub")); e[10] = 2 },
		"type of another":           func(v *victim) { v.entry("aa")[10] = 7 },
		"unknown type":              func(v *victim) { v.entry("aa")[10] = 9 },
		"names out of order":        func(v *victim) { v.replace("adaeafsub", "aeadafsub") },
		"name twice":                func(v *victim) { v.replace("adaeafsub", "adadafsub") },
		"name with a slash":         func(v *victim) { v.replace("adaeafsub", "adaeafs/b") },
		"name with a 0":             func(v *victim) { v.replace("adaeafsub", "adae\x00fsub") },
		"names before the entries":  func(v *victim) { put16(v.entry("ad")[8:], 0) },
		"names beyond the block":    func(v *victim) { put16(v.entry("ad")[8:], 0xffff) },
		"no entries":                func(v *victim) { put16(v.b[1152+64+8:], 0) },
		"half an entry":             func(v *victim) { put16(v.b[1152+64+8:], 13) },
		"directory of 5 bytes":      func(v *victim) { put64(v.inode("sub")[8:], 5) },
		"directory without dot dot": func(v *victim) { f := v.inode("sub"); put16(f[64+8:], 12); put64(f[8:], 13) },
		"dot is another":            func(v *victim) { put64(v.inode("sub")[64:], 36) },
		"dot dot is another":        func(v *victim) { f := v.inode("sub"); copy(f[64+12:], f[64:64+8]) },
		"directory in chunks":       func(v *victim) { v.inode("sub")[0] = 1 | 4<<1 },
	}
	for name, change := range tests {
		v := newVictim(t)
		before := bytes.Clone(v.b)
		change(v)
		if bytes.Equal(before, v.b) {
			t.Errorf("%s: nothing is changed", name)
		}
		if n, err := readAll(seal(v.b)); !errors.Is(err, erofs.ErrCorrupt) {
			t.Errorf("%s: %d entries, error %v; want %v", name, n, err, erofs.ErrCorrupt)
		}
	}
}

// Directories that share blocks would multiply the work of a walk by their number.
func TestWalkRefusesDirectoriesThatOverlap(t *testing.T) {
	var f buffer
	w := erofs.NewWriter(&f, erofs.Options{})
	nid, err := w.Add(&erofs.Inode{Mode: unix.S_IFREG})
	if err != nil {
		t.Fatal(err)
	}
	// Names before "." fill whole blocks, so that "." and ".." stand at the end, with the inode.
	big := directory()
	for i := range 3000 {
		name := string([]byte{'!', byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676)})
		big.Entries = append(big.Entries, erofs.Entry{Name: name, NID: nid, Type: unix.S_IFREG})
	}
	root := directory(erofs.Entry{Name: "big", Type: unix.S_IFDIR, Dir: big})
	for i := range 20 {
		root.Entries = append(root.Entries, erofs.Entry{Name: string(rune('a' + i)), Type: unix.S_IFDIR, Dir: directory()})
	}
	if _, err := w.Finish(root); err != nil {
		t.Fatal(err)
	}
	if n, err := readAll(f.b); err != nil || n != 3022 {
		t.Fatalf("%d entries, %v", n, err)
	}
	v := &victim{t, f.b}
	from := v.inode("big")
	whole := binary.LittleEndian.Uint64(from[8:]) &^ 4095
	for i := range 20 {
		in := v.inode(string(rune('a' + i)))
		put64(in[8:], whole+binary.LittleEndian.Uint64(in[8:]))
		copy(in[16:20], from[16:])
	}
	if n, err := readAll(f.b); !errors.Is(err, erofs.ErrCorrupt) || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("%d entries, error %v; want one about the overlap", n, err)
	}
}

func TestReaderTellsWhatIsNotThere(t *testing.T) {
	var f buffer
	if err := writeKinds(&f); err != nil {
		t.Fatal(err)
	}
	im := f.open(t)
	for path, want := range map[string]error{
		"none": unix.ENOENT, "sub/none": unix.ENOENT, "aa/none": unix.ENOTDIR, "ad/none": unix.ENOTDIR,
		"": nil, ".": nil, "/": nil, "sub/..": nil, "sub/": nil,
	} {
		if nid, err := im.Lookup(path); !errors.Is(err, want) {
			t.Errorf("Lookup(%q) = %d, %v; want %v", path, nid, err, want)
		}
	}
	for _, path := range []string{"sub", "ab", "ad", "ae"} {
		nid, err := im.Lookup(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := im.Contents(nid); !errors.Is(err, unix.EINVAL) {
			t.Errorf("Contents(%s): %v, want %v", path, err, unix.EINVAL)
		}
	}
}

// A hole without redirect, which mkfs.erofs may write, reads as zeros.
func TestHolesReadAsZeros(t *testing.T) {
	v := newVictim(t)
	v.replace("trusted.overlay.redirect"[8:], "overlay.redirekt")
	v.replace("trusted.overlay.metacopy"[8:], "overlay.metacopi")
	im, err := erofs.Open(bytes.NewReader(v.b), int64(len(v.b)))
	if err != nil {
		t.Fatal(err)
	}
	nid, err := im.Lookup("ab")
	if err != nil {
		t.Fatal(err)
	}
	r, err := im.Contents(nid)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, make([]byte, 5000)) {
		t.Errorf("a hole reads as %d bytes, %v", len(got), err)
	}
}

// An error of the disk is no broken image, and so is not ErrCorrupt.
func TestReadErrorsComeOut(t *testing.T) {
	var f buffer
	if err := writeKinds(&f); err != nil {
		t.Fatal(err)
	}
	for _, failing := range []error{unix.EIO, io.EOF} {
		for n := range 100 {
			err := walkReader(&failingReader{bytes.NewReader(f.b), n, failing}, int64(len(f.b)))
			if err == nil {
				break
			}
			want := failing
			if want == io.EOF {
				want = io.ErrUnexpectedEOF
			}
			if !errors.Is(err, want) || errors.Is(err, erofs.ErrCorrupt) {
				t.Errorf("read %d fails with %v: error %v", n, failing, err)
			}
		}
	}
}

type failingReader struct {
	io.ReaderAt
	left int
	err  error
}

func (f *failingReader) ReadAt(p []byte, offset int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, offset)
}

func walkReader(r io.ReaderAt, size int64) error {
	im, err := erofs.Open(r, size)
	if err != nil {
		return err
	}
	return im.Walk(func(string, erofs.NID, *erofs.Inode) error { return nil })
}

func TestWriterEndsAt16GiB(t *testing.T) {
	var f discard
	w := erofs.NewWriter(&f, erofs.Options{})
	n := &erofs.Inode{Mode: unix.S_IFREG, Data: make([]byte, erofs.MaxData)}
	for range 16<<30/erofs.MaxData - 1 {
		if _, err := w.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Add(n); err == nil {
		t.Errorf("no error above 16 GiB; the file has %d bytes", f.size)
	}
	if f.size > 16<<30 {
		t.Errorf("the file has %d bytes", f.size)
	}
}

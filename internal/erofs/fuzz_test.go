package erofs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// seal gives an image the checksum that it should have, so that changes to it come past that.
func seal(image []byte) []byte {
	if len(image) < 4096 {
		return image
	}
	image = bytes.Clone(image)
	binary.LittleEndian.PutUint32(image[1028:], 0)
	sum := ^crc32.Checksum(image[1024:4096], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(image[1028:], sum)
	return image
}

// readAll does with an image all that the reader can. It returns how many entries there were.
func readAll(image []byte) (int, error) {
	im, err := erofs.Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		return 0, err
	}
	entries := 0
	err = im.Walk(func(path string, nid erofs.NID, in *erofs.Inode) error {
		entries++
		if entries < 20 { // each is a walk of its own
			if _, err := im.Lookup(path); err != nil {
				return err
			}
		}
		if in.Mode&unix.S_IFMT != unix.S_IFREG || in.Redirect != "" {
			return nil
		}
		r, err := im.Contents(nid)
		if errors.Is(err, erofs.ErrCompressed) {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = io.CopyN(io.Discard, r, 1<<16)
		if err == io.EOF {
			return nil
		}
		return err
	})
	return entries, err
}

// bases returns the images that FuzzReader changes: each kind of the writer's and of mkfs.erofs.
func bases(f *testing.F) [][]byte {
	var kinds, random buffer
	if err := writeKinds(&kinds); err != nil {
		f.Fatal(err)
	}
	grow(f, &random, 2, 12)
	list := [][]byte{kinds.b, random.b}
	foreign, err := filepath.Glob("testdata/*.erofs")
	if err != nil || len(foreign) == 0 {
		f.Fatalf("images of mkfs.erofs in testdata: %q, %v", foreign, err)
	}
	for _, path := range foreign {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// edit changes an image: each 7 bytes of edits are an offset, how many bytes to write and these,
// or where to copy 64 bytes from.
func edit(image, edits []byte) []byte {
	image = bytes.Clone(image)
	for ; len(edits) >= 7; edits = edits[7:] {
		offset := (int(edits[0]) | int(edits[1])<<8) % len(image)
		value := edits[3:7]
		switch width := edits[2] % 6; width {
		case 5:
			from := int(binary.LittleEndian.Uint32(value)) % len(image)
			copy(image[offset:], bytes.Clone(image[from:min(from+64, len(image))]))
		default:
			copy(image[offset:], value[:width])
		}
	}
	return image
}

// FuzzReader looks for images that make the reader panic, hang, or see more than there can be.
// Whole images as input would be too long to mutate well: the input is an image's number and
// what to change in it.
func FuzzReader(f *testing.F) {
	list := bases(f)
	for i, b := range list {
		if n, err := readAll(b); err != nil || n == 0 {
			f.Fatalf("image %d: %d entries, %v", i, n, err)
		}
		f.Add(byte(i), []byte{})
		for offset := 1152; offset < 1152+64; offset += 4 { // the root, in the writer's
			f.Add(byte(i), []byte{byte(offset), byte(offset >> 8), 4, 0xff, 0xff, 0xff, 0x7f})
		}
	}
	f.Fuzz(func(t *testing.T, base byte, edits []byte) {
		image := seal(edit(list[int(base)%len(list)], edits))
		entries, err := readAll(image)
		if most := 1 + len(image)/13; entries > most {
			t.Errorf("%d entries in %d bytes, %v", entries, len(image), err)
		}
	})
}

// Each byte of an image, changed, may make it unreadable or another image, but no worse.
func TestReaderBearsAnyByteChanged(t *testing.T) {
	var b buffer
	if err := writeKinds(&b); err != nil {
		t.Fatal(err)
	}
	readable := 0
	for i := superStart; i < len(b.b); i++ {
		old := b.b[i]
		for _, v := range []byte{0xff, old + 1} {
			b.b[i] = v
			if _, err := readAll(seal(b.b)); err == nil {
				readable++
			}
		}
		b.b[i] = old
	}
	t.Logf("%d of %d changed images are readable", readable, 2*len(b.b))
}

const superStart = 1024

// writeKinds writes a small image with an inode of each kind.
func writeKinds(f io.WriterAt) error {
	w := erofs.NewWriter(f, erofs.Options{})
	xattrs := []erofs.Xattr{{Name: "user.a", Value: []byte("b")}, {Name: "trusted.c"}}
	root := directory(erofs.Entry{Name: "sub", Type: unix.S_IFDIR, Dir: directory()})
	for i, in := range []erofs.Inode{
		{Mode: unix.S_IFREG | 0o644, Data: []byte("some data"), Xattrs: xattrs},
		{Mode: unix.S_IFREG | 0o644, Size: 5000, Redirect: "/0/123", Xattrs: xattrs},
		{Mode: unix.S_IFREG | 0o644, Data: make([]byte, 4100)},
		{Mode: unix.S_IFLNK | 0o777, Data: []byte("target")},
		{Mode: unix.S_IFCHR | 0o600, Rdev: unix.Mkdev(5, 300)},
		{Mode: unix.S_IFIFO | 0o600},
	} {
		nid, err := w.Add(&in)
		if err != nil {
			return err
		}
		for _, name := range []string{"a", "-"} {
			name += string(rune('a' + i))
			root.Entries = append(root.Entries, erofs.Entry{Name: name, NID: nid, Type: in.Mode & unix.S_IFMT})
		}
	}
	_, err := w.Finish(root)
	return err
}

// Without its last byte, or with another byte in block 0, an image is refused.
func TestOpenRefusesWhatIsNotWhole(t *testing.T) {
	var b buffer
	grow(t, &b, 3, 40)
	for _, size := range []int{0, 1, 1024, 1152, 4095, 4096, len(b.b) - 4096, len(b.b) - 1} {
		if _, err := erofs.Open(bytes.NewReader(b.b[:size]), int64(size)); err == nil {
			t.Errorf("the first %d of %d bytes open", size, len(b.b))
		}
	}
	if _, err := erofs.Open(bytes.NewReader(b.b[:5000]), int64(len(b.b))); err != nil {
		t.Errorf("block 0 and the size is all that Open needs: %v", err)
	}
	for i := 1024; i < 4096; i += 7 {
		b.b[i] ^= 1
		if _, err := erofs.Open(bytes.NewReader(b.b), int64(len(b.b))); err == nil {
			t.Errorf("opens with byte %d changed", i)
		}
		b.b[i] ^= 1
	}
}

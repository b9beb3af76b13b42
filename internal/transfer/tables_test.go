package transfer_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A tabled is a layer with a table of contents, made of a tar stream as containers/storage and
// stargz-snapshotter make theirs.
type tabled struct {
	out    bytes.Buffer
	plain  bytes.Buffer // what all of it unpacks to
	items  []map[string]any
	change func(map[string]any) // to lie
	notes  map[string]string

	part     io.WriteCloser
	from     int // of the part, in out
	fromText int // and in plain
	open     func(io.Writer) io.WriteCloser
}

// cut ends a part.
func (b *tabled) cut(t testing.TB) {
	t.Helper()
	if b.part != nil {
		if err := b.part.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b.part, b.from, b.fromText = b.open(&b.out), b.out.Len(), b.plain.Len()
}

func (b *tabled) write(t testing.TB, p []byte) {
	t.Helper()
	b.plain.Write(p)
	if _, err := b.part.Write(p); err != nil {
		t.Fatal(err)
	}
}

// entries goes through a tar stream; contents writes those of a file.
func (b *tabled) entries(t testing.TB, stream []byte, contents func(item map[string]any, data []byte)) {
	t.Helper()
	r := bytes.NewReader(stream)
	at := func() int { return len(stream) - r.Len() }
	archive := tar.NewReader(r)
	for done := 0; ; {
		h, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		b.write(t, stream[done:at()])
		item := itemOf(h)
		b.items = append(b.items, item)
		if h.Typeflag == tar.TypeReg && h.Size > 0 {
			data := stream[at() : at()+int(h.Size)]
			item["size"], item["digest"] = h.Size, digest.FromBytes(data)
			contents(item, data)
		}
		done = at()
		if h.Typeflag == tar.TypeReg {
			done += int(h.Size)
		}
	}
}

func itemOf(h *tar.Header) map[string]any {
	kinds := map[byte]string{
		tar.TypeReg: "reg", tar.TypeDir: "dir", tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink",
		tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo",
	}
	x := map[string][]byte{}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			x[name] = []byte(v)
		}
	}
	return map[string]any{
		"type": kinds[h.Typeflag], "name": h.Name, "linkName": h.Linkname, "mode": h.Mode, "uid": h.Uid, "gid": h.Gid,
		"modtime": h.ModTime.Format(time.RFC3339Nano), "devMajor": h.Devmajor, "devMinor": h.Devminor, "xattrs": x,
	}
}

func (b *tabled) table(t testing.TB) []byte {
	t.Helper()
	for _, i := range b.items {
		if b.change != nil {
			b.change(i)
		}
	}
	text, err := json.Marshal(map[string]any{"version": 1, "entries": b.items, "tarSplitDigest": "sha256:00"})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// chunkedLayer has one frame for each file, and its table in a skippable one.
func chunkedLayer(t testing.TB, stream []byte, change func(map[string]any)) *tabled {
	t.Helper()
	b := &tabled{change: change, open: func(w io.Writer) io.WriteCloser {
		z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) // the options are good
		return z
	}}
	b.cut(t)
	b.entries(t, stream, func(item map[string]any, data []byte) {
		b.cut(t)
		item["offset"] = b.from
		half := len(data) / 2
		if len(data) > 100_000 { // in two chunks
			b.write(t, data[:half])
			b.cut(t)
			b.items = append(b.items, map[string]any{"type": "chunk", "name": item["name"], "offset": b.from, "chunkOffset": half})
			data = data[half:]
		}
		b.write(t, data)
		b.cut(t)
		item["endOffset"] = b.from
	})
	b.write(t, stream[b.plain.Len():])
	b.cut(t)
	text := b.table(t)
	var packed bytes.Buffer
	z := b.open(&packed)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	skip := func(data []byte) {
		b.out.Write([]byte{0x50, 0x2a, 0x4d, 0x18})
		b.out.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(data))))
		b.out.Write(data)
	}
	const prefix = "io.github.containers.zstd-chunked.manifest-"
	b.notes = map[string]string{
		prefix + "checksum": string(digest.FromBytes(packed.Bytes())),
		prefix + "position": fmt.Sprintf("%d:%d:%d:1", b.out.Len()+8, packed.Len(), len(text)),
	}
	skip(packed.Bytes())
	skip(make([]byte, 64)) // the footer, which nobody reads
	return b
}

// stargzLayer has a member for each file and each 50,000 bytes of one; files share members that are
// shorter than least.
func stargzLayer(t testing.TB, stream []byte, least int, change func(map[string]any)) *tabled {
	t.Helper()
	b := &tabled{change: change, open: func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }}
	b.cut(t)
	mark := tarOf(t, [2]string{".no.prefetch.landmark", "\x0f"})
	stream = append(mark[:1024:1024], stream...)
	b.entries(t, stream, func(item map[string]any, data []byte) {
		for at := 0; at < len(data); at += 50_000 {
			if b.plain.Len()-b.fromText >= least {
				b.cut(t)
			}
			part := data[at:min(at+50_000, len(data))]
			if at > 0 {
				item = map[string]any{"type": "chunk", "name": item["name"]}
				b.items = append(b.items, item)
			}
			item["offset"], item["innerOffset"] = b.from, b.plain.Len()-b.fromText
			item["chunkOffset"], item["chunkDigest"] = at, digest.FromBytes(part)
			b.write(t, part)
		}
	})
	for _, i := range b.items {
		when, err := time.Parse(time.RFC3339Nano, fmt.Sprint(i["modtime"]))
		if delete(i, "modtime"); err == nil && when.Unix() != 0 {
			i["modtime"] = when.UTC().Format(time.RFC3339)
		}
	}
	b.write(t, make([]byte, -b.plain.Len()&511))
	b.cut(t)
	at := b.out.Len()
	text := b.table(t)
	b.notes = map[string]string{"containerd.io/snapshot/stargz/toc.digest": string(digest.FromBytes(text))}
	b.write(t, tarOf(t, [2]string{"stargz.index.json", string(text)}))
	if err := b.part.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b.out, "\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x1a\x00SG\x16\x00%016xSTARGZ\x01\x00\x00\xff\xff", at)
	b.out.Write(make([]byte, 8))
	return b
}

// tabledImage adds an image of such layers to a place.
func (p *place) tabledImage(t *testing.T, name string, layers ...*tabled) v1.Descriptor {
	t.Helper()
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest}
	m.SchemaVersion = 2
	var config v1.Image
	for _, l := range layers {
		d := p.add(v1.MediaTypeImageLayerGzip, l.out.Bytes())
		d.Annotations = l.notes
		m.Layers = append(m.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l.plain.Bytes()))
	}
	m.Config = p.document(t, v1.MediaTypeImageConfig, config)
	d := p.document(t, m.MediaType, m)
	p.named[name] = d
	return d
}

// noise is bytes that do not compress.
func noise(seed string, size int) string {
	var b []byte
	for n := 0; len(b) < size; n++ {
		sum := sha256.Sum256([]byte(fmt.Sprint(seed, n)))
		b = append(b, sum[:]...)
	}
	return string(b[:size])
}

// everything is a tar stream with one of each thing, and files that are alike in all of them but for
// the one named changed.
func everything(t testing.TB, changed string, nsec int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, data string) {
		h.Size = int64(len(data))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1_700_000_000, int64(nsec))
		}
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o751, Uid: 3, Gid: 4}, "")
	add(tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o1777, ModTime: time.Unix(0, 0)}, "")
	for n := range 40 {
		name := fmt.Sprint("file", n)
		text := noise(name, 3000+n*n*40)
		if name == changed {
			text = noise("changed", len(text)+1)
		}
		add(tar.Header{Typeflag: tar.TypeReg, Name: path.Join("bin", name), Mode: 0o4755, Uid: 1 << 20}, text)
	}
	for n := range 20 {
		name := fmt.Sprint("small", n)
		add(tar.Header{Typeflag: tar.TypeReg, Name: name, Gid: 65534}, strings.Repeat(name, n*20))
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "twin"}, noise("file1", 3040))
	add(tar.Header{Typeflag: tar.TypeReg, Name: "huge"}, noise("huge", 1_500_000))
	add(tar.Header{Typeflag: tar.TypeReg, Name: "caps", PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"SCHILY.xattr.user.x":              "y", "SCHILY.xattr.trusted.overlay.opaque": "y",
	}}, "caps")
	add(tar.Header{Typeflag: tar.TypeLink, Name: "bin/hard", Linkname: "bin/file7"}, "")
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/soft", Linkname: "../caf\u00e9"}, "")
	add(tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}, "")
	add(tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 259, Devminor: 70000}, "")
	add(tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", ModTime: time.Unix(-5, 0)}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/.wh.gone"}, "")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

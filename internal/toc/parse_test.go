package toc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

const sum = `"digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"`

func table(entries ...string) string {
	return `{"version":1,"entries":[` + strings.Join(entries, ",") + `]}`
}

func TestFilesEndWhereTheNextBegin(t *testing.T) {
	file := func(name string, size, from, rest string) string {
		return `{"type":"reg","name":"` + name + `","size":` + size + `,` + sum + `,"offset":` + from + rest + `}`
	}
	stargz := table(
		file(".no.prefetch.landmark", "1", "0", `,"innerOffset":512`),
		file("a", "10", "0", `,"innerOffset":1024`),
		file("b", "10", "0", `,"innerOffset":2048`), `{"type":"dir","name":"d"}`,
		file("c", "90", "100", ""), `{"type":"chunk","name":"c","offset":200}`, `{"type":"chunk","name":"c","offset":300}`,
		file("e", "5", "300", `,"innerOffset":700`),
		file("f", "5", "400", ""), `{"type":"reg","name":"empty"}`,
	)
	chunked := table(
		file("a", "10", "100", `,"endOffset":150`),
		file("b", "10", "150", `,"endOffset":300`), `{"type":"chunk","name":"b","offset":200,"chunkOffset":5}`,
		file("c", "10", "350", `,"endOffset":400`),
	)
	for _, c := range []struct {
		format Format
		text   string
		want   string
	}{
		{EStargz, stargz, "a 0-100+1024 b 0-100+2048 d 0-0+0 c 100-400+0 e 300-400+700 f 400-1000+0 empty 0-0+0 "},
		{ZstdChunked, chunked, "a 100-150+0 b 150-300+0 c 350-400+0 "},
	} {
		got, err := parse(strings.NewReader(c.text), c.format, 1000)
		if err != nil {
			t.Fatalf("%s: %v", c.format, err)
		}
		var s strings.Builder
		for _, e := range got.Entries {
			fmt.Fprintf(&s, "%s %d-%d+%d ", e.Path, e.From, e.To, e.Inner)
		}
		if s.String() != c.want {
			t.Errorf("%s: %s\nwant %s", c.format, s.String(), c.want)
		}
	}
}

func TestMetadataIsWhatTarHas(t *testing.T) {
	got, err := parse(strings.NewReader(table(
		`{"type":"char","name":"n","mode":33206,"uid":4294967294,"gid":7,"modtime":"1969-12-31T23:59:55.5+02:00","devMajor":259,"devMinor":70000,"xattrs":{"user.x":"AP8="}}`,
		`{"type":"symlink","name":"s","linkName":"../\u00e9"}`, `{"type":"hardlink","name":"h","linkName":"n"}`,
	)), ZstdChunked, 1000)
	if err != nil {
		t.Fatal(err)
	}
	in := got.Entries[0].Inode
	if in.Mode != unix.S_IFCHR|0o666 || in.UID != 1<<32-2 || in.GID != 7 || in.Mtime != -7205 || in.MtimeNsec != 500_000_000 ||
		in.Rdev != unix.Mkdev(259, 70000) || len(in.Xattrs) != 1 || string(in.Xattrs[0].Value) != "\x00\xff" {
		t.Errorf("device: %+v", in)
	}
	if in := got.Entries[1].Inode; string(in.Data) != "../é" || in.Size != 5 || in.Mode != unix.S_IFLNK {
		t.Errorf("symbolic link: %+v", in)
	}
	if e := got.Entries[2]; e.Link != "n" || e.HasContents() {
		t.Errorf("hard link: %+v", e)
	}
}

func TestHostileTablesAreRefused(t *testing.T) {
	reg := func(fields string) string { return table(`{"type":"reg","name":"a",` + fields + `}`) }
	good := `{"type":"reg","name":"a","size":9,` + sum + `,"offset":100,"endOffset":200}`
	for name, text := range map[string]string{
		"empty":              ``,
		"no object":          `[]`,
		"cut off":            table(good)[:60],
		"other version":      `{"version":2,"entries":[]}`,
		"no entries":         `{"version":1}`,
		"entries twice":      `{"version":1,"entries":[],"entries":[]}`,
		"unknown type":       table(`{"type":"socket","name":"a"}`),
		"size below zero":    reg(`"size":-1,` + sum + `,"offset":1,"endOffset":2`),
		"absurd size":        reg(`"size":9223372036854775807,` + sum + `,"offset":1,"endOffset":2`),
		"size too large":     reg(`"size":99999999999999999999,` + sum + `,"offset":1,"endOffset":2`),
		"no digest":          reg(`"size":9,"offset":1,"endOffset":2`),
		"short digest":       reg(`"size":9,"digest":"sha256:00","offset":1,"endOffset":2`),
		"sha512":             reg(`"size":9,"digest":"sha512:` + strings.Repeat("0", 128) + `","offset":1,"endOffset":2`),
		"offset below zero":  reg(`"size":9,` + sum + `,"offset":-1,"endOffset":2`),
		"no offset":          reg(`"size":9,` + sum),
		"beyond the table":   reg(`"size":9,` + sum + `,"offset":999,"endOffset":1001`),
		"ends before":        reg(`"size":9,` + sum + `,"offset":9,"endOffset":8`),
		"overlap":            table(good, strings.ReplaceAll(good, ":100", ":150")),
		"backwards":          table(good, strings.NewReplacer(":100", ":10", ":200", ":20").Replace(good)),
		"owner":              table(`{"type":"dir","name":"a","uid":4294967295}`),
		"group below zero":   table(`{"type":"dir","name":"a","gid":-1}`),
		"link to nothing":    table(`{"type":"symlink","name":"a"}`),
		"hard to nothing":    table(`{"type":"hardlink","name":"a"}`),
		"long link":          table(`{"type":"symlink","name":"a","linkName":"` + strings.Repeat("a", 4096) + `"}`),
		"device":             table(`{"type":"char","name":"a","devMajor":4096}`),
		"time":               table(`{"type":"dir","name":"a","modtime":"yesterday"}`),
		"attribute":          table(`{"type":"dir","name":"a","xattrs":{"user.a":"!"}}`),
		"bytes that are not": table("{\"type\":\"dir\",\"name\":\"a\xff\"}"),
		"chunk first":        table(`{"type":"chunk","name":"a","offset":1}`),
		"chunk of another":   table(good, `{"type":"chunk","name":"b","offset":1}`),
	} {
		if got, err := parse(strings.NewReader(text), ZstdChunked, 1000); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, text := range map[string]string{
		"inner overlap":    table(good, strings.ReplaceAll(good, `"size"`, `"innerOffset":8,"size"`)),
		"inner below zero": reg(`"size":9,` + sum + `,"offset":1,"innerOffset":-1`),
		"beyond the table": reg(`"size":9,` + sum + `,"offset":1000`),
		"chunk backwards":  table(good, `{"type":"chunk","name":"a","offset":99}`),
		"chunk beyond":     table(good, `{"type":"chunk","name":"a","offset":1000}`),
		"digest of a part": table(strings.ReplaceAll(good, `"digest"`, `"chunkDigest"`), `{"type":"chunk","name":"a","offset":150}`),
	} {
		if got, err := parse(strings.NewReader(text), EStargz, 1000); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// FuzzParse holds any bytes to what Entry promises.
func FuzzParse(f *testing.F) {
	f.Add(table(`{"type":"reg","name":"a","size":9,`+sum+`,"offset":100,"endOffset":200}`, `{"type":"chunk","name":"a","offset":150}`), true)
	f.Add(table(`{"type":"reg","name":"a","size":9,`+sum+`,"offset":0,"innerOffset":7}`, `{"type":"reg","name":"b","size":1,`+sum+`,"offset":0,"innerOffset":16}`), false)
	f.Add(table(`{"type":"symlink","name":"a","linkName":"b","xattrs":{"a":"AA=="}}`), true)
	f.Fuzz(func(t *testing.T, text string, zstd bool) {
		format := EStargz
		if zstd {
			format = ZstdChunked
		}
		got, err := parse(strings.NewReader(text), format, 1000)
		if err != nil {
			return
		}
		from, inner := int64(-1), int64(0)
		for _, e := range got.Entries {
			if !e.HasContents() {
				if e.Inode.Mode&unix.S_IFMT == unix.S_IFREG && e.Inode.Size > 0 {
					t.Errorf("%+v has no contents", e)
				}
				continue
			}
			if e.From < from || e.From == from && e.Inner < inner || e.To <= e.From || e.To > 1000 || e.Inode.Size <= 0 || e.Inner < 0 {
				t.Errorf("%+v after byte %d+%d", e, from, inner)
			}
			from, inner = e.From, e.Inner+e.Inode.Size
		}
	})
}

// FuzzLoad reads any bytes as a layer with a table.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x1a\x00SG\x16\x000000000000000000STARGZ\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, blob []byte) {
		if at, err := parseFooter(blob); err == nil && at < 0 {
			t.Errorf("table at byte %d", at)
		}
		p := &Place{Format: EStargz, blob: int64(len(blob))}
		if _, err := p.parseStargz(strings.NewReader(string(blob)), 1000); err == nil {
			t.Error("a table without a digest")
		}
	})
}

func TestPositions(t *testing.T) {
	for _, at := range []string{
		"", "1:2:3", "1:2:3:1:5", "-1:2:3:1", "a:2:3:1", "1:2:3:2", "0:2:3:1", "1:0:3:1", "90:11:3:1", "101:1:1:1",
		"1:99999999:3:1", "1:2:99999999:1", "9223372036854775807:2:3:1", "99999999999999999999:2:3:1",
	} {
		if got, err := find("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", at); !errors.Is(err, ErrUnusable) {
			t.Errorf("Find(%q) = %+v, %v", at, got, err)
		}
	}
	if got, err := find("sha256:00", "1:2:3:1"); !errors.Is(err, ErrUnusable) {
		t.Errorf("Find with a bad digest = %+v, %v", got, err)
	}
	if got, err := find("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "10:20:30:1"); err != nil || got == nil {
		t.Errorf("Find = %+v, %v", got, err)
	}
}

func find(sum, at string) (*Place, error) {
	return Find(v1.Descriptor{Size: 100, Annotations: map[string]string{chunkedOld + checksum: sum, chunkedOld + position: at}})
}

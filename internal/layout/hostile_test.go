package layout

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/reference"
)

// tarOf writes an archive of files; a text that begins with "->" is a link.
func tarOf(t testing.TB, files ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f[0], Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(f[1]))}
		if to, isLink := strings.CutPrefix(f[1], "->"); isLink && !strings.Contains(to, "\x00") {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, to, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, f[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeFile(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	goodIndex   = `{"schemaVersion":2,"manifests":[]}`
)

func TestHostileArchives(t *testing.T) {
	config := `{"rootfs":{"type":"layers","diff_ids":["` + emptyDigest + `"]}}`
	list := `[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l.tar"]}]`
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "has no images"},
		{"noise", bytes.Repeat([]byte("noise"), 1000), "invalid tar header"},
		{"neither", tarOf(t, [2]string{"x", "y"}), "neither index.json nor manifest.json"},
		{"no JSON", tarOf(t, [2]string{"index.json", "{"}), "index.json: unexpected end"},
		{"other version", tarOf(t, [2]string{"index.json", `{"schemaVersion":1}`}), "schema version 1"},
		{"large index", tarOf(t, [2]string{"index.json", strings.Repeat(" ", maxDocument+1)}), "want at most 4194304"},
		{"negative size", tarOf(t, [2]string{"index.json", `{"schemaVersion":2,"manifests":[{"digest":"` + emptyDigest + `","size":-1}]}`}), "of -1 bytes"},
		{"bad digest", tarOf(t, [2]string{"index.json", `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../etc/passwd"}]}`}), "invalid digest"},
		{"twice", tarOf(t, [2]string{"index.json", goodIndex}, [2]string{"./index.json", goodIndex}), "is there twice"},
		{"link out", tarOf(t, [2]string{"index.json", "->/etc/passwd"}), "has no images"},
		{"link loop", tarOf(t, [2]string{"index.json", "->a"}, [2]string{"a", "->index.json"}), "too many links"},
		{"truncated", tarOf(t, [2]string{"index.json", goodIndex}, [2]string{"blob", strings.Repeat("x", 5000)})[:3000], "unexpected EOF"},
		{"gzip", gzipped(t, tarOf(t, [2]string{"index.json", goodIndex})), "is compressed as a whole, with gzip"},
		{"no config", tarOf(t, [2]string{"manifest.json", list}), "open c.json: file does not exist"},
		{"no layer", tarOf(t, [2]string{"manifest.json", list}, [2]string{"c.json", config}), "open l.tar: file does not exist"},
		{"layer count", tarOf(t, [2]string{"manifest.json", list}, [2]string{"c.json", `{}`}), "1 layers, and 0 in its config"},
		{"layer id", tarOf(t, [2]string{"manifest.json", list}, [2]string{"l.tar", "x"}, [2]string{"c.json", strings.ReplaceAll(config, "sha256:", "")}), "invalid digest"},
		{"path to the terminal", tarOf(t, [2]string{"manifest.json", `[{"Config":"\u001b[2J"}]`}), `path "\x1b[2J" is not printable`},
		{"path out", tarOf(t, [2]string{"manifest.json", `[{"Config":"../../../etc/passwd"}]`}), "open etc/passwd: file does not exist"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := Open(writeFile(t, test.file))
			if err == nil {
				r.Close()
			}
			wantError(t, err, "read /", test.want)
		})
	}
}

func TestHostileDirs(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(goodIndex), 0o600); err != nil {
		t.Fatal(err)
	}
	link, fifo := t.TempDir(), t.TempDir()
	if err := os.Symlink(secret, filepath.Join(link, "index.json")); err != nil {
		t.Fatal(err)
	}
	_, err := Open(link)
	wantError(t, err, "escapes")
	if err := unix.Mkfifo(filepath.Join(fifo, "index.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(fifo)
	wantError(t, err, "not a regular file")
}

func TestWrongBlobs(t *testing.T) {
	path := t.TempDir()
	d := createDir(t, path)
	s := newSample(t, "1")
	s.write(t, d, "x")
	name := filepath.Join(path, "blobs/sha256", s.image.Digest.Encoded())
	if err := os.WriteFile(name, bytes.Replace(s.manifest, []byte("2"), []byte("3"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := d.Manifest(t.Context(), s.image)
	wantError(t, err, "manifest "+string(s.image.Digest), "has the digest sha256:")
	blob := s.list[1]
	if err := os.Truncate(filepath.Join(path, "blobs/sha256", blob.Digest.Encoded()), 5); err != nil {
		t.Fatal(err)
	}
	_, err = d.Open(t.Context(), blob, 0)
	wantError(t, err, "5 bytes, want")
	if has, err := d.Has(t.Context(), blob); has || err != nil {
		t.Errorf("Has of a truncated blob = %v, %v", has, err)
	}
	_, err = d.Open(t.Context(), v1.Descriptor{Digest: "sha256:../../x", Size: 1}, 0)
	wantError(t, err, "invalid digest")
	_, err = d.Open(t.Context(), describe("x", []byte("nowhere")), 0)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	_, err = d.Open(t.Context(), s.list[0], s.list[0].Size+1)
	wantError(t, err, "from "+fmt.Sprint(s.list[0].Size+1)+" on")
}

// TestOldDocker reads what docker save wrote before version 25: layers in directories,
// of which equal ones are links.
func TestOldDocker(t *testing.T) {
	one := string(layerOf(t, "1"))
	two := string(gzipped(t, layerOf(t, "2")))
	config := `{"rootfs":{"type":"layers","diff_ids":["` + string(digest.FromString(one)) + `","` + string(digest.FromBytes(layerOf(t, "2"))) + `","` + string(digest.FromString(one)) + `"]}}`
	path := writeFile(t, tarOf(t,
		[2]string{"aa/layer.tar", one}, [2]string{"bb/layer.tar", two}, [2]string{"cc/layer.tar", "->../aa/layer.tar"}, [2]string{"c.json", config},
		[2]string{"manifest.json", `[{"Config":"c.json","RepoTags":["old:1","registry.io/old:2"],"Layers":["aa/layer.tar","bb/layer.tar","cc/layer.tar"]}]`},
		[2]string{"repositories", "{}"}))
	r := open(t, path)
	for _, name := range []string{"old:1", "docker.io/library/old:1", "registry.io/old:2", ""} {
		if _, err := r.Resolve(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	s := sample{blobs: map[digest.Digest][]byte{}}
	s.list = []v1.Descriptor{describe("", []byte(config)), describe("", []byte(one)), describe("", []byte(two)), describe("", []byte(one))}
	for n, text := range []string{config, one, two} {
		s.blobs[s.list[n].Digest] = []byte(text)
	}
	s.checkBlobs(t, r, s.list)
	sameFiles(t, s, r, "old:1")
	// Made manifests are the same each time.
	a, _ := r.Resolve(t.Context(), "")
	b, _ := open(t, path).Resolve(t.Context(), "")
	if a.Digest != b.Digest {
		t.Errorf("one archive, two manifests: %s and %s", a.Digest, b.Digest)
	}
}

func TestSpool(t *testing.T) {
	s := newSample(t, "1", "2")
	path := s.writeArchive(t, reference.DockerArchive, "x:1")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(writeFile(t, gzipped(t, raw)))
	if !errors.Is(err, ErrCompressed) {
		t.Errorf("%v is not ErrCompressed", err)
	}
	for _, stream := range [][]byte{raw, gzipped(t, raw)} {
		dir := t.TempDir()
		r, err := Spool(bytes.NewReader(stream), dir)
		if err != nil {
			t.Fatal(err)
		}
		s.check(t, r, "x:1")
		r.Close()
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	_, err = Spool(bytes.NewReader(gzipped(t, raw)[:500]), t.TempDir())
	wantError(t, err, "unexpected EOF")
	_, err = Spool(strings.NewReader("x"), "/nowhere")
	wantError(t, err, "/nowhere")
}

func FuzzArchive(f *testing.F) {
	config := `{"rootfs":{"type":"layers","diff_ids":["` + emptyDigest + `"]}}`
	f.Add(tarOf(f, [2]string{"index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"` + emptyDigest + `","size":3,"annotations":{"org.opencontainers.image.ref.name":"a"}}]}`}, [2]string{"blobs/sha256/" + emptyDigest[7:], "abc"}))
	f.Add(tarOf(f, [2]string{"manifest.json", `[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l.tar"]}]`}, [2]string{"c.json", config}, [2]string{"l.tar", "->m"}, [2]string{"m", "abc"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Open(writeFile(t, b))
		if err != nil {
			return
		}
		defer r.Close()
		for _, e := range r.List() {
			text, err := r.Manifest(t.Context(), e.Descriptor)
			if err == nil && digest.FromBytes(text) != e.Digest {
				t.Errorf("manifest %s has another digest", e.Digest)
			}
			got, err := read(t, r, e.Descriptor, 0)
			if err == nil && int64(len(got)) != e.Size {
				t.Errorf("%d bytes of a blob of %d", len(got), e.Size)
			}
		}
	})
}

// FuzzManifestList reads a list and a config of docker's.
func FuzzManifestList(f *testing.F) {
	f.Add([]byte(`[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l.tar"]}]`), []byte(`{"rootfs":{"type":"layers","diff_ids":["`+emptyDigest+`"]}}`))
	f.Add([]byte(`[{"Config":"c.json","RepoTags":null,"Layers":[]},{"Config":"l.tar"}]`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, list, config []byte) {
		r, err := Open(writeFile(t, tarOf(t, [2]string{"manifest.json", string(list)}, [2]string{"c.json", string(config)}, [2]string{"l.tar", "layer"})))
		if err != nil {
			return
		}
		defer r.Close()
		for _, e := range r.List() {
			if _, err := r.Manifest(t.Context(), e.Descriptor); err != nil {
				t.Errorf("manifest of our own: %v", err)
			}
		}
	})
}

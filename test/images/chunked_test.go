package images

import (
	"archive/tar"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"tare.dev/tare/test/distribution"
)

// TestAnUpdateByPodmanFetchesOnlyItsFiles pulls Debian's programs, which podman has pushed as zstd:chunked, and then
// their next release, in which two files are others: what crosses the network is little more than these.
func TestAnUpdateByPodmanFetchesOnlyItsFiles(t *testing.T) {
	archive, dir := debian(t), t.TempDir()
	this, next := filepath.Join(dir, "this.tar"), filepath.Join(dir, "next.tar")
	programs(t, archive, this, "")
	changed := programs(t, archive, next, "the next release")
	r := distribution.Start(t, distribution.V2, distribution.Config{})
	p := newPodman(t)
	p.push(this, r.Host+"/debian:1")
	p.push(next, r.Host+"/debian:2")
	host, passed := counted(t, r.Host)

	// fetch pulls a tag, and returns the bytes that the registry has sent for it.
	fetch := func(d *device, tag string) int64 {
		before := passed.Load()
		var told struct{ FetchedBytes int64 }
		if err := json.Unmarshal([]byte(d.must("pull", "--json", host+"/debian:"+tag)), &told); err != nil {
			t.Fatal(err)
		}
		sent := passed.Load() - before
		// The manifest comes on top of what is told.
		if told.FetchedBytes < sent-16<<10 || told.FetchedBytes > sent {
			t.Errorf("pull of %s tells of %d bytes, the registry has sent %d", tag, told.FetchedBytes, sent)
		}
		return sent
	}
	d, other := newDevice(t), newDevice(t)
	first := fetch(d, "1")
	update := fetch(d, "2")
	whole := fetch(other, "2")
	t.Logf("the first pull fetched %d bytes, the update %d, without the first it is %d; the changed files have %d bytes",
		first, update, whole, changed)
	// Files that have not changed stand between those that have, and the table lists all of them.
	if update > whole/10 {
		t.Errorf("the update fetched %d bytes of %d", update, whole)
	}
	if again := fetch(d, "2"); again > 16<<10 {
		t.Errorf("a pull of what is there fetched %d bytes", again)
	}
	d.must("store", "verify")
	d.must("rmi", host+"/debian:1")
	if got, want := d.tree(), other.tree(); got != want {
		t.Errorf("the update has the tree %s, a pull of the whole %s", got, want)
	}
	exported := filepath.Join(t.TempDir(), "exported.tar")
	d.must("export", "-o", exported, host+"/debian:2")
	same(t, "the update", snapshot(t, gnuTar(t, exported)), snapshot(t, gnuTar(t, next)))
}

// programs writes to a file what a tar stream has but the libraries and documents, which podman would take long to
// compress. With a tail, a program ends in it, and there is a file more; it returns the bytes of the two.
//
// It ends the stream as Go does. Podman 4.3 loses what stands behind the end, such as the padding of GNU tar, and
// the layer is then no longer the one that the config tells of, to nobody.
func programs(t *testing.T, from, to, tail string) (changed int64) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r, w := tar.NewReader(in), tar.NewWriter(out)
	put := func(h *tar.Header, data io.Reader) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, data); err != nil {
			t.Fatal(err)
		}
	}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(h.Name, "./usr/lib/"), strings.HasPrefix(h.Name, "./usr/share/"), strings.HasPrefix(h.Name, "./var/"):
		case tail != "" && h.Name == "./usr/bin/grep":
			h.Size += int64(len(tail))
			changed += h.Size
			put(h, io.MultiReader(r, strings.NewReader(tail)))
		default:
			put(h, r)
		}
	}
	if tail != "" {
		put(&tar.Header{Typeflag: tar.TypeReg, Name: "./new", Mode: 0o644, Size: int64(len(large))}, strings.NewReader(large))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return changed + int64(len(large))
}

// counted passes requests on to a registry, and counts the bytes of its answers.
func counted(t *testing.T, to string) (host string, passed *atomic.Int64) {
	t.Helper()
	passed = new(atomic.Int64)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	proxy.ModifyResponse = func(resp *http.Response) error {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(resp.Body, counter{passed}), resp.Body}
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), passed
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// A podman has a storage of its own.
type podman struct {
	t    *testing.T
	argv []string
}

func newPodman(t *testing.T) podman {
	t.Helper()
	path := needProgram(t, "podman")
	dir, err := os.MkdirTemp("", "tare-podman-") // short: podman takes at most 50 bytes for one of them
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return podman{t, []string{
		path, "--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp", "--storage-driver", "vfs",
		"--cgroup-manager", "cgroupfs", "--events-backend", "file",
	}}
}

// push makes an image of one layer, and pushes it with a table of contents.
func (p podman) push(archive, name string) {
	p.t.Helper()
	run(p.t, append(p.argv, "import", "--quiet", archive, name)...)
	run(p.t, append(p.argv, "push", "--quiet", "--tls-verify=false", "--format", "oci", "--compression-format", "zstd:chunked", name)...)
}

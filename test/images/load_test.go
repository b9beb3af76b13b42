package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// tree is the name and the digest of the tree of the one image of a device.
func (d *device) tree() string {
	d.t.Helper()
	found, err := filepath.Glob(filepath.Join(d.root, "store/images/*/tree*"))
	if err != nil || len(found) != 1 {
		d.t.Fatalf("trees: %q, %v", found, err)
	}
	return filepath.Base(filepath.Dir(found[0])) + " " + fileHash(d.t, found[0])
}

func TestLoadThroughAPipeIsTheSame(t *testing.T) {
	f := newForeign(t)
	f.list("v1", f.image(here(), f.layer(v1.MediaTypeImageLayer, tarOf(t, dir(".", 0o700))),
		f.layer(v1.MediaTypeImageLayerGzip, tarOf(t, lower(t)...)), f.layer(v1.MediaTypeImageLayerZstd, tarOf(t, upper(t)...))))
	direct := newDevice(t)
	direct.must("pull", "-q", "oci:"+f.dir+":v1")
	want := direct.tree()

	work := t.TempDir()
	archive := filepath.Join(work, "a.tar")
	direct.must("copy", "-q", "oci:"+f.dir+":v1", "oci-archive:"+archive+":v1")
	// The layers stand in another order, and the lists first: GNU tar sorts by name.
	run(t, needProgram(t, "tar"), "--sort=name", "-C", f.dir, "-cf", filepath.Join(work, "sorted.tar"), ".")
	run(t, "tar", "-C", f.dir, "-cf", filepath.Join(work, "lists-first.tar"), "index.json", "oci-layout", "blobs")
	run(t, "tar", "-C", f.dir, "-czf", filepath.Join(work, "whole.tar.gz"), "blobs", "index.json", "oci-layout")
	for _, name := range []string{"a.tar", "sorted.tar", "lists-first.tar", "whole.tar.gz"} {
		d := newDevice(t)
		if got := d.piped(filepath.Join(work, name), "load", "-q"); !strings.HasPrefix(got, "Loaded image ID: sha256:") {
			t.Errorf("load <%s printed %q", name, got)
		}
		if got := d.tree(); got != want {
			t.Errorf("load <%s made %s, want %s", name, got, want)
		}
		d = newDevice(t)
		d.must("load", "-q", "-i", filepath.Join(work, name))
		if got := d.tree(); got != want {
			t.Errorf("load -i %s made %s, want %s", name, got, want)
		}
	}
}

func TestADebianThroughAPipeTakesLittleMemory(t *testing.T) {
	archive := debian(t)
	d := newDevice(t)
	d.must("import", "-q", archive, "debian:test")
	saved := filepath.Join(t.TempDir(), "saved.tar")
	d.must("save", "-q", "-o", saved, "debian:test")
	back := newDevice(t)
	back.piped(saved, "load", "-q")
	back.checkPeak()
	d.checkPeak()
}

func TestErrorsAreOneLineAndLeaveNothing(t *testing.T) {
	f := small(t)
	d := newDevice(t)
	d.must("pull", "-q", "oci:"+f.dir+":small")
	name := "localhost/" + filepath.Base(f.dir) + ":small"
	work := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(work, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	short := write("short.tar", "no archive")
	good := filepath.Join(work, "good.tar")
	d.must("save", "-q", "-o", good, name)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	cut := write("cut.tar", string(text[:len(text)/2]))
	bad := write("bad.tar", strings.Replace(string(text), "more than stands in the tree", "MORE than stands in the tree", 1))
	entries := func() int {
		all, err := os.ReadDir(work)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := entries()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"push", "no/such:image"}, "no such image"},
		{[]string{"push", name, "127.0.0.1:1/x:y"}, "127.0.0.1:1"},
		{[]string{"push", name, "a/b@sha256:" + strings.Repeat("0", 64)}, "named by its digest"},
		{[]string{"push", "--compress", "xz", name}, "want gzip, zstd or none"},
		{[]string{"save", "--compress", "zstd", "-o", work + "/x.tar", name}, "oci-archive:FILE"},
		{[]string{"push", name, "oci:" + work}, "is no image layout, and not empty"},
		{[]string{"save", "-o", work + "/none/x.tar", name}, "no such file or directory"},
		{[]string{"save", "-o", work + "/x.tar", name, "no/such:image"}, "no such image"},
		{[]string{"export", "-o", work + "/none/x.tar", name}, "no such file or directory"},
		{[]string{"load", "-i", work + "/none.tar"}, "no such file or directory"},
		{[]string{"load", "-i", short}, "short.tar"},
		{[]string{"load", "-i", cut}, "unexpected EOF"},
		{[]string{"load", "-i", bad}, "digest"},
		{[]string{"import", short}, "tar"},
		{[]string{"import", "-c", "RUN x", good}, "RUN is not one of"},
		{[]string{"import", "-c", "ENV A='b", good}, "is not closed"},
		{[]string{"import", good, "Not/Lower"}, "must be lower case"},
		{[]string{"copy", "oci:" + f.dir + ":none", "oci:" + work + "/new"}, "not one of its images"},
		{[]string{"copy", "oci-archive:" + short, "oci-archive:" + work + "/x.tar"}, "short.tar"},
		{[]string{"inspect", "none"}, "no such image"},
		{[]string{"history", "none"}, "no such image"},
	} {
		got := d.do(test.args...)
		lines := strings.Split(strings.TrimSuffix(got.err, "\n"), "\n")
		line := lines[len(lines)-1]
		for _, note := range lines[:len(lines)-1] {
			if !strings.HasPrefix(note, "127.0.0.1:1: ") { // what is waited for
				t.Errorf("tare %q printed %q", test.args, note)
			}
		}
		if got.code != 1 || !strings.Contains(line, test.want) || !strings.HasPrefix(line, "tare: ") {
			t.Errorf("tare %q: exit status %d, %q, want 1 and one line with %q", test.args, got.code, got.err, test.want)
		}
	}
	os.RemoveAll(filepath.Join(work, "new")) // an empty layout is no harm
	if after := entries(); after != before {
		t.Errorf("%d files were left", after-before)
	}
	in, err := os.Open(bad)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer w.Close()
		_, _ = w.ReadFrom(in) // the command may end before
	}()
	if got := d.with(r, "load", "-q"); got.code != 1 || !strings.Contains(got.err, "digest") && !strings.Contains(got.err, "not in the archive") {
		t.Errorf("load of a changed archive through a pipe: exit status %d, %q", got.code, got.err)
	}
	if got := strings.Count(d.must("images", "-q"), "\n"); got != 0 {
		t.Errorf("there are %d images, want 1", got+1)
	}
}

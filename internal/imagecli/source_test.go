package imagecli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/reference"
)

func TestImagesFromFilesHaveNames(t *testing.T) {
	for _, test := range []struct {
		place string
		in    []string // names of the one image there
		want  string
	}{
		{"oci:/x/Some.Dir:v1", nil, "localhost/some:v1"},
		{"oci:/x/app", []string{"latest"}, "localhost/app:latest"},
		{"oci-archive:app.tar:example.org/a", nil, "example.org/a:latest"},
		{"docker-archive:saved.tar", []string{"foo/bar:2"}, "docker.io/foo/bar:2"},
		{"docker-archive:saved.tar:foo", []string{"foo:latest", "other:1"}, "docker.io/library/foo:latest"},
		{"docker-archive:saved.tar:@0", []string{"foo:latest"}, "localhost/saved:latest"},
		{"oci:/---", nil, ""},
	} {
		p, err := reference.ParsePlace(test.place)
		if err != nil {
			t.Fatal(err)
		}
		if got := localName(p, []layout.Entry{{Names: test.in}}); got != test.want {
			t.Errorf("localName(%s) = %q, want %q", test.place, got, test.want)
		}
	}
}

func TestCredentialsThatAreNamedMustBeThere(t *testing.T) {
	r := registries{authFile: filepath.Join(t.TempDir(), "none")}
	if _, err := r.access(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("access with an --authfile that is not there = %v, want %v", err, fs.ErrNotExist)
	}
}

func TestErrorsNameTheirFlag(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{text, text + "-none"} {
		r := registries{caFiles: []string{file}}
		if _, err := r.access(nil); err == nil || !strings.HasPrefix(err.Error(), "--ca: ") {
			t.Errorf("access with --ca %s = %v", file, err)
		}
	}
	want := `--platform "a/b/c/d": want OS/ARCH or OS/ARCH/VARIANT`
	if _, err := chooser("a/b/c/d"); err == nil || err.Error() != want {
		t.Errorf("chooser = %v, want %s", err, want)
	}
}

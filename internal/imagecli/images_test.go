package imagecli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/tree"
)

// commit adds an image without files.
func commit(t *testing.T, s *store.Store, author string) *store.Image {
	t.Helper()
	st, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := tree.NewBuilder(st.Tree(), tree.Limits{}).Finish(); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(v1.Image{Author: author})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(v1.Manifest{Config: v1.Descriptor{Digest: digest.FromBytes(config)}})
	if err != nil {
		t.Fatal(err)
	}
	i, err := st.Commit(digest.FromBytes(manifest), manifest, config, "localhost/"+author+":1")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestDamagedImageIsListed(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bad, good := commit(t, s, "bad"), commit(t, s, "good")
	path, err := bad.TreePath()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	all, err := s.Images()
	if err != nil {
		t.Fatal(err)
	}
	list := listImages(s, all)
	if len(list) != 2 || list[0].Digest != bad.Digest.String() || list[0].Damage == "" || list[1].Digest != good.Digest.String() || list[1].Damage != "" {
		t.Errorf("listImages = %+v, want the damaged one and the good one", list)
	}
}

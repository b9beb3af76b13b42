package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/order"
)

// An Image is one that is in the store, whole.
type Image struct {
	Digest digest.Digest // of the manifest
	Names  []string      // the references that lead to it, sorted
	dir    string
}

// Names of the files of an image.
const (
	manifestFile = "manifest.json"
	configFile   = "config.json"
	treePrefix   = "tree-"
	treeSuffix   = ".erofs"
	newTree      = "tree"
)

// Images lists all images, sorted by name; those without a name come last.
func (s *Store) Images() ([]*Image, error) {
	entries, err := os.ReadDir(s.path("images"))
	if err != nil {
		return nil, err
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var all []*Image
	for _, e := range entries {
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if d.Validate() != nil {
			continue
		}
		all = append(all, &Image{Digest: d, Names: names[d], dir: s.path("images", e.Name())})
	}
	order.By(all, func(a, b *Image) int {
		if len(a.Names) == 0 || len(b.Names) == 0 {
			if len(a.Names) != len(b.Names) {
				return len(b.Names) - len(a.Names)
			}
			return strings.Compare(string(a.Digest), string(b.Digest))
		}
		return strings.Compare(a.Names[0], b.Names[0])
	})
	return all, nil
}

// Image finds the image of a digest.
func (s *Store) Image(d digest.Digest) (*Image, error) {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("image %q: want a sha256 digest: %w", d, ErrNotFound)
	}
	dir := s.path("images", d.Encoded())
	if _, err := os.Stat(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("image %s: %w", d, ErrNotFound)
		}
		return nil, err
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	return &Image{Digest: d, Names: names[d], dir: dir}, nil
}

// Find finds an image by one of its full names, its digest, the digest of its config, or the
// beginning of one of these, of 4 digits at least.
func (s *Store) Find(name string) (*Image, error) {
	if d, err := s.Ref(name); err == nil {
		return s.Image(d)
	} else if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	short := strings.TrimPrefix(name, "sha256:")
	if len(short) < 4 || strings.Trim(short, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("image %s: %w", name, ErrNotFound)
	}
	all, err := s.Images()
	if err != nil {
		return nil, err
	}
	var found *Image
	for _, i := range all {
		if !i.begins(short) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("image %s: %w", name, ErrAmbiguous)
		}
		found = i
	}
	if found == nil {
		return nil, fmt.Errorf("image %s: %w", name, ErrNotFound)
	}
	return found, nil
}

func (i *Image) begins(short string) bool {
	if strings.HasPrefix(i.Digest.Encoded(), short) {
		return true
	}
	m, _, err := i.Manifest()
	return err == nil && strings.HasPrefix(m.Config.Digest.Encoded(), short)
}

// there tells whether the image is still in the store: another process may remove it at any moment.
func (i *Image) there() bool {
	_, err := os.Stat(i.dir)
	return err == nil
}

// Manifest is the image's manifest, parsed and as it came.
func (i *Image) Manifest() (v1.Manifest, []byte, error) {
	var m v1.Manifest
	raw, err := i.load(manifestFile, &m)
	return m, raw, err
}

// Config is the image's config, parsed and as it came.
func (i *Image) Config() (v1.Image, []byte, error) {
	var c v1.Image
	raw, err := i.load(configFile, &c)
	return c, raw, err
}

func (i *Image) load(name string, v any) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(i.dir, name))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("image %s: %s: %w", i.Digest, name, err)
	}
	return raw, nil
}

// TreePath is where the metadata image is, to mount it.
func (i *Image) TreePath() (string, error) {
	names, err := os.ReadDir(i.dir)
	if err != nil {
		return "", err
	}
	for _, e := range names {
		if strings.HasPrefix(e.Name(), treePrefix) && strings.HasSuffix(e.Name(), treeSuffix) {
			return filepath.Join(i.dir, e.Name()), nil
		}
	}
	return "", fmt.Errorf("image %s: tree: %w", i.Digest, fs.ErrNotExist)
}

// A Tree is the metadata of an image, open to read.
type Tree struct {
	*erofs.Image
	f *os.File
}

// Tree opens the metadata.
func (i *Image) Tree() (*Tree, error) {
	path, err := i.TreePath()
	if err != nil {
		return nil, err
	}
	t, err := openTree(path)
	if err != nil {
		return nil, fmt.Errorf("image %s: tree: %w", i.Digest, err)
	}
	return t, nil
}

// Close closes the file.
func (t *Tree) Close() error { return t.f.Close() }

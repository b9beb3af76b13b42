package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/pack"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

// A judge knows what whole images are: the bytes of each tree, as a pull in peace made it.
type judge struct {
	shelf *shelf
	trees map[digest.Digest][sha256.Size]byte
}

// newJudge pulls every image of the shelf into a store in dir.
func newJudge(s *shelf, dir string) (*judge, error) {
	j := &judge{s, map[digest.Digest][sha256.Size]byte{}}
	st, err := store.Open(dir, store.Options{Reserve: -1})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	for d := range s.manifests {
		i, err := j.pull(st, d)
		if err != nil {
			return nil, err
		}
		if j.trees[d], err = treeSum(i); err != nil {
			return nil, err
		}
	}
	return j, nil
}

func (j *judge) pull(st *store.Store, d digest.Digest) (*store.Image, error) {
	got, err := transfer.Pull(context.Background(), j.shelf, string(d), st, transfer.PullOptions{
		Names: []string{"judge/" + d.Encoded()[:8] + ":latest"},
	})
	return got.Image, err
}

// store judges a store as a cut left it: only what may be is there, and all of it whole.
func (j *judge) store(dir string, m *model) error {
	st, err := store.Open(dir, store.Options{Reserve: -1})
	if err != nil {
		return err
	}
	defer st.Close()
	images, err := st.Images()
	if err != nil {
		return err
	}
	there := map[digest.Digest]bool{}
	good := map[object.Digest]bool{} // objects that need not be hashed again
	for _, d := range m.hurt {
		good[d] = true
	}
	for _, i := range images {
		there[i.Digest] = true
		if err := j.whole(st, i, good); err != nil {
			return err
		}
	}
	for d := range there {
		if may := m.images[d]; !slices.Contains(may, true) {
			return fmt.Errorf("image %s is there", d)
		}
	}
	for d, may := range m.images {
		if !there[d] && !slices.Contains(may, false) {
			return fmt.Errorf("image %s is lost", d)
		}
	}
	return names(st, m)
}

// whole tells whether an image is all there, byte for byte.
func (j *judge) whole(st *store.Store, i *store.Image, good map[object.Digest]bool) error {
	m, raw, err := i.Manifest()
	if err != nil {
		return err
	}
	_, config, err := i.Config()
	if err != nil {
		return err
	}
	if digest.FromBytes(raw) != i.Digest || digest.FromBytes(config) != m.Config.Digest {
		return fmt.Errorf("image %s: damaged manifest or config", i.Digest)
	}
	sum, err := treeSum(i)
	if err != nil {
		return err
	}
	if sum != j.trees[i.Digest] {
		return fmt.Errorf("image %s: damaged tree", i.Digest)
	}
	packed, err := inPacks(st, i, good)
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Digest, err)
	}
	return i.Objects(func(_ string, d object.Digest, size int64) error {
		if good[d] || packed[d] {
			return nil
		}
		n, err := st.Objects().Verify(d)
		if err != nil {
			return fmt.Errorf("image %s: %w", i.Digest, err)
		}
		if n != size {
			return fmt.Errorf("image %s: object %s has %d bytes, the tree says %d", i.Digest, d, n, size)
		}
		good[d] = true
		return nil
	})
}

// inPacks is what the packs of an image hold, all of which are whole, but for those that are good by the test's word.
func inPacks(st *store.Store, i *store.Image, good map[object.Digest]bool) (map[object.Digest]bool, error) {
	packed := map[object.Digest]bool{}
	packs, err := i.Packs()
	if err != nil {
		return nil, err
	}
	small, err := i.SmallPacks()
	if err != nil {
		return nil, err
	}
	for _, p := range packs {
		b, err := os.ReadFile(st.PackPath(p))
		if err != nil {
			return nil, err
		}
		self, err := object.Parse(p.Encoded())
		if err != nil {
			return nil, err
		}
		if digest.FromBytes(b) != p && !good[self] {
			return nil, fmt.Errorf("damaged pack %s", p)
		}
		im, err := erofs.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", p, err)
		}
		if err := pack.Names(im, func(d object.Digest, nid erofs.NID) error {
			packed[d] = true
			if good[d] || !slices.Contains(small, p) { // what is compressed has its digest in the pack's alone
				return nil
			}
			good[d] = true
			return holds(im, nid, d)
		}); err != nil {
			return nil, fmt.Errorf("pack %s: %w", p, err)
		}
	}
	return packed, nil
}

// openPack reads a pack to memory.
func openPack(path string) (*erofs.Image, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return erofs.Open(bytes.NewReader(b), int64(len(b)))
}

// holds tells whether a file of a pack is the object.
func holds(im *erofs.Image, nid erofs.NID, want object.Digest) error {
	r, err := im.Contents(nid)
	if err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if object.Digest(h.Sum(nil)) != want {
		return fmt.Errorf("object %s is damaged", want)
	}
	return nil
}

func treeSum(i *store.Image) (sum [sha256.Size]byte, err error) {
	path, err := i.TreePath()
	if err != nil {
		return sum, err
	}
	tree, err := os.ReadFile(path)
	return sha256.Sum256(tree), err
}

// names judges where names lead: to an image, or nowhere.
func names(st *store.Store, m *model) error {
	for name, may := range m.names {
		d, err := st.Ref(name)
		if err == nil {
			if _, missing := st.Image(d); missing != nil {
				d = "" // leads nowhere
			}
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if !slices.Contains(may, d) {
			return fmt.Errorf("name %s leads to %q, want one of %q", name, d, may)
		}
	}
	return nil
}

// verify holds the store's own verification against what the test knows: it must come to its end, and
// blame nothing but what the test itself has damaged.
func verify(dir string, hurt []object.Digest) error {
	st, err := store.Open(dir, store.Options{Reserve: -1})
	if err != nil {
		return err
	}
	defer st.Close()
	report, err := st.Verify(context.Background(), store.VerifyOptions{})
	if err != nil {
		return err
	}
	for _, d := range report.Damaged {
		if !slices.Contains(hurt, d.Object) {
			return fmt.Errorf("verify: %s %s: %s", d.Object, d.Name, d.Cause)
		}
	}
	return nil
}

// goesOn judges what comes after the cut: every image can be pulled and is what it should be, and gc
// leaves what they need and nothing else.
func (j *judge) goesOn(dir string, pulls []digest.Digest, hurt ...object.Digest) error {
	st, err := store.Open(dir, store.Options{Reserve: -1})
	if err != nil {
		return err
	}
	defer st.Close()
	good := map[object.Digest]bool{}
	for _, d := range hurt {
		good[d] = true
	}
	for _, d := range pulls {
		if _, ok := j.shelf.manifests[d]; !ok {
			continue // an adopted one
		}
		i, err := j.pull(st, d)
		if err != nil {
			return fmt.Errorf("pull after the cut: %w", err)
		}
		if err := j.whole(st, i, good); err != nil {
			return fmt.Errorf("pull after the cut: %w", err)
		}
	}
	for range 2 { // packs that the first makes anew stay until the next
		if _, err := st.GC(); err != nil {
			return err
		}
	}
	return j.tidy(st, good)
}

// tidy tells of what no image needs and of what an image lacks.
func (j *judge) tidy(st *store.Store, good map[object.Digest]bool) error {
	images, err := st.Images()
	if err != nil {
		return err
	}
	need := map[object.Digest]bool{}
	may := map[object.Digest]bool{} // small files in packs: repair makes objects of them, which containers may use
	packs := map[string]bool{}
	for _, i := range images {
		packed, err := inPacks(st, i, good)
		if err != nil {
			return err
		}
		if err := i.Objects(func(_ string, d object.Digest, size int64) error {
			if !packed[d] {
				need[d] = true
			} else if size <= store.Small {
				may[d] = true
			}
			return nil
		}); err != nil {
			return err
		}
		used, err := i.Packs()
		if err != nil {
			return err
		}
		for _, d := range used {
			packs[st.PackPath(d)] = true
		}
	}
	there, _ := filepath.Glob(filepath.Join(st.Dir(), "packs/*"))
	for _, p := range there {
		if !packs[p] {
			return fmt.Errorf("gc has left %s", p)
		}
	}
	if err := st.Objects().All(func(d object.Digest, _ int64) error {
		if !need[d] && !may[d] {
			return fmt.Errorf("gc has left object %s", d)
		}
		delete(need, d)
		return nil
	}); err != nil {
		return err
	}
	for d := range need {
		return fmt.Errorf("gc has taken object %s", d)
	}
	for _, left := range []string{"tmp/*", "objects/*/.*"} {
		if found, _ := filepath.Glob(filepath.Join(st.Dir(), left)); len(found) > 0 {
			return fmt.Errorf("gc has left %s", found)
		}
	}
	return nil
}

package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
)

// VerifyOptions of Verify. The zero value verifies everything.
type VerifyOptions struct {
	// Budget is how many bytes of objects are read; 0 means all.
	Budget int64
	// From is where to go on; nil means at a random object, so that calls with a budget come to
	// all of them in time, without a note of where they were.
	From *object.Digest
	// Progress is told the bytes read so far and the bytes there are to read; may be nil.
	Progress func(done, total int64)
}

// Report is what Verify found.
type Report struct {
	Objects int           `json:"objects"` // read
	Bytes   int64         `json:"bytes"`
	Next    object.Digest `json:"-"` // where the next call may go on
	Damaged []Damage      `json:"damaged"`
}

// Damage is one thing that is not what it was.
type Damage struct {
	Object object.Digest `json:"-"` // zero when it is a file of an image that is damaged
	Name   string        `json:"object,omitempty"`
	Size   int64         `json:"sizeBytes"`
	// Pack is a pack of small files that is damaged. The bad files in it are named by themselves; repair packs
	// the good ones anew.
	Pack  bool   `json:"pack,omitempty"`
	Cause string `json:"cause"`
	Uses  []Use  `json:"uses"`
}

// Use is where a damaged thing is used.
type Use struct {
	Image digest.Digest `json:"image"`
	Names []string      `json:"names"`
	Path  string        `json:"path"` // one of them, in the image
}

// Verify reads images and objects from the medium and compares their digests. It changes nothing.
func (s *Store) Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	var r Report
	images, err := s.Images()
	if err != nil {
		return r, err
	}
	var good []*Image
	for _, i := range images {
		err := s.verifyImage(i)
		if err != nil && !i.there() {
			continue
		}
		if err != nil {
			r.Damaged = append(r.Damaged, Damage{Cause: err.Error(), Uses: []Use{{Image: i.Digest, Names: i.Names}}})
			continue
		}
		good = append(good, i)
	}
	c := check{store: s, images: good, bad: map[object.Digest]string{}}
	if err := c.collect(); err != nil {
		return r, err
	}
	if err := c.scrub(ctx, o, &r); err != nil {
		return r, err
	}
	return r, c.locate(&r)
}

// A check is one run of Verify over what whole images are made of.
type check struct {
	store  *Store
	images []*Image
	all    known                    // objects by themselves and packs of small files, by digest
	packs  map[object.Digest]bool   // which of all are packs
	bad    map[object.Digest]string // objects, and why
}

func (c *check) collect() error {
	c.packs = map[object.Digest]bool{}
	var err error
	if c.all, err = c.store.looseOf(c.images); err != nil {
		return err
	}
	for _, i := range c.images {
		own, err := i.SmallPacks()
		if err != nil && i.there() {
			return err
		}
		for _, p := range own {
			d, err := object.Parse(p.Encoded())
			if err != nil || c.packs[d] {
				continue
			}
			c.packs[d] = true
			x := item{digest: d}
			if st, err := os.Stat(c.store.PackPath(p)); err == nil {
				x.size = st.Size()
			}
			c.all = append(c.all, x)
		}
	}
	order.By(c.all, compareItems)
	return nil
}

// scrub reads until the budget is spent.
func (c *check) scrub(ctx context.Context, o VerifyOptions, r *Report) error {
	if len(c.all) == 0 {
		return nil
	}
	from := o.From
	if from == nil && o.Budget > 0 {
		from = new(object.Digest)
		_, _ = rand.Read(from[:])
	}
	first := 0
	if from != nil {
		first, _ = slices.BinarySearchFunc(c.all, item{digest: *from}, compareItems)
	}
	total := c.all.bytes()
	for n := range c.all {
		x := c.all[(first+n)%len(c.all)]
		r.Next = x.digest
		if o.Budget > 0 && r.Bytes > 0 && r.Bytes+x.size > o.Budget {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.one(x); err != nil {
			return err
		}
		r.Objects++
		r.Bytes += x.size
		if o.Progress != nil {
			o.Progress(r.Bytes, total)
		}
	}
	return nil
}

func (c *check) one(x item) error {
	if !c.packs[x.digest] {
		if why := c.store.scrubOne(x); why != nil {
			c.bad[x.digest] = why.Error()
		}
		return nil
	}
	return c.store.scrubPack(digestOf(x.digest), func(d object.Digest, why string) { c.bad[d] = why })
}

func (s *Store) scrubOne(x item) error {
	n, err := s.objects.Scrub(x.digest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New(missing)
	case errors.Is(err, object.ErrDamaged):
		return errors.New("its bytes have another digest")
	case err == nil && n != x.size:
		return fmt.Errorf("has %d bytes, the tree says %d", n, x.size)
	}
	return err
}

func (k known) bytes() (n int64) {
	for _, x := range k {
		n += x.size
	}
	return n
}

func digestOf(d object.Digest) digest.Digest {
	return digest.NewDigestFromEncoded(digest.SHA256, d.String())
}

// locate finds out which images and paths the bad objects belong to.
func (c *check) locate(r *Report) error {
	if err := c.recheck(); err != nil || len(c.bad) == 0 {
		return err
	}
	at := map[object.Digest]*Damage{}
	for _, i := range c.images {
		uses, err := c.usesOf(i)
		if !i.there() {
			continue // it was removed meanwhile, and gc took its objects
		}
		if err != nil {
			return err
		}
		for d, use := range uses {
			if at[d] == nil {
				at[d] = &use
				continue
			}
			at[d].Uses = append(at[d].Uses, use.Uses...)
		}
	}
	first := len(r.Damaged)
	for _, d := range at {
		r.Damaged = append(r.Damaged, *d)
	}
	order.By(r.Damaged[first:], func(a, b Damage) int { return bytes.Compare(a.Object[:], b.Object[:]) })
	return nil
}

// recheck looks again for what is missing: its image may have been removed, and pulled again.
func (c *check) recheck() error {
	if len(c.bad) == 0 {
		return nil
	}
	loose, err := c.store.looseOf(c.images)
	if err != nil {
		return err
	}
	for d, why := range c.bad {
		if why != missing {
			continue
		}
		n, there := slices.BinarySearchFunc(loose, item{digest: d}, compareItems)
		if !there || c.store.scrubOne(loose[n]) == nil {
			delete(c.bad, d)
		}
	}
	return nil
}

// missing is an object that is nowhere.
const missing = "missing"

// usesOf is what an image has of the bad ones, each with one path.
func (c *check) usesOf(i *Image) (map[object.Digest]Damage, error) {
	uses := map[object.Digest]Damage{}
	use := func(d object.Digest, size int64, path string) {
		why, is := c.bad[d]
		if _, seen := uses[d]; is && !seen {
			uses[d] = Damage{
				Object: d, Name: d.String(), Size: size, Pack: c.packs[d], Cause: why, Uses: []Use{{i.Digest, i.Names, path}},
			}
		}
	}
	own, err := i.SmallPacks()
	if err != nil {
		return nil, err
	}
	for _, p := range own {
		if d, err := object.Parse(p.Encoded()); err == nil {
			use(d, 0, "")
		}
	}
	return uses, i.Objects(func(path string, d object.Digest, size int64) error {
		use(d, size, path)
		return nil
	})
}

// Objects calls visit for each file that is an object.
func (i *Image) Objects(visit func(path string, d object.Digest, size int64) error) error {
	t, err := i.Tree()
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Walk(func(path string, _ erofs.NID, in *erofs.Inode) error {
		if in.Mode&unix.S_IFMT != unix.S_IFREG || in.Redirect == "" {
			return nil
		}
		d, err := object.ParseRedirect(in.Redirect)
		if err != nil {
			return err
		}
		return visit(path, d, in.Size)
	})
}

// verifyImage checks an image's own files, and the packs it was fetched in.
func (s *Store) verifyImage(i *Image) error {
	if err := i.Check(); err != nil {
		return err
	}
	packs, err := i.FetchedPacks()
	if err != nil {
		return err
	}
	for _, d := range packs {
		if err := s.packGood(d); err != nil {
			return fmt.Errorf("image %s: %w", i.Digest, err)
		}
	}
	return nil
}

// Check checks the files of an image by their digests: the manifest by the image's, the config by the
// manifest's, the tree by its name's.
func (i *Image) Check() error {
	m, raw, err := i.Manifest()
	if err != nil {
		return err
	}
	if digest.FromBytes(raw) != i.Digest {
		return fmt.Errorf("image %s: manifest: %w", i.Digest, object.ErrDamaged)
	}
	_, raw, err = i.Config()
	if err != nil {
		return err
	}
	if m.Config.Digest.Algorithm().FromBytes(raw) != m.Config.Digest {
		return fmt.Errorf("image %s: config: %w", i.Digest, object.ErrDamaged)
	}
	if _, err := i.SmallPacks(); err != nil {
		return err
	}
	path, err := i.TreePath()
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("image %s: tree: %w", i.Digest, err)
	}
	name := filepath.Base(path)
	want := strings.TrimSuffix(strings.TrimPrefix(name, treePrefix), treeSuffix)
	if hex.EncodeToString(h.Sum(nil)) != want {
		return fmt.Errorf("image %s: tree: %w", i.Digest, object.ErrDamaged)
	}
	return nil
}

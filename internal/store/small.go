package store

import (
	"bytes"
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

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
	"tare.dev/tare/internal/pack"
)

// Small is the largest file, in bytes, that goes into a pack with others of its pull: four of five files of
// a system, which by themselves would take a block and an inode each. The pack is not compressed, is mounted
// as a further data-only layer, and serves all images that have a file of it.
const Small = 16 << 10

// packsFile is the file of an image that lists its own packs, a digest in hexadecimal on each line. It needs no
// digest of its own: each line names a pack by its bytes, and each object of the tree must be found.
const packsFile = "packs"

// maxOwnPacks is how many packs of earlier pulls an image may use: each is a mount and a layer to look
// in. What is in others is written again, so that their number stays small over years of updates.
const maxOwnPacks = 8

// A batch takes the small files of a stage.
type batch struct {
	put   *object.Writer
	known known
	dir   string

	f   *os.File
	w   *pack.Writer // nil as long as nothing is new
	buf []byte

	there []inPack // sorted by digest: in the packs of images
	packs []digest.Digest
	may   []bool // by pack: the image may be mounted over it
	used  []bool // and has a file of it
	count int    // of may
	made  int    // packs that were ended early

	// stray is files by themselves that no image has, such as those of a killed command. They would be seen
	// in the place of one in a pack.
	stray digests

	err error // of copy
}

// inPack is where a small file is.
type inPack struct {
	digest object.Digest
	pack   int32 // in batch.packs
}

// newBatch looks what the images have. One that cannot be read keeps no other from being fetched.
func (s *Store) newBatch(dir string, put *object.Writer, known known) (*batch, error) {
	b := &batch{put: put, known: known, dir: dir, buf: make([]byte, Small)}
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		packs, err := i.SmallPacks()
		if err != nil {
			continue
		}
		for _, d := range packs {
			b.know(s, d)
		}
	}
	b.sort()
	err = s.objects.Names(func(d object.Digest) error {
		if !known.Trusted(d) {
			b.stray = append(b.stray, d)
		}
		return nil
	})
	order.By(b.stray, compareDigests)
	return b, err
}

// know adds what is in a pack, if that can be read.
func (b *batch) know(s *Store, d digest.Digest) {
	if slices.Contains(b.packs, d) {
		return
	}
	at, was := int32(len(b.packs)), len(b.there)
	err := s.openPack(d, func(im *erofs.Image) error {
		return pack.Names(im, func(o object.Digest, _ erofs.NID) error {
			b.there = append(b.there, inPack{o, at})
			return nil
		})
	})
	if err != nil {
		b.there = b.there[:was]
		return
	}
	b.packs, b.may, b.used = append(b.packs, d), append(b.may, false), append(b.used, false)
}

// prefer has the image use the packs that are known of these rather than others.
func (b *batch) prefer(packs []digest.Digest) {
	for _, d := range packs {
		if at := slices.Index(b.packs, d); at >= 0 {
			b.allow(int32(at))
		}
	}
}

func (b *batch) allow(at int32) {
	if !b.may[at] {
		b.may[at], b.count = true, b.count+1
	}
}

func (b *batch) sort() {
	order.Stably(b.there, func(x, y inPack) int { return bytes.Compare(x.digest[:], y.digest[:]) })
}

// Put takes one file.
func (b *batch) Put(r io.Reader, size int64) (object.Result, error) {
	data := b.buf[:size]
	if _, err := io.ReadFull(r, data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return object.Result{}, err
	}
	d := object.Digest(sha256.Sum256(data))
	if there, err := b.take(d, size); err != nil || there {
		return object.Result{Digest: d}, err
	}
	if err := b.add(d, data); err != nil {
		return object.Result{}, err
	}
	return object.Result{Digest: d, Written: size}, nil
}

// has tells whether the file is there.
func (b *batch) has(d object.Digest, size int64) (bool, error) {
	if _, ok := b.find(d); ok {
		return true, nil
	}
	return b.here(d, size)
}

// here tells whether the file is in the new pack, or by itself.
func (b *batch) here(d object.Digest, size int64) (bool, error) {
	if b.w != nil && b.w.Has(d) {
		return true, nil
	}
	if !b.known.Trusted(d) {
		return false, nil
	}
	return b.put.Present(d, size)
}

// take tells whether the file is there, and has the image use it. Where it is in one pack too many, it is
// not there.
func (b *batch) take(d object.Digest, size int64) (bool, error) {
	if there, err := b.here(d, size); err != nil || there {
		return there, err
	}
	at, ok := b.find(d)
	if !ok || !b.can(at) {
		return false, nil
	}
	b.allow(at)
	b.used[at] = true
	return true, b.unshadow(d, size)
}

// can tells whether the image may use a pack.
func (b *batch) can(at int32) bool { return b.may[at] || b.count < maxOwnPacks }

// unshadow removes what bears the digest of a file in a pack, and has other bytes.
func (b *batch) unshadow(d object.Digest, size int64) error {
	if !b.stray.has(d) {
		return nil
	}
	_, err := b.put.Present(d, size)
	return err
}

// find returns a pack that has the file; one that the image may use rather than another.
func (b *batch) find(d object.Digest) (int32, bool) {
	n, ok := slices.BinarySearchFunc(b.there, d, func(x inPack, d object.Digest) int { return bytes.Compare(x.digest[:], d[:]) })
	if !ok {
		return 0, false
	}
	at := b.there[n].pack
	for ; n < len(b.there) && b.there[n].digest == d; n++ {
		if b.may[b.there[n].pack] {
			return b.there[n].pack, true
		}
	}
	return at, true
}

func (b *batch) add(d object.Digest, data []byte) error {
	if err := b.put.Grow(int64(len(data))); err != nil {
		return err
	}
	if err := b.unshadow(d, int64(len(data))); err != nil {
		return err
	}
	if b.w == nil {
		var err error
		if b.f, err = os.OpenFile(filepath.Join(b.dir, newPack), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o444); err != nil {
			return err
		}
		b.w = pack.NewWriter(b.f)
	}
	return b.w.Add(d, data)
}

// newPack is the file of a stage that its small files go to.
const newPack = "small"

// finish ends the pack, and gives it its name in the store. It returns the digest, or "" when nothing was new.
func (b *batch) finish(s *Store) (digest.Digest, error) {
	if b.w == nil {
		return "", nil
	}
	size, err := b.w.Finish()
	if err != nil {
		return "", err
	}
	b.w = nil
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(b.f, 0, size)); err != nil {
		return "", err
	}
	d := digest.NewDigest(digest.SHA256, h)
	err = errors.Join(b.f.Close(), s.placePack(filepath.Join(b.dir, newPack), d))
	b.f = nil
	return d, err
}

// list writes which packs the image has, to stand beside its tree.
func (b *batch) list(s *Store) error {
	own := b.own()
	d, err := b.finish(s)
	if err != nil {
		return fmt.Errorf("small files: %w", err)
	}
	if d != "" {
		own = append(own, d)
	}
	if len(own) == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(b.dir, packsFile), packList(own), 0o444)
}

// own is the packs of earlier pulls, or ended early, that the image has files of.
func (b *batch) own() []digest.Digest {
	var own []digest.Digest
	for n, d := range b.packs {
		if b.used[n] {
			own = append(own, d)
		}
	}
	return own
}

func packList(own []digest.Digest) []byte {
	var text strings.Builder
	for _, d := range own {
		text.WriteString(d.Encoded() + "\n")
	}
	return []byte(text.String())
}

func (b *batch) close() {
	if b.f != nil {
		b.f.Close() // it has its name, or goes with the directory
	}
}

// SmallPacks is the packs with small files that the image is mounted over.
func (i *Image) SmallPacks() ([]digest.Digest, error) {
	text, err := os.ReadFile(filepath.Join(i.dir, packsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []digest.Digest
	for line := range strings.Lines(string(text)) {
		line, ended := strings.CutSuffix(line, "\n")
		if b, err := hex.DecodeString(line); err != nil || len(b) != sha256.Size || !ended {
			return nil, fmt.Errorf("image %s: list of packs: %w", i.Digest, object.ErrDamaged)
		}
		all = append(all, digest.NewDigestFromEncoded(digest.SHA256, line))
	}
	return all, nil
}

// openPack opens a pack for as long as use takes.
func (s *Store) openPack(d digest.Digest, use func(*erofs.Image) error) error {
	t, err := openTree(s.PackPath(d))
	if err != nil {
		return err
	}
	defer t.Close()
	return use(t.Image)
}

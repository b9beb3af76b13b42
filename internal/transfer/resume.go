package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/toc"
)

// worthKeeping is the size of a layer, in bytes, from which on it is kept for a pull that goes on after a cut. A
// smaller one is fetched again.
const worthKeeping = 1 << 20

// A kept is a layer that is noted as it is unpacked, so that a pull that is killed during a later one does not fetch
// it again. The file holds the notes, then what is in keptLayer as JSON, its length in 4 bytes, and the SHA-256 of all
// that. It is not synced: after a cut it is whole or it does not count.
type kept struct {
	layer.Builder
	stage *store.Stage
	desc  v1.Descriptor
	file  *os.File
	sum   hash.Hash
	notes *notes
}

type keptLayer struct {
	DiffID digest.Digest   `json:"diffID"`
	Table  string          `json:"table"`
	Packs  []digest.Digest `json:"packs"`
	Stats  layer.Stats     `json:"stats"`
}

const scratch = "layer"

// keep begins to note a layer whose entries go to b.
func keep(d v1.Descriptor, b layer.Builder, stage *store.Stage) (*kept, error) {
	f, err := stage.Scratch(scratch)
	if err != nil {
		return nil, err
	}
	k := &kept{Builder: b, stage: stage, desc: d, file: f, sum: sha256.New()}
	k.notes = newNotes(k)
	return k, nil
}

// Write writes to the file.
func (k *kept) Write(p []byte) (int, error) {
	k.sum.Write(p)
	return k.file.Write(p)
}

// Add notes an entry that the tree has taken.
func (k *kept) Add(path string, in erofs.Inode) error {
	if err := k.Builder.Add(path, in); err != nil {
		return err
	}
	return k.notes.Add(path, in)
}

// Link notes a hard link.
func (k *kept) Link(path, target string) error {
	if err := k.Builder.Link(path, target); err != nil {
		return err
	}
	return k.notes.Link(path, target)
}

// done keeps the notes of a layer that was read to its end and verified.
func (k *kept) done(diffID digest.Digest, stats layer.Stats) error {
	packs, ok, err := k.stage.Checkpoint()
	if err != nil || !ok {
		return err
	}
	if err := k.notes.close(); err != nil {
		return err
	}
	text, err := json.Marshal(keptLayer{diffID, table(k.desc), packs, stats})
	if err != nil {
		return err
	}
	if _, err := k.Write(binary.LittleEndian.AppendUint32(text, uint32(len(text)))); err != nil {
		return err
	}
	if _, err := k.file.Write(k.sum.Sum(nil)); err != nil {
		return err
	}
	return k.stage.KeepLayer(k.desc.Digest, scratch)
}

func (k *kept) close() {
	k.file.Close()
	k.stage.DropScratch(scratch)
}

// resume adds a layer that an earlier pull has unpacked. It returns false, and has added nothing, when there is none, or
// not all of it is there any more.
func (p *puller) resume(d v1.Descriptor, diffID digest.Digest, b layer.Builder, stage *store.Stage) (layer.Stats, bool, error) {
	var none layer.Stats
	if p.o.Again || d.Size < worthKeeping {
		return none, false, nil
	}
	f, err := p.store.KeptLayer(d.Digest)
	if err != nil {
		return none, false, nil //nolint:nilerr // it is fetched
	}
	defer f.Close()
	notes, l, err := readKept(f)
	if err != nil || l.DiffID != diffID || l.Table != table(d) {
		return none, false, stage.DropLayer(d.Digest)
	}
	if err := stage.TryPacks(l.Packs); err != nil {
		return none, false, stage.DropLayer(d.Digest)
	}
	if err := replay(notes, looking{stage}); err != nil {
		if errors.Is(err, errLost) {
			return none, false, stage.DropLayer(d.Digest)
		}
		return none, false, fmt.Errorf("layer %s: %w", d.Digest, err)
	}
	if _, err := notes.Seek(0, io.SeekStart); err != nil {
		return none, false, err
	}
	p.o.Progress(Event{Kind: "exists", Blob: d.Digest, Current: d.Size, Total: d.Size})
	l.Stats.Written = 0
	return l.Stats, true, replay(notes, taking{b, stage})
}

// table is the table of contents that a manifest has for a layer, "" for none. It decides which files there are, and
// whoever made it may have made it for another layer: what is kept is for manifests with the same one.
func table(d v1.Descriptor) string {
	place, err := toc.Find(d)
	if place == nil || err != nil {
		return ""
	}
	return fmt.Sprint(place.Format, " ", place.Digest())
}

// readKept reads and checks what done has written.
func readKept(f *os.File) (*io.SectionReader, keptLayer, error) {
	var l keptLayer
	st, err := f.Stat()
	if err != nil {
		return nil, l, err
	}
	size := st.Size() - sha256.Size
	if size < 4 {
		return nil, l, object.ErrDamaged
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, size)); err != nil {
		return nil, l, err
	}
	sum := make([]byte, sha256.Size)
	if _, err := f.ReadAt(sum, size); err != nil || !bytes.Equal(sum, h.Sum(nil)) {
		return nil, l, errors.Join(err, object.ErrDamaged)
	}
	var length [4]byte
	if _, err := f.ReadAt(length[:], size-4); err != nil {
		return nil, l, err
	}
	end := size - 4 - int64(binary.LittleEndian.Uint32(length[:]))
	if end < 0 {
		return nil, l, object.ErrDamaged
	}
	text, err := io.ReadAll(io.NewSectionReader(f, end, size-4-end))
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	return io.NewSectionReader(f, 0, end), l, err
}

// errLost is a file of a kept layer that is not there, or damaged.
var errLost = errors.New("is not there any more")

// looking looks whether all files of a layer are there.
type looking struct{ stage *store.Stage }

func (l looking) Add(path string, in erofs.Inode) error {
	if in.Redirect == "" {
		return nil
	}
	d, err := object.ParseRedirect(in.Redirect)
	if err != nil {
		return err
	}
	there, err := l.stage.Whole(d, in.Size)
	if err == nil && !there {
		err = fmt.Errorf("%s: %w", path, errLost)
	}
	return err
}

func (l looking) Link(string, string) error { return nil }

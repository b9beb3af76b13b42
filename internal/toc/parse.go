package toc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
)

// An item is an entry as it is written; both formats have the names of CRFS.
type item struct {
	Type        string            `json:"type"`
	Name        string            `json:"name"`
	LinkName    string            `json:"linkName"`
	Mode        int64             `json:"mode"`
	Size        int64             `json:"size"`
	UID         int64             `json:"uid"`
	GID         int64             `json:"gid"`
	ModTime     string            `json:"modtime"`
	DevMajor    int64             `json:"devMajor"`
	DevMinor    int64             `json:"devMinor"`
	Xattrs      map[string][]byte `json:"xattrs"`
	Digest      string            `json:"digest"`
	Offset      int64             `json:"offset"`
	EndOffset   int64             `json:"endOffset"`
	InnerOffset int64             `json:"innerOffset"`
	ChunkDigest string            `json:"chunkDigest"`
}

// parse reads a table in JSON, in which all offsets lie before end.
func parse(r io.Reader, f Format, end int64) (*Table, error) {
	p := parser{json: json.NewDecoder(r), format: f, end: end}
	if err := p.document(); err != nil {
		return nil, err
	}
	if f == EStargz {
		p.close(len(p.entries), end)
	}
	return &Table{f, p.entries}, nil
}

type parser struct {
	json    *json.Decoder
	format  Format
	end     int64
	entries []Entry

	file  string // the regular file that chunks may follow; "" when there is none
	parts bool   // it may have them: its digest is of the whole
	from  int64  // where the last file begins
	inner int64  // where it ends in what is decompressed from there
	last  int64  // the last offset at which a part of it begins
	open  int    // entries before this one have their To
}

func (p *parser) document() error {
	if err := p.delim('{'); err != nil {
		return err
	}
	version, listed := 0, false
	for p.json.More() {
		key, err := p.json.Token()
		if err != nil {
			return err
		}
		switch key {
		case "version":
			err = p.json.Decode(&version)
		case "entries":
			if listed {
				return errors.New("two lists of entries")
			}
			listed = true
			err = p.list()
		default:
			var other json.RawMessage // such as the digest of what tar-split noted
			err = p.json.Decode(&other)
		}
		if err != nil {
			return err
		}
	}
	if version != 1 || !listed {
		return fmt.Errorf("version %d, entries: %v", version, listed)
	}
	return p.delim('}')
}

func (p *parser) delim(want json.Delim) error {
	got, err := p.json.Token()
	if err == nil && got != want {
		err = fmt.Errorf("%v where %v should be", got, want)
	}
	return err
}

func (p *parser) list() error {
	if err := p.delim('['); err != nil {
		return err
	}
	for p.json.More() {
		var i item
		if err := p.json.Decode(&i); err != nil {
			return err
		}
		if err := p.item(&i); err != nil {
			return fmt.Errorf("%.256q: %w", i.Name, err)
		}
	}
	return p.delim(']')
}

func (p *parser) item(i *item) error {
	if i.Type == "chunk" {
		return p.chunk(i)
	}
	e, err := entry(i)
	if err != nil {
		return err
	}
	p.file = ""
	if i.Type == "reg" {
		if err := p.contents(i, &e); err != nil {
			return err
		}
	}
	if p.format != EStargz || !IsMark(i.Name) {
		p.entries = append(p.entries, e)
	}
	return nil
}

// contents reads where a regular file is. That files stand one after the other bounds what can be
// asked of a registry for them.
func (p *parser) contents(i *item, e *Entry) error {
	if i.Size < 0 || i.Size > maxFile {
		return fmt.Errorf("%d bytes", i.Size)
	}
	e.Inode.Size = i.Size
	p.file = i.Name
	if i.Size == 0 {
		p.parts = false
		return nil
	}
	sum := i.Digest
	p.parts = sum != ""
	if sum == "" && p.format == EStargz {
		sum = i.ChunkDigest // of a file in one part
	}
	d := digest.Digest(sum)
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %.80q: want sha256", sum)
	}
	var err error
	if e.Digest, err = object.Parse(d.Encoded()); err != nil {
		return err
	}
	e.From = i.Offset
	if p.format == ZstdChunked {
		if i.Offset <= 0 || i.Offset < p.last || i.EndOffset <= i.Offset || i.EndOffset > p.end {
			return fmt.Errorf("from byte %d to %d, after one to %d and before %d", i.Offset, i.EndOffset, p.last, p.end)
		}
		e.To, p.last = i.EndOffset, i.EndOffset
		return nil
	}
	return p.stargz(i, e)
}

// stargz reads where a file of eStargz begins. Where it ends, the next entry tells.
func (p *parser) stargz(i *item, e *Entry) error {
	from, inner := i.Offset, i.InnerOffset
	again := from == p.from
	switch {
	case from < 0 || from < p.last && !again || from >= p.end:
		return fmt.Errorf("at byte %d, after one at %d and before %d", from, p.last, p.end)
	case inner < 0 || inner > maxFile || again && inner < p.inner:
		return fmt.Errorf("at byte %d of what byte %d unpacks to, after one up to %d", inner, from, p.inner)
	}
	if from > p.last {
		p.close(len(p.entries), from)
	}
	e.Inner = inner
	p.from, p.inner, p.last = from, inner+i.Size, max(from, p.last)
	return nil
}

// chunk notes where a file goes on. Its parts stand one after the other, so who begins with the first
// unpacks them all, and needs the digest of the whole alone.
func (p *parser) chunk(i *item) error {
	if p.file == "" || i.Name != p.file || !p.parts {
		return errors.New("a chunk that follows no file of its name and with a digest")
	}
	if p.format == ZstdChunked {
		return nil
	}
	if i.Offset < p.last || i.Offset >= p.end {
		return fmt.Errorf("a chunk at byte %d, after one at %d and before %d", i.Offset, p.last, p.end)
	}
	if i.Offset > p.last {
		p.close(len(p.entries)-1, i.Offset)
		p.last = i.Offset
	}
	return nil
}

// close tells the entries before the nth where they end.
func (p *parser) close(n int, to int64) {
	for ; p.open < n; p.open++ {
		if e := &p.entries[p.open]; e.Inode.Mode&unix.S_IFMT == unix.S_IFREG && e.Inode.Size > 0 {
			e.To = to
		}
	}
}

// maxFile is the largest file, in bytes, so that sums of sizes do not overflow.
const maxFile = 1 << 50

// entry reads the metadata, by the rules that package layer has for a tar stream.
func entry(i *item) (Entry, error) {
	e := Entry{Path: i.Name}
	// JSON holds no other bytes than UTF-8: what could not be said stands there as U+FFFD.
	for _, s := range []string{i.Name, i.LinkName} {
		if strings.ContainsRune(s, utf8.RuneError) {
			return e, fmt.Errorf("%.256q is not the whole name", s)
		}
	}
	if i.Type == "hardlink" {
		e.Link = i.LinkName
		if e.Link == "" {
			return e, errors.New("a hard link to nothing")
		}
		return e, nil
	}
	format, ok := kind(i.Type)
	if !ok {
		return e, fmt.Errorf("type %.64q", i.Type)
	}
	if i.UID < 0 || i.GID < 0 || i.UID > 1<<32-2 || i.GID > 1<<32-2 {
		return e, fmt.Errorf("owner %d:%d is out of range", i.UID, i.GID)
	}
	e.Inode = erofs.Inode{Mode: format | uint32(i.Mode)&0o7777, UID: uint32(i.UID), GID: uint32(i.GID)}
	switch format {
	case unix.S_IFLNK:
		if i.LinkName == "" || len(i.LinkName) > 4095 {
			return e, fmt.Errorf("symbolic link with a target of %d bytes", len(i.LinkName))
		}
		e.Inode.Data, e.Inode.Size = []byte(i.LinkName), int64(len(i.LinkName))
	case unix.S_IFCHR, unix.S_IFBLK:
		if i.DevMajor < 0 || i.DevMajor >= 1<<12 || i.DevMinor < 0 || i.DevMinor >= 1<<20 {
			return e, fmt.Errorf("device %d:%d is out of range", i.DevMajor, i.DevMinor)
		}
		e.Inode.Rdev = unix.Mkdev(uint32(i.DevMajor), uint32(i.DevMinor))
	}
	return e, attributes(i, &e.Inode)
}

// attributes reads the time and the extended attributes. eStargz has whole seconds, and no time
// for 1970.
func attributes(i *item, in *erofs.Inode) error {
	if i.ModTime != "" {
		t, err := time.Parse(time.RFC3339Nano, i.ModTime)
		if err != nil {
			return err
		}
		in.Mtime, in.MtimeNsec = t.Unix(), uint32(t.Nanosecond())
	}
	for name, value := range i.Xattrs {
		if strings.ContainsRune(name, utf8.RuneError) {
			return fmt.Errorf("%.256q is not the whole name of the attribute", name)
		}
		in.Xattrs = append(in.Xattrs, erofs.Xattr{Name: name, Value: value})
	}
	return nil
}

// kind is the file type of an entry, as in st_mode.
func kind(s string) (uint32, bool) {
	switch s {
	case "reg":
		return unix.S_IFREG, true
	case "dir":
		return unix.S_IFDIR, true
	case "symlink":
		return unix.S_IFLNK, true
	case "char":
		return unix.S_IFCHR, true
	case "block":
		return unix.S_IFBLK, true
	case "fifo":
		return unix.S_IFIFO, true
	}
	return 0, false
}

package storetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// header is one block of a tar stream, whatever a writer of tar would say to it (POSIX pax(1),
// "ustar Interchange Format").
type header struct {
	name, link   string
	flag         byte
	size         string // as it stands there; "" is 0
	mode, uid    string
	major, minor string
}

func (h header) bytes() []byte {
	b := make([]byte, 512)
	put := func(at, room int, s, otherwise string) {
		if s == "" {
			s = otherwise
		}
		copy(b[at:at+room], s)
	}
	put(0, 100, h.name, "")
	put(100, 8, h.mode, "0000644")
	put(108, 8, h.uid, "0000000")
	put(116, 8, "", "0000000")
	put(124, 12, h.size, "00000000000")
	put(136, 12, "", "14524770400")
	b[156] = h.flag
	put(157, 100, h.link, "")
	copy(b[257:], "ustar\x0000")
	put(329, 8, h.major, "0000000")
	put(337, 8, h.minor, "0000000")
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// octal is a number as the header has it.
func octal(n int64) string { return fmt.Sprintf("%011o", n) }

// padded fills up to the next block.
func padded(b []byte) []byte {
	return append(slices.Clone(b), make([]byte, -len(b)&511)...)
}

// pax is a header of records for the entry after it.
func pax(records ...string) []byte {
	var body []byte
	for _, r := range records {
		n := len(r) + 3
		for n != len(fmt.Sprintf("%d %s\n", n, r)) {
			n = len(fmt.Sprintf("%d %s\n", n, r))
		}
		body = fmt.Appendf(body, "%d %s\n", n, r)
	}
	return rawPax(body)
}

func rawPax(body []byte) []byte {
	return append(header{name: "pax", flag: 'x', size: octal(int64(len(body)))}.bytes(), padded(body)...)
}

// stream is a tar stream of parts, with its end.
func stream(parts ...[]byte) []byte {
	return append(bytes.Join(parts, nil), make([]byte, 1024)...)
}

// entry is a file system object without contents.
func entry(flag byte, name, link string) []byte {
	return header{name: name, flag: flag, link: link}.bytes()
}

// regular is a file with contents.
func regular(name, data string) []byte {
	return append(header{name: name, flag: tar.TypeReg, size: octal(int64(len(data)))}.bytes(), padded([]byte(data))...)
}

// long is a file of a name that needs a record.
func long(name string) []byte {
	return append(pax("path="+name), regular("short", "x")...)
}

// base256 is a number as GNU tar writes those that are too large, or negative.
func base256(n int64) string {
	b := bytes.Repeat([]byte{0}, 12)
	if n < 0 {
		b = bytes.Repeat([]byte{0xff}, 12)
	}
	binary.BigEndian.PutUint64(b[4:], uint64(n))
	b[0] |= 0x80
	return string(b)
}

// sparse is a file of GNU's sparse format 1.0 that claims a size and brings one byte at its end.
func sparse(name string, size int64, parts string) []byte {
	data := padded([]byte(parts))
	data = append(data, 'x')
	return append(
		pax("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name="+name, fmt.Sprintf("GNU.sparse.realsize=%d", size)),
		append(header{name: "sparse", flag: tar.TypeReg, size: octal(int64(len(data)))}.bytes(), padded(data)...)...)
}

// zeros is gzip of many bytes, quickly made: a gzip file may be several after each other.
func zeros(t *testing.T, head []byte, mebibytes int) []byte {
	one := squeeze(t, make([]byte, 1<<20))
	return append(squeeze(t, head), bytes.Repeat(one, mebibytes)...)
}

// repeat is gzip of n parts.
func repeat(t *testing.T, n int, part func(i int) []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	must(t, err)
	for i := range n {
		_, err := z.Write(part(i))
		must(t, err)
	}
	must(t, z.Close())
	return b.Bytes()
}

func xs(n int) string { return strings.Repeat("x", n) }

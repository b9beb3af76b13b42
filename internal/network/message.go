package network

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

// message is a netlink message being written: its header, the header of its family, and attributes,
// as netlink(7) and linux/netlink.h have them. Numbers are in the machine's order unless a name says
// otherwise. Its methods, and the expressions of table.go, are called in so many places that their
// copies would make the program 80 KB longer, so the compiler is told not to inline them.
type message struct{ buf []byte }

const (
	headerSize    = unix.NLMSG_HDRLEN
	attributeSize = 4 // struct nlattr
	// attributeMask takes the flags away from an attribute's type.
	attributeMask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
)

// request begins a message of a type whose family has a header of its own.
func request(kind, flags uint16, family []byte) *message {
	m := &message{buf: make([]byte, headerSize, 256)}
	binary.NativeEndian.PutUint16(m.buf[4:], kind)
	binary.NativeEndian.PutUint16(m.buf[6:], flags|unix.NLM_F_REQUEST)
	m.buf = append(m.buf, family...)
	m.align()
	return m
}

// finish gives the message its length and a sequence number.
func (m *message) finish(sequence uint32) []byte {
	binary.NativeEndian.PutUint32(m.buf, uint32(len(m.buf)))
	binary.NativeEndian.PutUint32(m.buf[8:], sequence)
	return m.buf
}

func (m *message) flags(f uint16) {
	binary.NativeEndian.PutUint16(m.buf[6:], binary.NativeEndian.Uint16(m.buf[6:])|f)
}

//go:noinline
func (m *message) align() {
	for len(m.buf)%4 != 0 {
		m.buf = append(m.buf, 0)
	}
}

//go:noinline
func (m *message) bytes(kind uint16, p []byte) {
	m.buf = binary.NativeEndian.AppendUint16(m.buf, uint16(attributeSize+len(p)))
	m.buf = binary.NativeEndian.AppendUint16(m.buf, kind)
	m.buf = append(m.buf, p...)
	m.align()
}

//go:noinline
func (m *message) uint8(kind uint16, v uint8) { m.bytes(kind, []byte{v}) }

//go:noinline
func (m *message) uint32(kind uint16, v uint32) {
	m.bytes(kind, binary.NativeEndian.AppendUint32(nil, v))
}

// network32 writes a number most significant byte first, which is what nf_tables wants.
//
//go:noinline
func (m *message) network32(kind uint16, v uint32) {
	m.bytes(kind, binary.BigEndian.AppendUint32(nil, v))
}

// text writes a string with the zero at its end.
//
//go:noinline
func (m *message) text(kind uint16, s string) { m.bytes(kind, append([]byte(s), 0)) }

//go:noinline
func (m *message) address(kind uint16, a netip.Addr) { m.bytes(kind, a.AsSlice()) }

// nest writes an attribute that holds what inside writes.
//
//go:noinline
func (m *message) nest(kind uint16, inside func()) {
	at := len(m.buf)
	m.buf = append(m.buf, 0, 0, 0, 0)
	inside()
	binary.NativeEndian.PutUint16(m.buf[at:], uint16(len(m.buf)-at))
	binary.NativeEndian.PutUint16(m.buf[at+2:], kind|unix.NLA_F_NESTED)
}

// attributes are the attributes in b, up to the first that does not fit.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attributeSize {
			size := int(binary.NativeEndian.Uint16(b))
			if size < attributeSize || size > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&attributeMask, b[attributeSize:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// attribute is the first attribute of a kind in b, or nil.
func attribute(b []byte, kind uint16) []byte {
	for k, value := range attributes(b) {
		if k == kind {
			return value
		}
	}
	return nil
}

// reply is one message of the kernel's.
type reply struct {
	kind, flags uint16
	sequence    uint32
	data        []byte
}

// replies are the messages in what one receive brought, up to the first that does not fit.
func replies(b []byte) iter.Seq[reply] {
	return func(yield func(reply) bool) {
		for len(b) >= headerSize {
			size := int(binary.NativeEndian.Uint32(b))
			if size < headerSize || size > len(b) {
				return
			}
			r := reply{
				kind:     binary.NativeEndian.Uint16(b[4:]),
				flags:    binary.NativeEndian.Uint16(b[6:]),
				sequence: binary.NativeEndian.Uint32(b[8:]),
				data:     b[headerSize:size],
			}
			if !yield(r) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// text reads a string that may end with a zero.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

package network

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// lifetime is for how many seconds an answer of ours may be remembered: addresses follow containers.
	lifetime = 5
	// plainSize is what a client takes over UDP that says nothing (RFC 1035 section 4.2.1), most what
	// passes everywhere in one piece (RFC 9715 section 3.2 has 1400; DNS Flag Day 2020 has 1232).
	plainSize = 512
	most      = 1232
)

// question is what a client asks.
type question struct {
	header dnsmessage.Header
	dnsmessage.Question
	size int // of an answer over UDP
}

// parseQuestion reads a question. code says how to refuse it when it is not one this resolver answers;
// reply is false for what must not be answered at all: answers, which could go round in circles.
func parseQuestion(packet []byte) (q question, code dnsmessage.RCode, reply bool) {
	var p dnsmessage.Parser
	var err error
	if q.header, err = p.Start(packet); err != nil || q.header.Response {
		return q, 0, false
	}
	if q.header.OpCode != 0 {
		return q, dnsmessage.RCodeNotImplemented, true
	}
	if q.Question, err = p.Question(); err != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	if _, err = p.Question(); err != dnsmessage.ErrSectionDone {
		return q, dnsmessage.RCodeFormatError, true
	}
	q.size = plainSize
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	for {
		h, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			return q, dnsmessage.RCodeSuccess, true
		}
		if err != nil {
			return q, dnsmessage.RCodeFormatError, true
		}
		if h.Type == dnsmessage.TypeOPT { // RFC 6891 section 6.2.3
			q.size = max(plainSize, min(int(h.Class), most))
		}
		if p.SkipAdditional() != nil {
			return q, dnsmessage.RCodeFormatError, true
		}
	}
}

// answer is what the directory says to a question; forward tells that it says nothing and others may
// be asked.
func (d *directory) answer(from netip.Addr, q question) (packet []byte, forward bool) {
	a := d.askers[from]
	if a == nil || (q.Class != dnsmessage.ClassINET && q.Class != dnsmessage.ClassANY) {
		return q.reply(dnsmessage.RCodeRefused), false
	}
	name := strings.TrimSuffix(q.Name.String(), ".")
	switch q.Type {
	case dnsmessage.TypePTR:
		if address, ok := parseReverse(name); ok {
			if owner, ours := d.reverse(a, address); ours {
				return q.pointer(owner), false
			}
		}
	default:
		found, known := d.find(a, name, q.Type == dnsmessage.TypeAAAA)
		if known {
			if q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeAAAA {
				found = nil // there is such a name, and nothing of this type
			}
			return q.addresses(found), false
		}
	}
	if !a.outside {
		return q.reply(dnsmessage.RCodeNameError), false
	}
	return nil, true
}

// begin is the head of an answer, with the question in it.
func (q question) begin(code dnsmessage.RCode) dnsmessage.Builder {
	b := dnsmessage.NewBuilder(make([]byte, 0, plainSize), dnsmessage.Header{
		ID: q.header.ID, Response: true, OpCode: q.header.OpCode,
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	b.EnableCompression()
	return b
}

// reply is an answer with no more in it than a code.
func (q question) reply(code dnsmessage.RCode) []byte {
	b := q.begin(code)
	if q.Name.Length > 0 {
		// A question that was read can be written.
		_ = b.StartQuestions()
		_ = b.Question(q.Question)
	}
	packet, _ := b.Finish()
	return packet
}

func (q question) pointer(owner string) []byte {
	target, err := dnsmessage.NewName(owner)
	if owner == "" || err != nil {
		return q.reply(dnsmessage.RCodeNameError)
	}
	b := q.begin(dnsmessage.RCodeSuccess)
	_ = b.StartQuestions()
	_ = b.Question(q.Question)
	_ = b.StartAnswers()
	err = b.PTRResource(q.resource(), dnsmessage.PTRResource{PTR: target})
	packet, finish := b.Finish()
	if err != nil || finish != nil {
		return q.reply(dnsmessage.RCodeServerFailure)
	}
	return packet
}

func (q question) resource() dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: lifetime}
}

func (q question) addresses(found []netip.Addr) []byte {
	b := q.begin(dnsmessage.RCodeSuccess)
	_ = b.StartQuestions()
	_ = b.Question(q.Question)
	_ = b.StartAnswers()
	for _, a := range found {
		var err error
		if a.Is4() {
			err = b.AResource(q.resource(), dnsmessage.AResource{A: a.As4()})
		} else {
			err = b.AAAAResource(q.resource(), dnsmessage.AAAAResource{AAAA: a.As16()})
		}
		if err != nil {
			return q.reply(dnsmessage.RCodeServerFailure)
		}
	}
	packet, err := b.Finish()
	if err != nil {
		return q.reply(dnsmessage.RCodeServerFailure)
	}
	return packet
}

// truncate makes an answer fit into a datagram: all of it, or its question and the mark that makes
// clients ask again over TCP.
func (q question) truncate(packet []byte) []byte {
	if len(packet) <= q.size {
		return packet
	}
	short := q.reply(dnsmessage.RCodeSuccess)
	short[2] |= 0x02 // TC, RFC 1035 section 4.1.1
	return short
}

// answers tells if a packet of another server answers a question that was sent with an id.
func (q question) answers(packet []byte, id uint16) bool {
	if len(packet) < 12 || binary.BigEndian.Uint16(packet) != id {
		return false
	}
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || !h.Response {
		return false
	}
	asked, err := p.Question()
	if err == dnsmessage.ErrSectionDone { // a server that refuses may leave it out
		return h.RCode != dnsmessage.RCodeSuccess
	}
	return err == nil && asked.Type == q.Type && asked.Class == q.Class && strings.EqualFold(asked.Name.String(), q.Name.String())
}

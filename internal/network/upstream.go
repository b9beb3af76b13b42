package network

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// wait is how long one server may take. Clients ask again after five seconds.
	wait = 2 * time.Second
	// servers is how many are asked, as in resolv.conf(5).
	maxServers = 3
	// packetSize is the longest datagram; longer answers come over TCP.
	packetSize = 4096
)

var errNoServer = errors.New("no name server")

// upstream asks whom the host asks.
type upstream struct {
	netns *os.File
	path  string // of resolv.conf

	mu    sync.Mutex
	read  os.FileInfo // what path was when list was read from it
	list  []netip.AddrPort
	avoid map[netip.Addr]bool // the resolver itself: nobody asks himself
}

// servers are the host's name servers as its resolv.conf has them now.
func (u *upstream) servers() []netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, err := os.Stat(u.path)
	if err != nil {
		u.read, u.list = nil, nil
	} else if u.read == nil || !now.ModTime().Equal(u.read.ModTime()) || now.Size() != u.read.Size() || !os.SameFile(now, u.read) {
		u.read, u.list = nil, nil
		if f, err := os.Open(u.path); err == nil {
			u.read, u.list = now, parseResolv(io.LimitReader(f, 64<<10))
			_ = f.Close()
		}
	}
	var others []netip.AddrPort
	for _, s := range u.list {
		if !u.avoid[s.Addr()] {
			others = append(others, s)
		}
	}
	return others
}

// parseResolv reads the name servers of a resolv.conf(5).
func parseResolv(r io.Reader) []netip.AddrPort {
	var list []netip.AddrPort
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(list) < maxServers {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a.Unmap(), 53))
		}
	}
	return list
}

// ask sends a question on, as it came, and returns the answer with the question's id. over is "udp" or "tcp".
func (u *upstream) ask(ctx context.Context, q question, packet []byte, over string) ([]byte, error) {
	servers := u.servers()
	if len(servers) == 0 {
		return nil, errNoServer
	}
	var refused []byte
	var errs []error
	for _, server := range servers {
		answer, err := u.askOne(ctx, server, q, packet, over)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		binary.BigEndian.PutUint16(answer, q.header.ID)
		code := dnsmessage.RCode(answer[3] & 0xf)
		if code != dnsmessage.RCodeServerFailure && code != dnsmessage.RCodeRefused {
			return answer, nil
		}
		refused = answer // the next one may know more
	}
	if refused != nil {
		return refused, nil
	}
	return nil, errors.Join(errs...)
}

func (u *upstream) askOne(ctx context.Context, server netip.AddrPort, q question, packet []byte, over string) ([]byte, error) {
	var c net.Conn
	err := within(u.netns, func() (err error) {
		c, err = (&net.Dialer{Timeout: wait}).DialContext(ctx, over, server.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask %v: %w", server, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	// A number of its own, and a port of its own by the kernel: an answer has to know both.
	id := uint16(rand.Uint32())
	packet = append([]byte(nil), packet...)
	binary.BigEndian.PutUint16(packet, id)
	answer, err := exchange(c, q, packet, id, over)
	if err != nil {
		return nil, fmt.Errorf("ask %v: %w", server, err)
	}
	return answer, nil
}

func exchange(c net.Conn, q question, packet []byte, id uint16, over string) ([]byte, error) {
	if over == "tcp" {
		if err := writeFrame(c, packet); err != nil {
			return nil, err
		}
		answer, err := readFrame(c)
		if err == nil && !q.answers(answer, id) {
			err = ErrInvalid
		}
		return answer, err
	}
	if _, err := c.Write(packet); err != nil {
		return nil, err
	}
	buf := make([]byte, packetSize)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if q.answers(buf[:n], id) {
			return buf[:n], nil
		}
	}
}

// readFrame and writeFrame: messages over TCP have their length before them (RFC 1035 section 4.2.2).
func readFrame(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeFrame(w io.Writer, b []byte) error {
	if len(b) > 0xffff {
		return fmt.Errorf("message of %d bytes: %w", len(b), ErrInvalid)
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

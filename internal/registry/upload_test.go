package registry

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tare.dev/tare/test/distribution"
)

// A drive is a registry that keeps what came of an upload before it was cut.
type drive struct {
	t    *testing.T
	cut  int // of an upload's requests, bytes of the body after which they are cut; 0 is never
	cuts int // how often

	mu       sync.Mutex
	begun    int    // uploads
	has      []byte // of the last one
	received int    // bytes of all requests
	// status answers in its place, how much of an upload there is; nil does it well.
	status func(w http.ResponseWriter)
	refuse bool // what goes on
}

func (d *drive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Location", fmt.Sprintf("/upload?state=%d", len(d.has)))
	switch {
	case r.Method == http.MethodPost:
		d.begun++
		d.has = nil
		w.Header().Set("Location", "/upload?state=0")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodGet && d.status != nil:
		d.status(w)
	case r.Method == http.MethodGet:
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(d.has)-1, 0)))
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Query().Get("state") != strconv.Itoa(len(d.has)), d.refuse && len(d.has) > 0:
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	default:
		d.put(w, r)
	}
}

func (d *drive) put(w http.ResponseWriter, r *http.Request) {
	if from := len(d.has); from > 0 && r.ContentLength > 0 && !strings.HasPrefix(r.Header.Get("Content-Range"), fmt.Sprintf("%d-", from)) {
		d.t.Errorf("goes on at %d with Content-Range %q", from, r.Header.Get("Content-Range"))
	}
	most := int64(1 << 40)
	if d.cuts > 0 {
		most = int64(d.cut)
	}
	got, err := io.ReadAll(io.LimitReader(r.Body, most))
	d.has = append(d.has, got...)
	d.received += len(got)
	if err != nil || d.cuts > 0 {
		d.cuts--
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusCreated)
}

func TestUploadGoesOnWhereItWasCut(t *testing.T) {
	blob := random(10 << 20)
	for _, test := range []struct {
		name  string
		drive *drive
		begun int
		twice int // bytes
	}{
		// More often than a request is sent again: each time more has come over.
		{"often", &drive{cut: 1 << 20, cuts: 8}, 1, 0},
		{"nothing came", &drive{cut: 0, cuts: 2}, 3, 0},
		{"all but the answer", &drive{cut: 10 << 20, cuts: 1}, 1, 0},
		{"has forgotten it", &drive{cut: 1 << 20, cuts: 1, status: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }}, 2, 1 << 20},
		{"knows no end", &drive{cut: 1 << 20, cuts: 1, status: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }}, 2, 1 << 20},
		{"claims too much", &drive{cut: 1 << 20, cuts: 1, status: func(w http.ResponseWriter) {
			w.Header().Set("Range", "0-"+strconv.Itoa(11<<20))
			w.WriteHeader(http.StatusNoContent)
		}}, 2, 1 << 20},
		{"leads elsewhere", &drive{cut: 1 << 20, cuts: 1, status: func(w http.ResponseWriter) {
			w.Header().Set("Range", "0-1048575")
			w.Header().Set("Location", "http://192.0.2.1/upload")
			w.WriteHeader(http.StatusNoContent)
		}}, 2, 1 << 20},
		{"refuses to go on", &drive{cut: 1 << 20, cuts: 1, refuse: true}, 2, 1 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := test.drive
			d.t = t
			c := newClient(t, serve(t, d), Options{Retries: 3})
			if err := c.Put(within(t, time.Minute), describeBytes("x", blob), bytes.NewReader(blob)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(d.has, blob) {
				t.Error("other bytes have come")
			}
			if d.begun != test.begun || d.received != len(blob)+test.twice {
				t.Errorf("%d uploads with %d bytes, want %d with %d", d.begun, d.received, test.begun, len(blob)+test.twice)
			}
		})
	}
}

// An upload whose connection breaks again and again comes to its end at real registries. Distribution keeps what came
// since its third version, so that little crosses the network twice.
func TestUploadOverABadLink(t *testing.T) {
	blob := random(8 << 20)
	for v, most := range map[distribution.Version]int64{distribution.V2: 24 << 20, distribution.V3: 9 << 20} {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			if v == distribution.V3 && testing.Short() {
				t.Skip("takes long: builds distribution v3")
			}
			l := badLink(t, distribution.Start(t, v, distribution.Config{}).Host, 3<<20, 2)
			c := newClient(t, l.Addr().String(), Options{Insecure: []string{l.Addr().String()}})
			c.a.retrier.wait = firstWait // the registry must have seen that the connection broke
			d := describeBytes("x", blob)
			if err := c.Put(within(t, time.Minute), d, bytes.NewReader(blob)); err != nil {
				t.Fatal(err)
			}
			r, err := c.Open(within(t, time.Minute), d, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, blob) {
				t.Errorf("the registry has %d bytes, %v", len(got), err)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Logf("%d bytes were sent for %d", l.sent, len(blob))
			if l.cuts > 0 || l.sent > most {
				t.Errorf("%d bytes were sent, want at most %d; %d cuts were left", l.sent, most, l.cuts)
			}
		})
	}
}

// A link passes connections on, and cuts them.
type link struct {
	net.Listener
	mu    sync.Mutex
	after int64 // bytes of requests on a connection
	cuts  int   // that are left
	sent  int64 // bytes of requests
}

func badLink(t *testing.T, to string, after int64, cuts int) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{Listener: listener, after: after, cuts: cuts}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				there, err := net.Dial("tcp", to)
				if err != nil {
					c.Close()
					return
				}
				join(&counted{Conn: c, link: l}, there)
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l
}

// counted is an end of a connection over a link.
type counted struct {
	net.Conn
	*link
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent += int64(n)
	c.n += int64(n)
	if c.cuts > 0 && c.n > c.after {
		c.cuts--
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *counted) Close() error { return c.Conn.Close() }

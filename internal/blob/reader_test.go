package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// lossy breaks the connection after every few bytes.
type lossy struct {
	data   []byte
	every  int
	opened []int64
	refuse int // openings that fail, after the first
}

func (l *lossy) open(_ context.Context, at int64) (io.ReadCloser, error) {
	l.opened = append(l.opened, at)
	if len(l.opened) > 1 && l.refuse > 0 {
		l.refuse--
		return nil, errors.New("network is unreachable")
	}
	rest := l.data[at:]
	if len(rest) <= l.every {
		return io.NopCloser(bytes.NewReader(rest)), nil
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(rest[:l.every]), broken{})), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func descriptor(data string) v1.Descriptor {
	return v1.Descriptor{Digest: digest.FromString(data), Size: int64(len(data))}
}

func fast() Options { return Options{Pause: time.Nanosecond} }

func TestReaderGoesOnWhereItBroke(t *testing.T) {
	text := strings.Repeat("0123456789", 1000)
	l := &lossy{data: []byte(text), every: 1234, refuse: 3}
	r, err := NewReader(t.Context(), descriptor(text), l.open, fast())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != text {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	for i, at := range l.opened[1:] {
		if at < l.opened[i] {
			t.Errorf("fetched again from %d after %d", at, l.opened[i])
		}
	}
}

func TestReaderGivesUpWithoutProgress(t *testing.T) {
	text := strings.Repeat("x", 100)
	l := &lossy{data: []byte(text), every: 50, refuse: 1000}
	r, err := NewReader(t.Context(), descriptor(text), l.open, Options{Pause: time.Nanosecond, Attempts: 5})
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(r)
	if err == nil || !strings.Contains(err.Error(), "at byte 50 of 100") || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("err = %v", err)
	}
	if len(l.opened) != 6 {
		t.Errorf("opened %d times", len(l.opened))
	}
}

func TestReaderChecks(t *testing.T) {
	good := "some bytes"
	for _, c := range []struct {
		name, comes string
		want        error
	}{
		{"other bytes", "some bytez", ErrDigest},
		{"longer", "some bytes and more", ErrSize},
		{"shorter", "some", ErrSize},
		{"empty", "", ErrSize},
	} {
		open := func(_ context.Context, at int64) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(c.comes[min(int(at), len(c.comes)):])), nil
		}
		r, err := NewReader(t.Context(), descriptor(good), open, fast())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, c.want) {
			t.Errorf("%s: err = %v, want %v", c.name, err, c.want)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: a second Read = %v", c.name, err)
		}
	}
}

func TestReaderRefusesDigests(t *testing.T) {
	for _, d := range []digest.Digest{"", "sha256:12", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:" + digest.Digest(strings.Repeat("G", 64))} {
		_, err := NewReader(t.Context(), v1.Descriptor{Digest: d}, nil, Options{})
		if err == nil {
			t.Errorf("digest %q is accepted", d)
		}
	}
}

func TestReaderEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	text := strings.Repeat("x", 100)
	l := &lossy{data: []byte(text), every: 50, refuse: 1000}
	r, err := NewReader(ctx, descriptor(text), l.open, Options{Pause: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

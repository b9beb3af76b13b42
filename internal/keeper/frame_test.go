package keeper

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func FuzzRequest(f *testing.F) {
	for _, s := range []string{"", "h\x01", "a\x01\x00\x00\x00\x00\x00\x00\x00", "pname", "gname", "dname", "n", "nname", "u/x", "z"} {
		f.Add([]byte(s), 0)
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, files int) {
		r, err := parseRequest(b, files)
		if err != nil {
			return
		}
		if len(r.name) > maxName && r.op != opUpgrade || (files != 0) != (r.op == opPut || r.op == opUpgrade) || files > maxFiles {
			t.Errorf("parseRequest(%q, %d) = %+v", b, files, r)
		}
		if len(b) > maxFrame || !bytes.Contains(b, []byte(r.name)) {
			t.Errorf("parseRequest(%q) = %+v", b, r)
		}
	})
}

// What the keeper says is read without trust, too: it may be another version.
func FuzzAnswers(f *testing.F) {
	f.Add(appendExit(nil, Exit{Seq: 1, Pid: 2, Start: 3, Status: 4, At: time.Unix(5, 6)}))
	f.Add(appendReply(nil, unix.ENOENT))
	f.Add(appendNames(nil, []string{"a", "b"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := parseExit(b); err == nil && !bytes.Equal(appendExit(nil, e), b) {
			t.Errorf("parseExit(%x) = %+v", b, e)
		}
		if payload, errno, err := parseReply(b); err == nil && !bytes.Equal(append(appendReply(nil, errno), payload...), b) {
			t.Errorf("parseReply(%x) = %x, %d", b, payload, errno)
		}
		names, more, err := parseNames(b)
		if err == nil && !more && len(b) <= maxFrame-replySize && !bytes.Equal(appendNames(nil, names), b) {
			t.Errorf("parseNames(%x) = %q", b, names)
		}
	})
}

func TestNamesFillAFrameAndNoMore(t *testing.T) {
	for size := 1; size <= maxName; size++ {
		all := slices.Repeat([]string{string(make([]byte, size))}, maxFrame)
		b := appendNames(appendReply(nil, 0), all)
		payload, _, err := parseReply(b)
		if err != nil {
			t.Fatal(err)
		}
		names, more, err := parseNames(payload)
		if err != nil || !more || len(b) > maxFrame || len(b)+2+size <= maxFrame {
			t.Errorf("names of %d bytes: %d in %d bytes, more: %v, %v", size, len(names), len(b), more, err)
		}
	}
}

func exampleState() *state {
	s := &state{engine: engine{pid: 7, sock: 9, since: time.Unix(1, 2), connected: true}, pause: time.Second, ending: true}
	s.exits.last, s.exits.sent = 12, 1
	s.exits.list = []Exit{{Seq: 3, Pid: 4, Start: 5, Status: 6, At: time.Unix(7, 8)}, {Seq: 12, Pid: math.MaxInt32, Start: math.MaxUint64, Status: math.MaxUint32, At: time.Unix(0, -1)}}
	s.held = store{"a": {10, 11}, "b": {12}}
	return s
}

func TestStateComesBack(t *testing.T) {
	empty := &state{engine: engine{sock: -1, since: time.Unix(0, 0)}, held: store{}}
	for _, want := range []*state{exampleState(), empty} {
		got, err := parseState(appendState(nil, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("it comes back as %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestBadStatesAreRefused(t *testing.T) {
	for what, edit := range map[string]func(s *state){
		"order":      func(s *state) { slices.Reverse(s.exits.list) },
		"last":       func(s *state) { s.exits.last = 11 },
		"sent":       func(s *state) { s.exits.sent = 3 },
		"twice":      func(s *state) { s.held["a"][1] = 9 },
		"stdin":      func(s *state) { s.held["b"][0] = 0 },
		"pause":      func(s *state) { s.pause = time.Hour },
		"no files":   func(s *state) { s.held["c"] = nil },
		"many files": func(s *state) { s.held["c"] = slices.Repeat([]int{20}, maxFiles+1) },
		"no name":    func(s *state) { s.held[""] = []int{30} },
	} {
		s := exampleState()
		edit(s)
		if _, err := parseState(appendState(nil, s)); err == nil {
			t.Errorf("%s: it was accepted", what)
		}
	}
	b := appendState(nil, exampleState())
	for n := range b {
		if _, err := parseState(b[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(b))
		}
	}
	if _, err := parseState(append(b, 0)); err == nil {
		t.Error("a byte too much was accepted")
	}
}

func FuzzState(f *testing.F) {
	f.Add(appendState(nil, exampleState()))
	f.Add([]byte(stateMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		again, err := parseState(appendState(nil, s))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v comes back as %+v, %v", s, again, err)
		}
	})
}

package dockerapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/jsonstream"

	"tare.dev/tare/internal/transfer"
)

// A stream is an answer of JSON messages, which docker's clients draw as progress. Nothing is sent
// before the first message, so that a request that fails at once has an HTTP status.
type stream struct {
	w http.ResponseWriter

	mu     sync.Mutex
	begun  bool
	quiet  bool
	head   []jsonstream.Message // to go before the first message
	verbs  streamVerbs
	lastly map[string]time.Time // when a layer was last drawn
}

// streamVerbs are what happens to a layer, in the words that docker uses.
type streamVerbs struct{ begin, moving, done, exists string }

// often is how often a layer's progress is told.
const often = 100 * time.Millisecond

func newStream(w http.ResponseWriter, verbs streamVerbs, head ...jsonstream.Message) *stream {
	return &stream{w: w, verbs: verbs, head: head, lastly: map[string]time.Time{}}
}

// message is jsonstream.Message with the members that clients before API 1.4x read in place of its.
type message struct {
	jsonstream.Message
	Old string `json:"error,omitempty"`
}

func (s *stream) send(m jsonstream.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(m)
}

// write sends a message. A client that went away ends its request's context, which ends the transfer.
func (s *stream) write(m jsonstream.Message) {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "application/json")
		s.w.WriteHeader(http.StatusOK)
		for _, h := range s.head {
			s.encode(h)
		}
	}
	s.encode(m)
	if f, ok := s.w.(http.Flusher); ok {
		f.Flush()
	}
}

func (s *stream) encode(m jsonstream.Message) {
	out := message{Message: m}
	if m.Error != nil {
		out.Old = m.Error.Message
	}
	line, err := json.Marshal(out)
	if err != nil {
		return // it is made of text and numbers
	}
	_, _ = s.w.Write(append(line, '\r', '\n'))
}

func (s *stream) status(text string) { s.send(jsonstream.Message{Status: text}) }

// event tells of a step of a transfer.
func (s *stream) event(e transfer.Event) {
	if s.quiet {
		return
	}
	id := "layers"
	if _, hex, _ := strings.Cut(e.Blob.String(), ":"); len(hex) >= 12 {
		id = hex[:12]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := jsonstream.Message{ID: id, Progress: &jsonstream.Progress{}}
	switch e.Kind {
	case "layer":
		m.Status = s.verbs.begin
	case "bytes", "read", "pack":
		if now := time.Now(); now.Sub(s.lastly[id]) >= often {
			s.lastly[id] = now
			m.Status, m.Progress = s.verbs.moving, &jsonstream.Progress{Current: e.Current, Total: e.Total}
			break
		}
		return
	case "resume":
		m.Status = "Retrying: " + causeText(e.Cause)
	case "exists":
		m.Status = s.verbs.exists
	case "done", "packed":
		m.Status = s.verbs.done
		delete(s.lastly, id)
	default:
		return
	}
	s.write(m)
}

func causeText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// end is what the handler returns: an error becomes a message once messages were sent.
func (s *stream) end(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil || !s.begun {
		return err
	}
	s.write(jsonstream.Message{Error: &jsonstream.Error{Message: err.Error()}})
	return nil
}

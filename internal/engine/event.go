package engine

import (
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
)

// eventsKept is how many past events can be asked for.
const eventsKept = 256

// events are the last things that happened, and who wants to hear of the next.
type eventLog struct {
	mu        sync.Mutex
	past      []events.Message // a ring from first on, once it is full
	first     int
	listeners []chan events.Message
}

func newEvents() *eventLog { return &eventLog{} }

// Publish tells those who listen that something happened.
func (e *Engine) Publish(kind, action, id string, attributes map[string]string) {
	now := time.Now()
	e.events.add(events.Message{
		Type: events.Type(kind), Action: events.Action(action), Scope: "local",
		Actor: events.Actor{ID: id, Attributes: attributes},
		Time:  now.Unix(), TimeNano: now.UnixNano(),
	})
}

func (l *eventLog) add(m events.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.past) < eventsKept {
		l.past = append(l.past, m)
	} else {
		l.past[l.first] = m
		l.first = (l.first + 1) % eventsKept
	}
	l.listeners = slices.DeleteFunc(l.listeners, func(to chan events.Message) bool {
		select {
		case to <- m:
			return false
		default: // it does not read: it is let go, and sees its channel closed
			close(to)
			return true
		}
	})
}

// Subscribe returns the past events that are kept, and a channel of those to come. The channel is closed for
// a listener that does not keep up, and by stop.
func (e *Engine) Subscribe() (past []events.Message, next <-chan events.Message, stop func()) {
	l := e.events
	l.mu.Lock()
	defer l.mu.Unlock()
	past = append(append(past, l.past[l.first:]...), l.past[:l.first]...)
	to := make(chan events.Message, 128)
	l.listeners = append(l.listeners, to)
	return past, to, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if i := slices.Index(l.listeners, to); i >= 0 {
			l.listeners = slices.Delete(l.listeners, i, i+1)
			close(to)
		}
	}
}

// listening is how many listen.
func (l *eventLog) listening() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.listeners)
}

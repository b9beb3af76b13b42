package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"tare.dev/tare/internal/store"
)

// Kind is what sort of failure an error is, for those who answer a request.
type Kind int

// Kinds of errors.
const (
	Internal    Kind = iota // a failure of the machine, or ours
	NotFound                // what was named is not there
	Conflict                // not in the state it is in
	Invalid                 // the request makes no sense
	NotModified             // it is so already
	NotOffered              // not part of what Tare is
	Forbidden               // policy
)

// Status is the status of HTTP for the kind.
func (k Kind) Status() int {
	switch k {
	case NotFound:
		return http.StatusNotFound
	case Conflict:
		return http.StatusConflict
	case Invalid:
		return http.StatusBadRequest
	case NotModified:
		return http.StatusNotModified
	case NotOffered:
		return http.StatusNotImplemented
	case Forbidden:
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}

// Error is an error of a kind.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Status is the status of HTTP for the error.
func (e *Error) Status() int { return e.Kind.Status() }

// Errorf makes an error of a kind. Clients of the API look for docker's words in some of them.
func Errorf(k Kind, format string, args ...any) error {
	return &Error{k, fmt.Errorf(format, args...)}
}

// KindOf finds the kind of an error.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return NotFound
	case errors.Is(err, store.ErrInUse):
		return Conflict
	}
	return Internal
}

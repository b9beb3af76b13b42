package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// An Error is why a registry did not do what it was asked for. It is fs.ErrNotExist
// where there is no such image or blob, and fs.ErrPermission where the registry wants
// other credentials.
type Error struct {
	Op     string // "resolve", "fetch", "push", "mount"
	Object string // the name of the image, or the digest in it
	Status int    // of HTTP; 0 if there was no answer
	Err    error
	Hint   string // what a person can do, if we know
}

// Error returns one line: operation, object, cause, hint. What a server put into it does
// nothing to a terminal.
func (e *Error) Error() string {
	s := e.Op + " " + e.Object + ": " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return oneLine(s)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary tells whether the same may do later, without anybody changing anything.
func (e *Error) Temporary() bool {
	if e.Status != 0 {
		return e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.Status >= 500
	}
	return isPassing(e.Err)
}

// fault makes an Error of err.
func fault(op, object, host string, err error) error {
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	e := &Error{Op: op, Object: object, Err: cause(err)}
	var answer *statusError
	if errors.As(err, &answer) {
		e.Status = answer.status
	}
	e.Hint = hint(host, err)
	return e
}

// cause strips what net/http puts around: "Get \"https://…\": ".
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// hint says what a person can do about err.
func hint(host string, err error) string {
	var (
		answer    *statusError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &answer):
		return answer.hint(host)
	case errors.As(err, &authority):
		return "if this is the right server, name its authority with --ca FILE, or put it at " + DefaultCertDirs()[0] + "/" + host + "/ca.crt"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "is this machine's clock right?"
	case isPlain(err):
		return host + " speaks plain HTTP, which must be allowed by name: --plain-http " + host
	}
	return ""
}

// isPlain tells whether err is a server's answer without TLS to a client with TLS.
func isPlain(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &record) && strings.HasPrefix(string(record.RecordHeader[:]), "HTTP")
}

// A statusError is an answer other than the one that was asked for.
type statusError struct {
	status int
	text   string // what the server says, if anything
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%d %s", e.status, strings.ToLower(http.StatusText(e.status)))
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

func (e *statusError) Is(target error) bool {
	switch e.status {
	case http.StatusNotFound, http.StatusGone:
		return target == fs.ErrNotExist
	case http.StatusUnauthorized, http.StatusForbidden:
		return target == fs.ErrPermission
	}
	return false
}

func (e *statusError) hint(host string) string {
	switch e.status {
	case http.StatusUnauthorized:
		return "no such image, or it needs credentials for " + host + ": log in, or add them to " + DefaultAuthFiles()[0]
	case http.StatusForbidden:
		return "the credentials for " + host + " do not allow this"
	case http.StatusTooManyRequests:
		return host + " limits how often it is asked: wait, log in, or use a mirror"
	case http.StatusBadRequest:
		if strings.Contains(e.text, "HTTP request to an HTTPS server") {
			return host + " speaks https: leave out --plain-http " + host
		}
	}
	return ""
}

// maxErrorBody is how much of a server's explanation is read, and maxErrorText how much is shown.
const (
	maxErrorBody = 16 << 10
	maxErrorText = 300
)

// refusal ends a response that is not the one asked for, and returns it as an error.
func refusal(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what came is enough
	drain(resp)
	var document struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Details string `json:"details"` // of token servers
		Message string `json:"message"`
	}
	e := &statusError{status: resp.StatusCode}
	if json.Unmarshal(body, &document) != nil {
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") || resp.Header.Get("Content-Type") == "" {
			e.text = printable(string(body))
		}
		return e
	}
	texts := []string{document.Details, document.Message}
	for _, one := range document.Errors {
		if one.Message == "" {
			one.Message = strings.ToLower(strings.ReplaceAll(one.Code, "_", " "))
		}
		texts = append(texts, one.Message)
	}
	texts = texts[:min(len(texts), 5)]
	e.text = printable(strings.Join(texts, " "))
	return e
}

// printable is the beginning of what a stranger wrote, as one harmless line.
func printable(s string) string {
	if s = oneLine(s); len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}

// oneLine takes what is not printable out of a text, and its ends of lines.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

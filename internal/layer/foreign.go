package layer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// foreign is an error with words of the layer in it. A name may hold any bytes, and errors go to
// terminals and logs: what is not printable stands there as an escape, as in Go.
type foreign struct{ error }

// Foreign lets an error with words of a layer be printed.
func Foreign(err error) error { return foreign{err} }

func (f foreign) Unwrap() error { return f.error }

func (f foreign) Error() string {
	s := f.error.Error()
	var out strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&out, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			out.WriteString(strings.Trim(fmt.Sprintf("%q", r), "'"))
		}
		s = s[n:]
	}
	return out.String()
}

package layer

import (
	"errors"
	"io"
	"testing"
)

func TestErrorsCanBePrinted(t *testing.T) {
	for in, want := range map[string]string{
		"usr/bin/café":     "usr/bin/café",
		"\x1b[2Jcalm":      `\x1b[2Jcalm`,
		"a\nb\rc\td":       `a\nb\rc\td`,
		"\u202egnp.exe":    `\u202egnp.exe`,
		"\xff\xfe":         `\xff\xfe`,
		`"quoted" \ and '`: `"quoted" \ and '`,
	} {
		if got := (foreign{errors.New(in)}).Error(); got != want {
			t.Errorf("error of %q reads %q, want %q", in, got, want)
		}
	}
	if !errors.Is(foreign{io.EOF}, io.EOF) {
		t.Error("hides its cause")
	}
}

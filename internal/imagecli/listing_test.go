package imagecli

import (
	"bytes"
	"testing"
)

func TestNamesAloneAsJSON(t *testing.T) {
	for _, test := range []struct {
		l    listing
		all  []string
		want string
	}{
		{listing{quiet: true}, []string{"a", "b"}, "a\nb\n"},
		{listing{quiet: true}, nil, ""},
		{listing{quiet: true, json: true}, []string{"a", "b"}, "[\"a\",\"b\"]\n"},
		{listing{quiet: true, json: true}, nil, "[]\n"},
	} {
		var out bytes.Buffer
		if err := test.l.names(&out, test.all); err != nil || out.String() != test.want {
			t.Errorf("%+v of %q = %q, %v, want %q", test.l, test.all, &out, err, test.want)
		}
	}
}

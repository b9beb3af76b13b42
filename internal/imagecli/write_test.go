package imagecli

import (
	"strings"
	"testing"
)

func TestCheckWrite(t *testing.T) {
	for _, c := range []struct {
		write, size string
		readOnly    bool
		want        string // in the error; "" is none
	}{
		{"", "", false, ""},
		{"memory", "1m", false, ""},
		{"", "", true, ""},
		{"flash", "none", false, ""},
		{"flash", "4m", false, ""},
		{"./dir", "", false, ""},
		{"/dir", "4g", false, ""},
		{"memory", "none", false, "has a limit"},
		{"", "-1", false, "--write-size -1"},
		{"flash", "", true, "--read-only"},
		{"disk", "", false, "./disk"},
	} {
		r := run{write: c.write, writeSize: c.size}
		r.o.ReadOnly = c.readOnly
		err := r.checkWrite()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("--write %q --write-size %q: %v, want %q", c.write, c.size, err, c.want)
		}
	}
}

package enginecli

import (
	"bytes"
	"io"
	"testing"
)

// FuzzFrames reads streams that no engine of ours has written.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(frameOf(1, "one") + frameOf(2, "two")))
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'x'})
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		_ = copyFrames(&out, io.Discard, bytes.NewReader(text))
		if out.Len() > len(text) {
			t.Errorf("%d bytes were made of %d", out.Len(), len(text))
		}
	})
}

// FuzzPublish reads what people type.
func FuzzPublish(f *testing.F) {
	for _, s := range []string{"80", "8080:80/udp", "[::1]:1-3:1-3", "127.0.0.1::80", ":", "::", "[]:1:1", "1-65535"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all, err := parsePublish(s)
		if err == nil && len(all) == 0 {
			t.Errorf("parsePublish(%q) is nothing", s)
		}
	})
}

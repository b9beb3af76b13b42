package imagecli

import (
	"strings"
	"testing"

	"tare.dev/tare/internal/store"
)

func TestReportTellsPacksFromFiles(t *testing.T) {
	name := strings.Repeat("ab", 32)
	use := store.Use{Image: "sha256:" + "0123456789abcdef", Names: []string{"docker.io/library/app:1"}, Path: "etc/conf"}
	var out strings.Builder
	printReport(&out, store.Report{Damaged: []store.Damage{
		{Name: name, Size: 12, Cause: "missing", Uses: []store.Use{use}},
		{Name: name, Pack: true, Cause: "pack sha256:ab: damaged", Uses: []store.Use{use}},
	}})
	want := `damaged: object abababababab, 12 B: missing
  in app:1: /etc/conf
damaged: pack abababababab of small files
  in app:1
`
	if got := out.String(); !strings.HasPrefix(got, want) {
		t.Errorf("printed %q, want %q", got, want)
	}
}

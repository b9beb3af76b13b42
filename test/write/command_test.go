package writetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tare.dev/tare/test/rootfs"
)

// The status is the command's, or a shell's where there is no command, as docker has it.
func TestStatusOfARun(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	box := filepath.Join(t.TempDir(), "odd")
	must(t, rootfs.Busybox(box))
	must(t, os.WriteFile(filepath.Join(box, "text"), []byte("no program\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(box, "lost"), []byte("#!/no/such/shell\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(box, "alien"), []byte("\x7fELF"), 0o755))
	d.add("odd", box)
	for _, test := range []struct {
		command []string
		status  int
		words   string
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"sh", "-c", "exit 3"}, 3, ""},
		{[]string{"nothing"}, 127, "executable file not found in $PATH"},
		{[]string{"/no/such/file"}, 127, "no such file or directory"},
		{[]string{"/lost"}, 127, "no such file or directory"},
		{[]string{"/text"}, 126, "permission denied"},
		{[]string{"/bin"}, 126, "is a directory"},
		{[]string{"/alien"}, 126, "exec format error"},
	} {
		r := d.do(append([]string{"run", "odd"}, test.command...)...)
		lines := min(test.status/126, 1)
		if r.code != test.status || strings.Count(r.err, "\n") != lines || !strings.Contains(r.err, test.words) {
			t.Errorf("tare run odd %q: status %d and %q, want %d and one line with %q", test.command, r.code, r.err, test.status, test.words)
		}
	}
}

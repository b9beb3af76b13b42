package writetest

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// An image of one static program has no directory that anything could be mounted on.
func TestReadOnlyRunOfAnImageOfOneFile(t *testing.T) {
	d := newDevice(t, newFlash(t, nil, ""))
	path, err := exec.LookPath("busybox")
	must(t, err)
	program, err := os.ReadFile(path)
	must(t, err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: "busybox", Mode: 0o755, Size: int64(len(program))}))
	_, err = w.Write(program)
	must(t, err)
	must(t, w.Close())
	file := filepath.Join(t.TempDir(), "one.tar")
	must(t, os.WriteFile(file, b.Bytes(), 0o600))
	d.must("import", "-q", file, "one")
	r := d.do("run", "--read-only", "one", "/busybox", "sh", "-c", "/busybox test -d /proc/1 && ! /busybox touch /file")
	if r.code != 0 {
		t.Errorf("exit status %d: %s", r.code, r.err)
	}
}

package rootfs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

func TestMissingPackIsNoFaultOfTheKernel(t *testing.T) {
	dir := t.TempDir()
	m := &Mounter{Run: filepath.Join(dir, "run")}
	_, err := m.Pack("key", filepath.Join(dir, "gone.erofs"))
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "kernel") || strings.Count(err.Error(), "gone") != 1 {
		t.Errorf("Pack = %v", err)
	}
}

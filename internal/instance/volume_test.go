package instance

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func testVolumes(t *testing.T) Volumes {
	dir := t.TempDir()
	return Volumes{Dir: filepath.Join(dir, "flash"), Run: filepath.Join(dir, "memory")}
}

func TestVolumesKeepWhatTheyWereMadeWith(t *testing.T) {
	v := testVolumes(t)
	spec := VolumeSpec{Labels: map[string]string{"a": "b"}}
	for name, s := range map[string]VolumeSpec{"plain": {}, "labelled": spec} {
		got, made, err := v.Create(name, s)
		if err != nil || !made || got.Path != filepath.Join(v.Dir, name) || got.Created.IsZero() {
			t.Fatalf("Create(%s) = %+v, %v, %v", name, got, made, err)
		}
	}
	again, made, err := v.Create("labelled", VolumeSpec{})
	if err != nil || made || !reflect.DeepEqual(again.VolumeSpec, spec) {
		t.Errorf("a second Create = %+v, %v, %v", again, made, err)
	}
	all, err := v.List()
	if err != nil || len(all) != 2 || all[0].Name != "labelled" || all[1].Labels != nil {
		t.Errorf("List = %+v, %v", all, err)
	}
}

func TestAVolumeIsRemovedWithAllThatBelongsToIt(t *testing.T) {
	v := testVolumes(t)
	if _, _, err := v.Create("data", VolumeSpec{Labels: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.Dir, "data", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.Remove("data"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(v.Dir); err != nil || len(left) > 0 {
		t.Errorf("Remove leaves %v, %v", left, err)
	}
	if err := v.Remove("data"); !errors.Is(err, ErrVolume) {
		t.Errorf("a second Remove = %v, want %v", err, ErrVolume)
	}
}

func TestVolumesAreNamedAndMadeAsTheyCanBe(t *testing.T) {
	v := testVolumes(t)
	for name, options := range map[string]map[string]string{
		"../up":  nil,
		".data":  nil,
		"nfs":    {"type": "nfs", "device": ":/x", "o": "addr=10.0.0.1"},
		"driver": {"mountpoint": "/x"},
		"device": {"type": "none", "o": "bind", "device": "relative"},
		"limit":  {"type": "tmpfs", "size": "1m"},
		"size":   {"size": "much"},
	} {
		if _, made, err := v.Create(name, VolumeSpec{Options: options}); err == nil || made {
			t.Errorf("Create(%s, %v) = %v, %v", name, options, made, err)
		}
	}
	if left, _ := os.ReadDir(v.Dir); len(left) > 0 {
		t.Errorf("volumes that were refused leave %v", left)
	}
}

func TestADirectoryOfTheHostOutlastsItsVolume(t *testing.T) {
	v, dir := testVolumes(t), t.TempDir()
	spec := VolumeSpec{Options: map[string]string{"type": "none", "o": "bind", "device": dir}}
	got, _, err := v.Create("host", spec)
	if err != nil || got.Path != dir {
		t.Fatalf("Create = %+v, %v", got, err)
	}
	if err := errors.Join(v.Mount(got), v.Remove("host")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestAVolumeInMemoryIsMountedOnceAndUnmounted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	v := testVolumes(t)
	got, _, err := v.Create("fast", VolumeSpec{Options: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,noexec"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Mount(got); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(got.Path, "file")
	if err := os.WriteFile(file, make([]byte, 2<<20), 0o600); err == nil {
		t.Error("2 MiB fit in a volume of 1 MiB")
	}
	if err := v.Mount(got); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a second Mount hides what is there: %v", err)
	}
	if err := v.Remove("fast"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(got.Path); err == nil {
		t.Error("Remove leaves the mount")
	}
}

func TestNamesAreFilesOfOneDirectory(t *testing.T) {
	for _, name := range []string{"web", "web-1.2_x", "0"} {
		if err := CheckName(name); err != nil {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", ".once-1", "a/b", "-f", "a b", "a\n", "ä", strings.Repeat("a", 129)} {
		if err := CheckName(name); err == nil {
			t.Errorf("CheckName(%q) = nil", name)
		}
	}
}

package writetest

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// newQuotaFlash has project quotas, where the kernel has them.
func newQuotaFlash(t *testing.T) flash {
	t.Helper()
	f, err := mountFlash(t, []string{"-O", "quota,project", "-E", "quotatype=prjquota"}, "prjquota")
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EROFS) {
		t.Skipf("needs the kernel to have quotas of ext4: %v", err)
	}
	must(t, err)
	return f
}

type limited struct {
	Name                  string
	UsedBytes, LimitBytes int64
}

func TestFlashHasALimit(t *testing.T) {
	d := newDevice(t, newQuotaFlash(t))
	run := []string{"run", "--write", "flash", "--write-size", "4m", "--name", "web", "box"}
	for range 2 { // the layer is there the second time
		r := d.do(append(run, "dd", "if=/dev/zero", "of=/big", "bs=64k", "count=160", "conv=fsync")...)
		if r.code != 1 || !strings.Contains(r.err, "quota exceeded") && !strings.Contains(r.err, "No space left") {
			t.Fatalf("10 MiB in 4: exit status %d: %s", r.code, r.err)
		}
	}
	var l []limited
	must(t, json.Unmarshal([]byte(d.must("store", "layers", "--json")), &l))
	if len(l) != 1 || l[0].LimitBytes != 4<<20 || l[0].UsedBytes > 4<<20 || l[0].UsedBytes < 3<<20 {
		t.Errorf("layers: %+v", l)
	}
	// What an image's file is copied to counts, and so does what is written through a directory of it.
	r := d.do("run", "--write", "flash", "--name", "web", "box", "sh", "-c", "cat /bin/busybox >>/bin/busybox; cp -r /bin /copy")
	if r.code == 0 {
		t.Errorf("copies went beyond the limit")
	}
	r = d.do("run", "--write", "flash", "--name", "web", "--write-size", "16m", "box", "dd", "if=/dev/zero", "of=/big", "bs=64k", "count=160")
	if r.code != 0 {
		t.Errorf("with a higher limit: %s", r.err)
	}
	d.must("rm", "web")
	if left := d.left("containers"); left != nil {
		t.Errorf("left: %v", left)
	}
	d.must("run", "--write", "flash", "--write-size", "4m", "box", "dd", "if=/dev/zero", "of=/big", "bs=64k", "count=32")
}

func TestVolumeHasALimit(t *testing.T) {
	d := newDevice(t, newQuotaFlash(t))
	d.must("volume", "create", "--size", "2m", "small")
	d.must("volume", "create", "large")
	r := d.do("run", "-v", "small:/data", "box", "dd", "if=/dev/zero", "of=/data/big", "bs=64k", "count=64")
	if r.code != 1 || !strings.Contains(r.err, "quota exceeded") && !strings.Contains(r.err, "No space left") {
		t.Errorf("4 MiB in 2: exit status %d: %s", r.code, r.err)
	}
	d.must("run", "-v", "large:/data", "box", "dd", "if=/dev/zero", "of=/data/big", "bs=64k", "count=64")
	d.refused("without a limit", "volume", "create", "--size", "8m", "large")
	var v []limited
	must(t, json.Unmarshal([]byte(d.must("volume", "ls", "--json")), &v))
	if len(v) != 2 || v[0].LimitBytes != 0 || v[0].UsedBytes < 4<<20 || v[1].LimitBytes != 2<<20 {
		t.Errorf("ls: %+v", v)
	}
}

// Two that choose a project at once get two, and a removed one's is free again.
func TestLimitsAtOnce(t *testing.T) {
	d := newDevice(t, newQuotaFlash(t))
	const n = 8
	for range 2 {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				name := string(rune('a' + i))
				if r := d.do("volume", "create", "--size", "1m", name); r.code != 0 {
					t.Errorf("%s: %s", name, r.err)
				}
			})
		}
		wg.Wait()
		for i := range n {
			d.must("run", "-v", string(rune('a'+i))+":/data", "box", "dd", "if=/dev/zero", "of=/data/x", "bs=1000k", "count=1")
		}
		for i := range n {
			d.must("volume", "rm", string(rune('a'+i)))
		}
	}
	d.must("volume", "create", "--size", "1m", "last")
	out, err := exec.Command("lsattr", "-pd", d.root+"/volumes/last").CombinedOutput()
	if err != nil || !strings.HasPrefix(strings.TrimSpace(string(out)), "1413566976 ") {
		t.Errorf("the first project is not free again: %s, %v", out, err)
	}
}

func TestNoLimitIsNotSilent(t *testing.T) {
	t.Run("no quotas", func(t *testing.T) { refuseLimits(t, newFlash(t, nil, "")) })
	// Counted and not enforced: such a kernel takes a limit and ignores it.
	t.Run("not enforced", func(t *testing.T) {
		f, err := mountFlash(t, []string{"-O", "quota,project", "-E", "quotatype=prjquota"}, "")
		if err != nil {
			t.Skipf("needs the kernel to have quotas of ext4: %v", err)
		}
		refuseLimits(t, f)
	})
}

func refuseLimits(t *testing.T, f flash) {
	t.Helper()
	d := newDevice(t, f)
	d.refused("no project quotas|prjquota", "run", "--write", "flash", "--write-size", "4m", "--name", "web", "box", "true")
	d.refused("no project quotas|prjquota", "volume", "create", "--size", "4m", "v")
	if left := append(d.left("containers"), d.left("volumes")...); left != nil {
		t.Errorf("left: %v", left)
	}
}

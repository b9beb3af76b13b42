package images

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tare.dev/tare/test/built"
)

// TestInterruptedCommandsLeaveNothing stops commands in the middle, as Ctrl-C does.
func TestInterruptedCommandsLeaveNothing(t *testing.T) {
	archive := debian(t)
	d := newDevice(t)
	d.must("import", "-q", archive, "debian:test")
	saved := t.TempDir() + "/saved.tar"
	d.must("save", "-q", "-o", saved, "debian:test")
	out := t.TempDir()
	fresh := newDevice(t)
	for _, test := range []struct {
		d    *device
		args []string
	}{
		{d, []string{"save", "-q", "--compress", "gzip", "-o", out + "/a.tar", "debian:test"}},
		{d, []string{"export", "-q", "-o", out + "/b.tar", "debian:test"}},
		{d, []string{"push", "-q", "debian:test", "oci-archive:" + out + "/c.tar"}},
		{fresh, []string{"load", "-q", "-i", saved}},
		{fresh, []string{"import", "-q", archive, "debian:new"}},
	} {
		// The first moments that are too late for a quick machine do not count.
		for after := 120 * time.Millisecond; ; after /= 2 {
			r := test.d.interrupted(after, test.args...)
			if r.code == 0 && after > time.Millisecond {
				os.RemoveAll(out)
				os.Mkdir(out, 0o755)
				fresh.do("rmi", "-f", "debian:new", "debian:test")
				continue
			}
			if r.code == 0 || strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "tare: ") {
				t.Errorf("tare %q, interrupted: exit status %d, %q", test.args, r.code, r.err)
			}
			break
		}
		if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
			t.Errorf("tare %q left %v, %v", test.args, left, err)
		}
	}
	for _, one := range []*device{d, fresh} {
		left, err := os.ReadDir(one.root + "/store/tmp")
		if err != nil || len(left) > 0 {
			t.Errorf("left in the store: %v, %v", left, err)
		}
	}
	if got := fresh.must("images", "-q"); got != "" {
		t.Errorf("images that were not finished: %s", got)
	}
}

// interrupted runs tare and sends it SIGINT.
func (d *device) interrupted(after time.Duration, args ...string) result {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), built.Tare(d.t), append([]string{"--root", d.root, "--run", d.run}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = cmd.Wait()                       // the exit status tells
	return result{"", errs.String(), cmd.ProcessState.ExitCode()}
}

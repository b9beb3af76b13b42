package vm

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"tare.dev/tare/test/vm/suite"
)

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	const dep = "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko kernel/lib/crc16.ko\n" +
		"kernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc16.ko:\nkernel/drivers/block/virtio-blk.ko: kernel/lib/crc16.ko\n"
	got, err := closure(dep, "kernel/drivers/virtio/virtio_pci.ko\n", []string{"virtio_pci", "virtio_blk", "ext4"})
	want := []string{
		"kernel/lib/crc16.ko", "kernel/drivers/block/virtio-blk.ko",
		"kernel/fs/mbcache.ko", "kernel/fs/jbd2/jbd2.ko", "kernel/fs/ext4/ext4.ko",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("closure = %q, %v, want %q", got, err, want)
	}
	if _, err := closure(dep, "", []string{"absent"}); err == nil {
		t.Error("closure of an unknown module = nil error")
	}
}

func TestArchiveIsOneThatCpioReads(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("no cpio (test/install.sh vm)")
	}
	var archive bytes.Buffer
	files := []cpioFile{{"d", modeDir, nil}, {"d/file", modeFile, []byte("12345")}, {"even", modeFile, []byte("1234")}}
	if err := writeCPIO(&archive, files); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cpio", "-t", "--quiet")
	cmd.Stdin = &archive
	out, err := cmd.CombinedOutput()
	if got, want := string(out), "d\nd/file\neven\n"; err != nil || got != want {
		t.Errorf("cpio -t = %q, %v, want %q", got, err, want)
	}
}

func TestSuitesAreJudged(t *testing.T) {
	const pass = "--- PASS: TestZero (0.00s)"
	for name, test := range map[string]struct {
		result suite.Result
		want   string
	}{
		"good":         {suite.Result{Output: []string{pass}}, ""},
		"exit status":  {suite.Result{Status: 2, Output: []string{pass}}, "exit status 2"},
		"killed":       {suite.Result{Status: -1, Output: []string{pass}}, "exit status -1"},
		"ran no tests": {suite.Result{Output: []string{"PASS"}}, "no test passed"},
		"skipped":      {suite.Result{Output: []string{pass, "--- SKIP: TestOne (0.00s)"}}, "TestOne skipped"},
	} {
		got := strings.Join(complaints(test.result, nil), "; ")
		if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%s: complaints = %q, want %q", name, got, test.want)
		}
	}
}

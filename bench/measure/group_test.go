package measure

import "testing"

func TestKilobytesReadsAStatus(t *testing.T) {
	status := []byte("Name:\tx\nVmHWM:\t    1234 kB\nVmRSS:\t     100 kB\n")
	if got := Kilobytes(status, "VmHWM:"); got != 1234<<10 {
		t.Errorf("VmHWM = %d, want %d", got, 1234<<10)
	}
	if got := Kilobytes(status, "VmSwap:"); got != 0 {
		t.Errorf("VmSwap = %d, want 0: it is not there", got)
	}
}

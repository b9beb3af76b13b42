//go:build faultinject

package host

import (
	"fmt"
	"os"
)

// limited makes TARE_KERNEL=5.4 stand for a kernel of that version, in builds
// for tests.
func limited(f Facts) Facts {
	var major, minor int
	if _, err := fmt.Sscanf(os.Getenv("TARE_KERNEL"), "%d.%d", &major, &minor); err != nil {
		return f
	}
	return f.Limit(major, minor)
}

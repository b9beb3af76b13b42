package engine

import (
	"fmt"
	"os"
	"path/filepath"
)

// Upgrade has the next engine run another program, and ends this one: see Replaced. The containers do not notice. The
// keeper becomes that program, too, once its engine answers; else the old one goes on.
func (e *Engine) Upgrade(program string) error {
	if !filepath.IsAbs(program) {
		return Errorf(Invalid, "upgrade to %s: want an absolute path", program)
	}
	st, err := os.Stat(program)
	switch {
	case err != nil:
		return Errorf(Invalid, "upgrade: %w", err)
	case !st.Mode().IsRegular() || st.Mode()&0o111 == 0:
		return Errorf(Invalid, "upgrade to %s: is no program", program)
	case st.Mode()&0o022 != 0:
		return Errorf(Invalid, "upgrade to %s: others than its owner may write to it", program)
	}
	if err := e.keep.Upgrade(program); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	e.replaced.Do(func() { close(e.Replaced) })
	return nil
}

// Package console handles terminals: a pseudoterminal's master, the terminal a
// person sits at, and the handing over of descriptors between processes.
//
// A terminal that was made raw is put back by the function that came with it.
// When and for whom a terminal is made is left to the callers.
package console

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Is says whether the file is a terminal.
func Is(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// MakeRaw stops the terminal from interpreting what is typed, as cfmakeraw(3)
// does, and returns the function that puts its settings back. Output processing
// stays on: what comes from a container whose own terminal does not turn
// newlines into CR NL (see ClearONLCR) still has to be turned once.
func MakeRaw(f *os.File) (restore func() error, err error) {
	before, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read settings of terminal %s: %w", f.Name(), err)
	}
	raw := *before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag &^= unix.CSIZE | unix.PARENB
	raw.Cflag |= unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := setTermios(f, &raw); err != nil {
		return nil, err
	}
	return func() error { return setTermios(f, before) }, nil
}

// ClearONLCR makes the terminal (either end of a pseudoterminal) leave newlines
// as they are, so that output is not turned into CR NL twice.
func ClearONLCR(f *os.File) error {
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return fmt.Errorf("read settings of terminal %s: %w", f.Name(), err)
	}
	t.Oflag &^= unix.ONLCR
	return setTermios(f, t)
}

func setTermios(f *os.File, t *unix.Termios) error {
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return fmt.Errorf("change settings of terminal %s: %w", f.Name(), err)
	}
	return nil
}

// Size of a terminal in characters.
type Size struct{ Rows, Cols uint16 }

// GetSize reads the window size of a terminal.
func GetSize(f *os.File) (Size, error) {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return Size{}, fmt.Errorf("read size of terminal %s: %w", f.Name(), err)
	}
	return Size{w.Row, w.Col}, nil
}

// SetSize sets the window size. The foreground processes of the terminal get SIGWINCH when it changed.
func SetSize(f *os.File, s Size) error {
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Cols}); err != nil {
		return fmt.Errorf("set size of terminal %s: %w", f.Name(), err)
	}
	return nil
}

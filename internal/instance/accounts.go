package instance

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/bundle"
)

// Accounts reads the users and groups of a root file system through an os.Root: a link in the image
// leads nowhere else.
func Accounts(dir string) (bundle.Accounts, error) {
	var a bundle.Accounts
	root, err := os.OpenRoot(dir)
	if err != nil {
		return a, err
	}
	defer root.Close()
	for name, to := range map[string]*string{"etc/passwd": &a.Passwd, "etc/group": &a.Group} {
		f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // an image without accounts has numbers
		}
		text, err := io.ReadAll(io.LimitReader(f, 1<<20))
		f.Close()
		if err != nil {
			return a, err
		}
		*to = string(text)
	}
	return a, nil
}

// NewID is a name that nobody else has.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

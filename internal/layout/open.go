package layout

import (
	"os"
)

// Open opens what is at path for reading: the directory of an OCI image layout, an OCI
// archive or a docker archive.
func Open(path string) (*Reader, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, err
		}
		return newReader(path, dirFiles{root})
	}
	return openArchive(path)
}

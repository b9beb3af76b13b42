package store

import (
	"io/fs"
	"syscall"
)

// stat is what the kernel said of a file.
func stat(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

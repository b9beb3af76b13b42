package container

import (
	"encoding/binary"
	"hash/fnv"
	"os"
	"path/filepath"
	"time"

	"tare.dev/tare/internal/order"
	"tare.dev/tare/internal/sysprog"
)

// seenFile remembers the last seenMax command lines by their hash.
const (
	seenFile = "seen"
	seenMax  = 64
	storeMax = 1 << 20 // bytes of memory; beyond that the oldest go
)

// storing tells whether the program for a command line should be stored now.
func storing(args []string) bool {
	if len(args) == 0 || os.Geteuid() != 0 || !sysprog.CanReplay || sysprog.Faults {
		return false
	}
	h := fnv.New64a()
	for _, a := range args {
		_, _ = h.Write([]byte(a + "\x00"))
	}
	sum := h.Sum64()
	path := filepath.Join(sysprog.StoreDir, seenFile)
	b, _ := os.ReadFile(path)
	b = b[:len(b)/8*8]
	for i := 0; i < len(b); i += 8 {
		if binary.NativeEndian.Uint64(b[i:]) == sum {
			return true
		}
	}
	if len(b) >= seenMax*8 {
		b = b[len(b)-(seenMax-1)*8:]
	}
	if os.MkdirAll(sysprog.StoreDir, 0o700) == nil {
		_ = os.WriteFile(path, binary.NativeEndian.AppendUint64(b, sum), 0o600)
	}
	return false
}

// keepAgain stores a program, and lets the oldest ones go for it.
func keepAgain(l *sysprog.List, args []string) error {
	if err := sysprog.Store(l, args); err != nil {
		return err
	}
	makeRoom()
	return nil
}

// keepOnce stores a program that removes itself.
func keepOnce(l *sysprog.List, args []string) error {
	if err := sysprog.StoreOnce(l, args, ""); err != nil {
		return err
	}
	makeRoom()
	return nil
}

// sweptFile tells by its age when what killed commands have left was last
// looked for: that takes a look into every program that is there for one time,
// and each running container has one.
const (
	sweptFile  = "swept"
	sweepEvery = time.Minute
)

// makeRoom removes the programs that were stored first until the rest is small
// enough; and now and then those that nobody will run.
func makeRoom() {
	entries, err := os.ReadDir(sysprog.StoreDir)
	if err != nil {
		return
	}
	now := time.Now()
	swept, err := os.Stat(filepath.Join(sysprog.StoreDir, sweptFile))
	sweep := err != nil || now.Sub(swept.ModTime()) > sweepEvery
	if sweep {
		_ = os.WriteFile(filepath.Join(sysprog.StoreDir, sweptFile), []byte{'\n'}, 0o600)
	}
	var size int64
	var infos []os.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name() == seenFile || e.Name() == sweptFile {
			continue
		}
		if sweep && sysprog.Stale(e.Name(), info, now) {
			_ = os.Remove(filepath.Join(sysprog.StoreDir, e.Name()))
			continue
		}
		infos = append(infos, info)
		size += info.Size()
	}
	order.By(infos, func(a, b os.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range infos {
		if size <= storeMax {
			return
		}
		_ = os.Remove(filepath.Join(sysprog.StoreDir, info.Name()))
		size -= info.Size()
	}
}

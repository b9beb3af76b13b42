package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"tare.dev/tare/bench/measure"
)

// reading is what the second image's reading of the first one's files cost, in bytes.
type reading struct {
	Files    int   `json:"files"`
	Bytes    int64 `json:"bytes"`    // of these files
	First    int64 `json:"first"`    // read from the device for the first image
	Absent   int64 `json:"absent"`   // of pages that the second image does not find in memory
	Small    int64 `json:"small"`    // of these, in files of up to 16 KiB, which Tare has in packs
	Metadata int64 `json:"metadata"` // read from the device to look the second image's files up
	Data     int64 `json:"data"`     // and to read them
}

// read runs the first two images, and reads through the one and then through the other.
func (b *bench) read(ctx context.Context, e engine, d *measure.Disk) (r *reading, err error) {
	s, err := e.begin(ctx, b.place)
	if err != nil {
		return nil, err
	}
	r = &reading{}
	err = b.readBoth(ctx, s, d, r)
	for _, id := range []string{"one", "two"} {
		if _, rmErr := s.do(s.remove(id)); err == nil {
			err = rmErr
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.end(ctx))
	}
	return r, b.restart(ctx, s, d)
}

func (b *bench) readBoth(ctx context.Context, s *session, d *measure.Disk, r *reading) error {
	var views [2]*os.Root
	for n, id := range []string{"one", "two"} {
		pid, err := s.start(ctx, b.server.ref(b.images[n]), id)
		if err != nil {
			return err
		}
		if views[n], err = os.OpenRoot(fmt.Sprintf("/proc/%d/root", pid)); err != nil {
			return err
		}
		defer views[n].Close()
	}
	names := shared(b.images[0], b.images[1])
	r.Files = len(names)
	var err error
	if r.First, err = during(d, func() error {
		r.Bytes, err = readAll(views[0], names)
		return err
	}); err != nil {
		return err
	}
	if r.Metadata, err = during(d, func() error {
		r.Absent, r.Small, err = absent(views[1], names)
		return err
	}); err != nil {
		return err
	}
	r.Data, err = during(d, func() error {
		_, err := readAll(views[1], names)
		return err
	})
	return err
}

// shared lists the files below /usr that are the same in both images.
func shared(a, b *image) []string {
	var all []string
	for name, c := range a.files {
		if b.files[name] == c && strings.HasPrefix(name, "usr/") && a.contents[c] > 0 {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// during is the bytes read from the device while do runs.
func during(d *measure.Disk, do func() error) (int64, error) {
	before, err := d.Traffic()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := d.Traffic()
	return after.Minus(before).Read, err
}

func readAll(root *os.Root, names []string) (sum int64, err error) {
	for _, name := range names {
		f, err := root.Open(name)
		if err != nil {
			return sum, err
		}
		n, err := io.Copy(io.Discard, f)
		f.Close()
		if err != nil {
			return sum, err
		}
		sum += n
	}
	return sum, nil
}

// absent is the bytes of pages that are not in memory: of all files, and of small ones.
func absent(root *os.Root, names []string) (sum, small int64, err error) {
	for _, name := range names {
		f, err := root.Open(name)
		if err != nil {
			return sum, small, err
		}
		n, size, err := absentPages(f)
		f.Close()
		if err != nil {
			return sum, small, fmt.Errorf("%s: %w", name, err)
		}
		sum += n
		if size <= smallFile {
			small += n
		}
	}
	return sum, small, nil
}

// smallFile is how large a file is at most that goes into one of Tare's packs.
const smallFile = 16 << 10

// absentPages is the bytes of a file's pages that are not in memory, and its size.
func absentPages(f *os.File) (n, size int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, 0, fmt.Errorf("mmap: %w", err)
	}
	defer unix.Munmap(memory)
	page := os.Getpagesize()
	in := make([]byte, (len(memory)+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&memory[0])), uintptr(len(memory)),
		uintptr(unsafe.Pointer(&in[0]))); errno != 0 {
		return 0, 0, fmt.Errorf("mincore: %w", errno)
	}
	for _, p := range in {
		if p&1 == 0 {
			n += int64(page)
		}
	}
	return n, st.Size(), nil
}

// mountsBelow lists the mounts below the directories, the last first.
func mountsBelow(dirs ...string) []string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		field := strings.Fields(s.Text())
		if len(field) < 5 {
			continue
		}
		for _, dir := range dirs {
			if strings.HasPrefix(field[4], dir) {
				all = append(all, field[4])
			}
		}
	}
	slices.Reverse(all)
	return all
}

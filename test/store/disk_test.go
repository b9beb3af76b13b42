package storetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A disk is a file of a file system of our own (FUSE), to have a loop device on it. It remembers each
// write and each flush in the order in which they came, with the marks that the test puts between.
// The kernel writes through to it, and one goroutine serves it, so a write is in the log before the
// loop device hears that it is done.
type disk struct {
	path string
	dev  *os.File // of FUSE
	done chan struct{}

	mu    sync.Mutex
	now   *content
	log   []logged
	wrote int // writes so far
	// refuse is asked before each write, by its number from 1 on.
	refuse func(n int) unix.Errno
	// slow is how long a write takes: what a file system does by the clock then falls between others.
	slow time.Duration
}

// logged is one write, or a flush when data is nil.
type logged struct {
	offset int64
	data   []byte
}

// The protocol, as linux/fuse.h has it.
const (
	fuseForget, fuseGetattr, fuseSetattr, fuseOpen        = 2, 3, 4, 14
	fuseRead, fuseWrite, fuseStatfs, fuseRelease          = 15, 16, 17, 18
	fuseFsync, fuseFlush, fuseInit, fuseInterrupt         = 20, 25, 26, 36
	fuseDestroy, fuseBatchForget                          = 38, 42
	fuseInHeader, fuseOutHeader, fuseWriteIn              = 40, 16, 40
	fuseBigWrites, fuseMaxPages                    uint32 = 1 << 5, 1 << 22
	fuseMaxWrite                                          = 1 << 20
	fuseOpenDirect                                        = 1
)

// newDisk mounts a disk that holds what base holds.
func newDisk(t *testing.T, base *content, slow time.Duration) *disk {
	t.Helper()
	n, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0) // before the mount it cannot be polled
	if err != nil {
		t.Skip("needs /dev/fuse")
	}
	dev := os.NewFile(uintptr(n), "/dev/fuse")
	d := &disk{path: filepath.Join(t.TempDir(), "disk"), dev: dev, done: make(chan struct{}), now: base.clone(), slow: slow}
	must(t, os.WriteFile(d.path, nil, 0o600))
	options := fmt.Sprintf("fd=%d,rootmode=100600,user_id=0,group_id=0", fd(dev))
	must(t, unix.Mount("tare-test", d.path, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options))
	go d.serve()
	t.Cleanup(func() {
		if err := unix.Unmount(d.path, unix.MNT_FORCE|unix.MNT_DETACH); err != nil { // ends serve, too
			t.Errorf("unmount %s: %v", d.path, err)
		}
		<-d.done
		dev.Close()
	})
	return d
}

// open opens the file. Not by os.Open: that would ask the kernel whether it can be polled, the kernel
// would ask us, and the goroutine that answers waits for the lock of that very poll.
func (d *disk) open(t *testing.T) *os.File {
	t.Helper()
	n, err := unix.Open(d.path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	return os.NewFile(uintptr(n), d.path)
}

// fd is the descriptor of f, which stays as it is: File.Fd would make it blocking for good.
func fd(f *os.File) int {
	c, err := f.SyscallConn()
	if err != nil {
		panic(err)
	}
	n := -1
	if err := c.Control(func(u uintptr) { n = int(u) }); err != nil {
		panic(err)
	}
	return n
}

// position is how much of the log there is by now.
func (d *disk) position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// contents is what the disk holds now.
func (d *disk) contents() *content {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now.clone()
}

func (d *disk) serve() {
	defer close(d.done)
	buf := make([]byte, fuseMaxWrite+64<<10)
	for {
		n, err := d.dev.Read(buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) { // a request that was taken back
			continue
		}
		if err != nil {
			return // unmounted
		}
		le := binary.LittleEndian
		opcode, unique := le.Uint32(buf[4:]), le.Uint64(buf[8:])
		if opcode == fuseForget || opcode == fuseBatchForget || opcode == fuseInterrupt {
			continue
		}
		body, errno := d.answer(opcode, buf[fuseInHeader:n])
		out := make([]byte, fuseOutHeader, fuseOutHeader+len(body))
		le.PutUint32(out, uint32(fuseOutHeader+len(body)))
		le.PutUint32(out[4:], uint32(-int32(errno)))
		le.PutUint64(out[8:], unique)
		// ENOENT: who asked was killed meanwhile.
		if _, err := d.dev.Write(append(out, body...)); err != nil && !errors.Is(err, unix.ENOENT) {
			return
		}
		if opcode == fuseDestroy {
			return
		}
	}
}

func (d *disk) answer(opcode uint32, in []byte) ([]byte, unix.Errno) {
	le := binary.LittleEndian
	switch opcode {
	case fuseInit:
		out := make([]byte, 64)
		le.PutUint32(out[0:], 7)
		le.PutUint32(out[4:], 31)
		le.PutUint32(out[8:], 128<<10) // read ahead
		le.PutUint32(out[12:], fuseBigWrites|fuseMaxPages)
		le.PutUint32(out[20:], fuseMaxWrite)
		le.PutUint16(out[28:], fuseMaxWrite/4096)
		return out, 0
	case fuseGetattr, fuseSetattr:
		return d.attributes(), 0
	case fuseOpen:
		out := make([]byte, 16)
		// One write of the loop device is one write here, unless it is very large: of one that fails
		// after its first part the loop device would say that all is well.
		le.PutUint32(out[8:], fuseOpenDirect)
		return out, 0
	case fuseRead:
		data := make([]byte, le.Uint32(in[16:]))
		d.mu.Lock()
		defer d.mu.Unlock()
		return data[:d.now.readAt(data, int64(le.Uint64(in[8:])))], 0
	case fuseWrite:
		size := le.Uint32(in[16:])
		if errno := d.write(int64(le.Uint64(in[8:])), in[fuseWriteIn:fuseWriteIn+size]); errno != 0 {
			return nil, errno
		}
		return le.AppendUint64(nil, uint64(size)), 0
	case fuseFsync:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.log = append(d.log, logged{})
		return nil, 0
	case fuseFlush, fuseRelease, fuseDestroy:
		return nil, 0
	case fuseStatfs:
		return make([]byte, 80), 0
	}
	return nil, unix.ENOSYS
}

func (d *disk) attributes() []byte {
	out := make([]byte, 104)
	le := binary.LittleEndian
	le.PutUint64(out[0:], 3600) // they stay valid
	le.PutUint64(out[16:], 1)
	le.PutUint64(out[24:], uint64(d.now.size))
	le.PutUint32(out[76:], unix.S_IFREG|0o600)
	le.PutUint32(out[80:], 1)
	le.PutUint32(out[96:], 4096)
	return out
}

func (d *disk) write(offset int64, data []byte) unix.Errno {
	time.Sleep(d.slow)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wrote++
	if d.refuse != nil {
		if errno := d.refuse(d.wrote); errno != 0 {
			return errno
		}
	}
	data = append([]byte{}, data...)
	d.now.writeAt(data, offset)
	d.log = append(d.log, logged{offset, data})
	return 0
}

// A content is the bytes of a disk, of which a copy is cheap: pieces are replaced and never changed.
type content struct {
	size   int64
	pieces map[int64]*piece
}

const pieceSize = 4096

type piece [pieceSize]byte

func newContent(size int64) *content { return &content{size, map[int64]*piece{}} }

func (c *content) clone() *content {
	n := &content{c.size, make(map[int64]*piece, len(c.pieces))}
	for at, p := range c.pieces {
		n.pieces[at] = p
	}
	return n
}

func (c *content) writeAt(data []byte, offset int64) {
	for len(data) > 0 {
		at, in := offset/pieceSize, offset%pieceSize
		p := new(piece)
		if old := c.pieces[at]; old != nil {
			*p = *old
		}
		n := copy(p[in:], data)
		if *p == (piece{}) {
			delete(c.pieces, at)
		} else {
			c.pieces[at] = p
		}
		data, offset = data[n:], offset+int64(n)
	}
}

func (c *content) readAt(data []byte, offset int64) int {
	if offset >= c.size {
		return 0
	}
	data = data[:min(int64(len(data)), c.size-offset)]
	for done := 0; done < len(data); {
		at, in := (offset+int64(done))/pieceSize, (offset+int64(done))%pieceSize
		n := min(pieceSize-int(in), len(data)-done)
		if p := c.pieces[at]; p != nil {
			copy(data[done:done+n], p[in:])
		}
		done += n
	}
	return len(data)
}

// file returns an unnamed file in memory with these bytes.
func (c *content) file() (*os.File, error) {
	n, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(n), "disk")
	if err = f.Truncate(c.size); err == nil {
		for at, p := range c.pieces {
			if _, err = unix.Pwrite(n, p[:], at*pieceSize); err != nil {
				break
			}
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readContent reads a file that mkfs has made.
func readContent(t *testing.T, path string) *content {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	st, err := f.Stat()
	must(t, err)
	c := newContent(st.Size())
	buf := make([]byte, 1<<20)
	for at := int64(0); at < c.size; {
		data, err := unix.Seek(fd(f), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		must(t, err)
		at = data / pieceSize * pieceSize
		n, err := f.ReadAt(buf[:min(int64(len(buf)), c.size-at)], at)
		must(t, err)
		c.writeAt(buf[:n], at)
		at += int64(n)
	}
	return c
}

// attach makes a loop device of f that goes away with its last user.
func attach(f *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(fd(control), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		dev, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) { // /dev is no devtmpfs
			if err = unix.Mknod(name, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err == nil || errors.Is(err, unix.EEXIST) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		c := unix.LoopConfig{Fd: uint32(fd(f)), Size: 512}
		c.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		if err = unix.IoctlLoopConfigure(fd(dev), &c); err == nil {
			return dev, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) { // another process was faster
			return nil, fmt.Errorf("loop device %s: %w", name, err)
		}
	}
}

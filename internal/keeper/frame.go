package keeper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Engine and keeper talk in frames over a SOCK_SEQPACKET socket: a byte that
// says what it is, then numbers in little-endian order or a name up to the end.
// An engine has one request under way. Both may be of different versions, so
// what a letter means never changes.
const (
	opHello   = 'h' // version (1 byte); the reply has ours
	opAck     = 'a' // Seq (8 bytes); the only one without a reply
	opPut     = 'p' // name, and descriptors
	opGet     = 'g' // name; the reply has the descriptors
	opDrop    = 'd' // name
	opNames   = 'n' // the name after which to begin; the reply has nameList
	opUpgrade = 'u' // path, and the descriptor of the program there

	opReply = 'r' // errno (4 bytes), then what the request says
	opExit  = 'x' // an Exit
)

const (
	version  = 1
	maxFrame = 4096 // bytes
	maxName  = 256  // bytes
	maxFiles = 32   // descriptors under one name; one frame takes up to 253
	maxHeld  = 4096 // descriptors in all
)

// request is a frame of the engine's.
type request struct {
	op   byte
	seq  uint64
	name string // or a path
}

// parseRequest reads a frame with n descriptors. It is EINVAL when it is not
// exactly what was agreed, ENAMETOOLONG for a name beyond maxName.
func parseRequest(b []byte, n int) (r request, err error) {
	if len(b) == 0 {
		return r, unix.EINVAL
	}
	r.op, b = b[0], b[1:]
	files := 0
	switch r.op {
	case opHello:
		if len(b) != 1 || b[0] == 0 {
			return r, unix.EINVAL
		}
	case opAck:
		if len(b) != 8 {
			return r, unix.EINVAL
		}
		r.seq = binary.LittleEndian.Uint64(b)
	case opPut, opGet, opDrop, opNames:
		if len(b) > maxName {
			return r, unix.ENAMETOOLONG
		}
		if len(b) == 0 && r.op != opNames {
			return r, unix.EINVAL
		}
		r.name = string(b)
		if r.op == opPut {
			files = max(1, min(n, maxFiles))
		}
	case opUpgrade:
		files = 1
		if len(b) == 0 || b[0] != '/' || bytes.IndexByte(b, 0) >= 0 {
			return r, unix.EINVAL
		}
		r.name = string(b)
	default:
		return r, unix.EOPNOTSUPP // of a later version
	}
	if n != files {
		return r, unix.EINVAL
	}
	return r, nil
}

// replySize is the size of what appendReply writes.
const replySize = 1 + 4

// appendReply begins a reply.
func appendReply(b []byte, errno unix.Errno) []byte {
	return binary.LittleEndian.AppendUint32(append(b, opReply), uint32(errno))
}

func parseReply(b []byte) (payload []byte, errno unix.Errno, err error) {
	if len(b) < replySize || b[0] != opReply {
		return nil, 0, fmt.Errorf("frame of %d bytes: not a reply", len(b))
	}
	return b[replySize:], unix.Errno(binary.LittleEndian.Uint32(b[1:])), nil
}

// exitSize is the size of an Exit without the byte before it.
const exitSize = 8 + 8 + 8 + 4 + 4

func appendExit(b []byte, e Exit) []byte {
	return appendExitFields(append(b, opExit), e)
}

func appendExitFields(b []byte, e Exit) []byte {
	l := binary.LittleEndian
	b = l.AppendUint64(b, e.Seq)
	b = l.AppendUint64(b, e.Start)
	b = l.AppendUint64(b, uint64(e.At.UnixNano()))
	b = l.AppendUint32(b, uint32(e.Pid))
	return l.AppendUint32(b, uint32(e.Status))
}

func parseExit(b []byte) (Exit, error) {
	if len(b) != 1+exitSize || b[0] != opExit {
		return Exit{}, fmt.Errorf("frame of %d bytes: not an exit", len(b))
	}
	return exitFields(b[1:]), nil
}

// exitFields reads what appendExitFields has written.
func exitFields(b []byte) Exit {
	l := binary.LittleEndian
	return Exit{
		Seq: l.Uint64(b), Start: l.Uint64(b[8:]), At: time.Unix(0, int64(l.Uint64(b[16:]))),
		Pid: int(int32(l.Uint32(b[24:]))), Status: unix.WaitStatus(l.Uint32(b[28:])),
	}
}

// appendNames appends a list of names for as long as they fit a reply. It begins
// with a byte that tells whether there are more.
func appendNames(b []byte, names []string) []byte {
	more := len(b)
	b = append(b, 0)
	for _, name := range names {
		if len(b)-more+2+len(name) > maxFrame-replySize {
			b[more] = 1
			break
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
		b = append(b, name...)
	}
	return b
}

func parseNames(b []byte) (names []string, more bool, err error) {
	bad := fmt.Errorf("list of names of %d bytes: cut off", len(b))
	if len(b) == 0 || b[0] > 1 {
		return nil, false, bad
	}
	more, b = b[0] == 1, b[1:]
	for len(b) > 0 {
		if len(b) < 2 {
			return nil, false, bad
		}
		n := int(binary.LittleEndian.Uint16(b))
		if n == 0 || n > maxName || n > len(b)-2 {
			return nil, false, bad
		}
		names, b = append(names, string(b[2:2+n])), b[2+n:]
	}
	if more && len(names) == 0 {
		return nil, false, bad
	}
	return names, more, nil
}

// send sends a frame, or fails with EAGAIN when that would wait.
func send(fd int, b []byte, files []int) error {
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	for {
		_, err := unix.SendmsgN(fd, b, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// inbox is what frames are received into, again and again: unix.Recvmsg would
// allocate 660 bytes for each.
type inbox struct {
	hdr unix.Msghdr
	iov unix.Iovec
	buf [maxFrame]byte
	oob []byte
}

func newInbox() *inbox {
	return &inbox{oob: make([]byte, unix.CmsgSpace(4*maxFiles))}
}

// receive receives a frame, which is the inbox's until the next, and its
// descriptors. EAGAIN: there is none; an empty one: the other end is closed. A
// frame that is too long, or with too many descriptors, is EMSGSIZE, and the
// descriptors are closed.
func (in *inbox) receive(fd int) (frame []byte, files []int, err error) {
	in.iov.Base = &in.buf[0]
	in.iov.SetLen(len(in.buf))
	in.hdr = unix.Msghdr{Iov: &in.iov, Control: &in.oob[0]}
	in.hdr.SetIovlen(1)
	in.hdr.SetControllen(len(in.oob))
	n, errno := uintptr(0), unix.EINTR
	for errno == unix.EINTR {
		n, _, errno = unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&in.hdr)), unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	}
	if errno != 0 {
		return nil, nil, errno
	}
	if in.hdr.Controllen > 0 {
		files = rights(in.oob[:in.hdr.Controllen])
	}
	if in.hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeAll(files)
		return nil, nil, unix.EMSGSIZE
	}
	return in.buf[:n], files, nil
}

// rights are the descriptors in control messages.
func rights(oob []byte) (files []int) {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range list {
		fds, err := unix.ParseUnixRights(&list[i])
		if err == nil {
			files = append(files, fds...)
		}
	}
	return files
}

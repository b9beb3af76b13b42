package program

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// termios is struct termios of the kernel (not libc's) as a new terminal has
// it, but with ONLCR off: the person's own terminal adds carriage returns.
func termios() []byte {
	b := make([]byte, 36)
	for i, v := range []uint32{
		unix.ICRNL | unix.IXON,
		unix.OPOST,
		unix.B38400 | unix.CS8 | unix.CREAD | unix.HUPCL,
		unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN,
	} {
		binary.NativeEndian.PutUint32(b[4*i:], v)
	}
	copy(b[17:], "\003\034\177\025\004\000\001\000\021\023\032\000\022\017\027\026\000")
	return b
}

// console emits a terminal from the container's own devpts, shown as
// /dev/console too; its master goes out through ConsoleFD.
func (c *compiler) console() {
	if !c.in.terminal() {
		return
	}
	c.openTerminal()
	if !c.ownsDev() || !c.hasMountNS() {
		return
	}
	const path = "/dev/console"
	at, name := c.placeIn(path)
	made, fd, tree := c.Label("made "+path), c.Slot("console"), c.Slot("tree "+path)
	c.Do("make "+path, "openat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC), sysprog.Int(0o666)).
		To(fd).On(unix.EEXIST, made)
	c.Do("", "close", sysprog.Val(fd))
	c.Here(made)
	if !c.facts.MountAPI {
		// A link there would lead the mount elsewhere (CVE-2025-52565). Of what is
		// no link, readlinkat(2) says ENOENT, or EINVAL on old kernels.
		what, plain := "mount console on "+path, c.Label("no link at "+path)
		c.Do(what, "openat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)).To(fd)
		c.Do(what, "readlinkat", sysprog.Val(fd), sysprog.Str(""), sysprog.Ptr(c.Buf(make([]byte, 8)), 0), sysprog.Int(8)).
			On(unix.ENOENT, plain).On(unix.EINVAL, plain)
		c.Do(what, sysprog.Raise, sysprog.Int(unix.ELOOP))
		c.Here(plain)
		target := hostFD(c.fixFD("", fd))
		n := c.Slot("slave")
		c.Do("", "fcntl", sysprog.Val(c.slave), sysprog.Int(unix.F_DUPFD_CLOEXEC), sysprog.Int(3)).To(n)
		c.Do("mount console on "+path, "mount", sysprog.Str(hostFD(c.fixFD("", n))), sysprog.Str(target), sysprog.Int(0), sysprog.Int(unix.MS_BIND), sysprog.Int(0))
		return
	}
	// By descriptor on both sides: neither end is a path that could be a link.
	c.Do("mount console on "+path, "openat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)).To(fd)
	c.Do("mount console on "+path, "open_tree", sysprog.Val(c.slave), sysprog.Str(""),
		sysprog.Int(unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).To(tree)
	c.Do("mount console on "+path, "move_mount", sysprog.Val(tree), sysprog.Str(""), sysprog.Val(fd), sysprog.Str(""), sysprog.Int(emptyToEmpty))
}

// openTerminal opens a new terminal pair and sends the master away.
func (c *compiler) openTerminal() {
	master, word := c.Slot("master"), c.Buf(make([]byte, 8))
	c.slave = c.Slot("slave")
	old, opened := c.Label("open /dev/ptmx"), c.Label("opened terminal")
	const flags = unix.O_RDWR | unix.O_NOCTTY
	c.open("open terminal", "/dev/pts/ptmx", flags, 0).To(master).On(unix.ENOENT, old).Next(opened).Note("terminal")
	c.Here(old)
	c.open("open terminal", "/dev/ptmx", flags, 0).To(master)
	c.Here(opened)
	c.Do("unlock terminal", "ioctl", sysprog.Val(master), sysprog.Int(unix.TIOCSPTLCK), sysprog.Ptr(word, 0))
	c.Do("open terminal", "ioctl", sysprog.Val(master), sysprog.Int(unix.TIOCGPTPEER), sysprog.Int(flags|unix.O_CLOEXEC)).To(c.slave)
	c.Do("set up terminal", "ioctl", sysprog.Val(c.slave), sysprog.Int(unix.TCSETS), sysprog.Ptr(c.Buf(termios()), 0))
	if s := c.proc().ConsoleSize; s != nil {
		size := make([]byte, 8)
		binary.NativeEndian.PutUint16(size[0:], uint16(s.Height))
		binary.NativeEndian.PutUint16(size[2:], uint16(s.Width))
		c.Do("set terminal size", "ioctl", sysprog.Val(master), sysprog.Int(unix.TIOCSWINSZ), sysprog.Ptr(c.Buf(size), 0))
	}
	if uid := c.proc().User.UID; uid != 0 {
		c.Do("give the terminal to the user", "fchown", sysprog.Val(c.slave), sysprog.Int(uid), sysprog.Int(-1))
	}
	msg, slot := c.rights(sysprog.Str("/dev/ptmx"), len("/dev/ptmx"))
	c.Do("", sysprog.Set, sysprog.Val(master)).To(slot)
	c.Do("send terminal to console socket", "sendmsg", sysprog.Int(c.in.ConsoleFD), sysprog.Ptr(msg, 0), sysprog.Int(0))
	c.Do("", "close", sysprog.Val(master))
}

// rights makes a message with a body and one descriptor, which is the number
// that the returned slot gets: sendmsg(2), unix(7).
func (c *compiler) rights(body sysprog.Arg, size int) (*sysprog.Buf, *sysprog.Slot) {
	const w = sysprog.WordSize
	control := c.Buf(append(unix.UnixRights(0), make([]byte, w)...))
	iov := c.Buf(make([]byte, 2*w))
	iov.SetPtr(0, body)
	iov.SetWord(w, uintptr(size))
	msg := c.Buf(make([]byte, 7*w)) // name, namelen, iov, iovlen, control, controllen, flags
	msg.SetPtr(2*w, sysprog.Ptr(iov, 0))
	msg.SetWord(3*w, 1)
	msg.SetPtr(4*w, sysprog.Ptr(control, 0))
	msg.SetWord(5*w, uintptr(unix.CmsgSpace(4)))
	return msg, c.SlotIn("fd", control, unix.CmsgLen(0))
}

// takeTerminal makes the terminal the session's and descriptors 0 to 2.
func (c *compiler) takeTerminal() {
	c.Do("make it the controlling terminal", "ioctl", sysprog.Val(c.slave), sysprog.Int(unix.TIOCSCTTY), sysprog.Int(0))
	for n := range 3 {
		c.Do("make it standard input and output", "dup3", sysprog.Val(c.slave), sysprog.Int(n), sysprog.Int(0))
	}
}

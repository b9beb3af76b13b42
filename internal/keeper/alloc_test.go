package keeper

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkExit is what a keeper does for each process that ends, but for the
// reaping: its memory must not grow with that.
func BenchmarkExit(b *testing.B) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer closeAll(fds[:])
	k := newKeeper(Options{})
	k.engine.sock, k.engine.connected = fds[0], true
	in, ack := newInbox(), make([]byte, 9)
	b.ReportAllocs()
	for b.Loop() {
		e := Exit{Pid: 1, Start: startTime(1, k.buf), At: time.Unix(1, 0)}
		if _, err := nextDead(unix.P_ALL, 0); err != nil && err != unix.ECHILD {
			b.Fatal(err)
		}
		k.exits.add(e)
		k.deliver()
		frame, _, err := in.receive(fds[1])
		if err != nil {
			b.Fatal(err)
		}
		ack[0] = opAck
		copy(ack[1:], frame[1:])
		if err := send(fds[1], ack, nil); err != nil {
			b.Fatal(err)
		}
		k.serve()
	}
}

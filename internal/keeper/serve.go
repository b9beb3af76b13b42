package keeper

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// serve answers the requests that are there; or the first of very many.
func (k *keeper) serve() {
	for range 2 * Window {
		if k.engine.sock < 0 {
			return
		}
		frame, files, err := k.in.receive(k.engine.sock)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EMSGSIZE):
			k.reply(unix.EMSGSIZE, nil, nil)
			continue
		case err != nil || len(frame) == 0:
			closeAll(files)
			k.hangUp()
			return
		}
		k.answer(frame, files)
	}
}

// answer does what a frame asks for.
func (k *keeper) answer(frame []byte, files []int) {
	r, err := parseRequest(frame, len(files))
	if err == nil && r.op == opAck {
		k.exits.ack(r.seq)
		return
	}
	var payload []byte
	var out []int
	if err == nil {
		payload, out, err = k.do(r, files)
	}
	var errno unix.Errno
	if err != nil {
		closeAll(files)
		if !errors.As(err, &errno) {
			errno = unix.EIO
		}
	}
	k.reply(errno, payload, out)
}

// do takes over files unless it fails.
func (k *keeper) do(r request, files []int) (payload []byte, out []int, err error) {
	switch r.op {
	case opHello:
		k.connected()
		return []byte{version}, nil, nil
	case opPut:
		return nil, nil, k.held.put(r.name, files)
	case opGet:
		files, ok := k.held[r.name]
		if !ok {
			return nil, nil, unix.ENOENT
		}
		return nil, files, nil
	case opDrop:
		if !k.held.drop(r.name) {
			return nil, nil, unix.ENOENT
		}
		return nil, nil, nil
	case opNames:
		return appendNames(nil, k.held.after(r.name)), nil, nil
	case opUpgrade:
		return nil, nil, k.upgrade(files[0], r.name)
	}
	return nil, nil, unix.EOPNOTSUPP
}

// reply sends a reply. An engine that does not read has broken the rules: it
// asks for the next before it has the answer to the last.
func (k *keeper) reply(errno unix.Errno, payload []byte, files []int) {
	b := append(appendReply(k.buf[:0], errno), payload...)
	if err := send(k.engine.sock, b, files); err != nil {
		k.hangUp()
	}
}

// connected notes that the engine is at work. One on trial has passed it, and
// its program is to take our place, too.
func (k *keeper) connected() {
	k.engine.connected = true
	k.rest = time.Now().Add(restAfter)
	if !k.trial {
		return
	}
	k.program.close()
	k.program, k.next, k.trial, k.replace = k.next, noProgram, false, true
}

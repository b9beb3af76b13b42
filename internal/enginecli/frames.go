package enginecli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Streams of frames, from the API's documentation of "attach": one byte for the stream, three of
// nothing, the length in four, big-endian.
const (
	frameHeader = 8
	frameOut    = 1
	frameErr    = 2
)

// copyFrames writes output and error output where they belong. It ends at the end of the stream.
func copyFrames(out, errs io.Writer, r io.Reader) error {
	var header [frameHeader]byte
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read frame: %w", err)
		}
		to := out
		switch header[0] {
		case frameErr:
			to = errs
		case 0, frameOut:
		default:
			return fmt.Errorf("read frame: no stream has the number %d", header[0])
		}
		n := int64(binary.BigEndian.Uint32(header[4:]))
		if _, err := io.CopyN(to, r, n); err != nil {
			return err
		}
	}
}

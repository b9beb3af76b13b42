package logs

import "bytes"

// MaxLine is how long the Line of an Entry can be, in bytes; a longer one comes in parts. It
// is what docker's json-file cuts at.
const MaxLine = 16 << 10

// splitter makes lines of runs. A line that is in one run is not copied.
type splitter struct {
	open [3][]byte // what there is of the line that a stream has not ended, by stream
}

// split calls f with the lines that a run ends, and with the parts of one that is too long,
// until f is false. They are good during the call.
func (s *splitter) split(v run, f func(line []byte) bool) bool {
	open := &s.open[v.stream]
	for data := v.data; len(data) > 0; {
		n := min(bytes.IndexByte(data, '\n')+1, MaxLine-len(*open))
		if n == 0 && len(*open)+len(data) < MaxLine {
			*open = append(*open, data...)
			return true
		}
		if n == 0 {
			n = MaxLine - len(*open)
		}
		line := data[:n]
		if len(*open) > 0 {
			line = append(*open, line...)
			*open = line[:0]
		}
		data = data[n:]
		if !f(line) {
			return false
		}
	}
	return true
}

// rest takes the line that a stream has not ended; empty if there is none.
func (s *splitter) rest(stream byte) []byte {
	line := s.open[stream]
	s.open[stream] = nil
	return line
}

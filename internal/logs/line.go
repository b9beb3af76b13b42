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
// until f is false. They are good during the call; more says that f is called again.
func (s *splitter) split(v run, f func(line []byte, more bool) bool) bool {
	open, data := &s.open[v.stream], v.data
	for n := cut(data, len(*open)); n > 0; {
		line := data[:n]
		if len(*open) > 0 {
			line = append(*open, line...)
			*open = line[:0]
		}
		data = data[n:]
		n = cut(data, 0)
		if !f(line, n > 0) {
			return false
		}
	}
	*open = append(*open, data...)
	return true
}

// cut is how many bytes of data make a line, or a part of one, after open bytes; 0 if none.
func cut(data []byte, open int) int {
	n, most := bytes.IndexByte(data, '\n')+1, MaxLine-open
	if n > most || n == 0 && len(data) >= most {
		return most
	}
	return n
}

// rest takes the line that a stream has not ended; empty if there is none.
func (s *splitter) rest(stream byte) []byte {
	line := s.open[stream]
	s.open[stream] = nil
	return line
}

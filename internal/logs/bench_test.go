package logs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// printLines prints 10 MiB of lines like those of a web server, at a size of a write; 0: each
// line with a write of its own. The test program is also who does it, see TestMain.
func printLines(w io.Writer, at int) {
	b := bufio.NewWriterSize(w, max(at, 1))
	for i, n := 0, 0; n < 10<<20; i++ {
		line := logLine(i)
		n += len(line)
		b.Write(line)
		if at == 0 {
			b.Flush()
		}
	}
	b.Flush()
}

func logLine(i int) []byte {
	return fmt.Appendf(nil, "10.0.%d.%d - - [22/Nov/2026:07:%02d:%02d +0000] \"GET /api/v1/items/%d HTTP/1.1\" %d %d\n",
		i%7, i*31%251, i/3600%60, i/60%60, i*7919%100000, 200+i%5*50*(i%11/10), i*48271%90000)
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkOutput takes 10 MiB from another process into a log, and beside it into a file of
// JSON, in the way docker's json-file does it but with less around it. cpu-ms/op is what the
// reading process used.
func BenchmarkOutput(b *testing.B) {
	for _, at := range []int{0, 64 << 10} {
		name := map[int]string{0: "line by line", 64 << 10: "many lines at once"}[at]
		b.Run("log/"+name, func(b *testing.B) {
			c := newContainer(b, Options{}).start(b)
			measure(b, at, c.out, func(total int64) { c.waitTotal(b, total) })
		})
		b.Run("json-file/"+name, func(b *testing.B) {
			r, w, err := os.Pipe()
			if err != nil {
				b.Fatal(err)
			}
			f, err := os.Create(filepath.Join(b.TempDir(), "json.log"))
			if err != nil {
				b.Fatal(err)
			}
			go jsonFile(f, r)
			measure(b, at, w, func(int64) {})
		})
	}
}

func measure(b *testing.B, at int, w *os.File, wait func(total int64)) {
	size := int64(0)
	printLines(counter{&size}, 64<<10)
	runtime.GC()
	before := cpu()
	for i := range b.N {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "TARE_TEST_PRINT="+strconv.Itoa(at))
		cmd.Stdout = w
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		wait(size * int64(i+1))
	}
	b.SetBytes(size)
	b.ReportMetric((cpu()-before).Seconds()*1e3/float64(b.N), "cpu-ms/op")
}

type counter struct{ n *int64 }

func (c counter) Write(p []byte) (int, error) { *c.n += int64(len(p)); return len(p), nil }

// jsonFile does what docker's Copier and json-file do for a line: one read of what there is,
// one JSON object, one write.
func jsonFile(f *os.File, r io.Reader) {
	in := bufio.NewReaderSize(r, 16<<10)
	var buf bytes.Buffer
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		buf.Reset()
		now, _ := time.Now().UTC().MarshalJSON()
		text, _ := json.Marshal(string(line))
		fmt.Fprintf(&buf, `{"log":%s,"stream":"stdout","time":%s}`+"\n", text, now)
		f.Write(buf.Bytes())
	}
}

// BenchmarkThroughput is one core and lines of 4 KiB: what a container gets that prints as
// fast as it can.
func BenchmarkThroughput(b *testing.B) {
	var text []byte
	for i := 0; len(text) < 1<<20; i++ {
		line := bytes.TrimSuffix(logLine(i), newline)
		text = append(text, line...)
		if i%40 == 39 {
			text = append(text, '\n')
		}
	}
	c := newContainer(b, Options{}).start(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		if _, err := c.out.Write(text); err != nil {
			b.Fatal(err)
		}
	}
	c.waitTotal(b, int64(b.N)*int64(len(text)))
	b.ReportMetric(float64(b.N)*float64(len(text))/1e6/(cpu()-before).Seconds(), "MB/cpu-s")
}

func BenchmarkTail(b *testing.B) {
	c := newContainer(b, Options{}).start(b)
	for i := range 40000 {
		c.out.Write(logLine(i))
	}
	c.drain(b)
	for _, n := range []int{10, 1000, -1} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			lines := 0
			for b.Loop() {
				lines = 0
				for _, err := range c.Read(context.Background(), ReadOptions{Tail: n}) {
					if err != nil {
						b.Fatal(err)
					}
					lines++
				}
			}
			b.ReportMetric(float64(lines), "lines")
		})
	}
}

// TestIdleContainersCostLittle is a ceiling: the memory of each container's log that has
// printed a few lines and is silent, in the file, on the heap and all together.
func TestIdleContainersCostLittle(t *testing.T) {
	const n = 200
	c, err := NewCollector()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before, heap := pss(t), liveHeap()
	files := int64(0)
	for range n {
		l, err := c.Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		k := &container{Log: l, c: c}
		k.start(t)
		k.print(t, k.out, strings.Repeat("the service listens on port 8080\n", 5))
		var st unix.Stat_t
		if err := unix.Fstat(l.fd, &st); err != nil {
			t.Fatal(err)
		}
		files += st.Blocks * 512
	}
	t.Logf("a container: file %d, heap %d, PSS %d bytes", files/n, (liveHeap()-heap)/n, (pss(t)-before)/n)
	if files/n > 4<<10 || (liveHeap()-heap)/n > 4<<10 {
		t.Errorf("too much")
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// pss is the proportional set of this process in bytes (proc(5), smaps_rollup).
func pss(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	p, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(p)) {
		if f := strings.Fields(line); f[0] == "Pss:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no Pss")
	return 0
}

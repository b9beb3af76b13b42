package logs

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// taken is the memory of the ring's file.
func (c *container) taken(t *testing.T) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(c.fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestSilenceGivesMemoryBack(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	text := strings.Repeat("something that compresses\n", 1200)
	c.print(t, c.out, text)
	if n := c.taken(t); n < 32<<10 {
		t.Fatalf("%d bytes of a file that has %d", n, len(text))
	}
	c.c.tidy() // something came
	c.c.tidy() // nothing since
	if n := c.taken(t); n > 2*page {
		t.Errorf("%d bytes of memory after a silence", n)
	}
	if c.c.packer.enc != nil || c.c.spare.Load() != nil {
		t.Error("the encoder is still there")
	}
	c.print(t, c.out, "and on\n")
	if got := c.lines(t, all); !strings.HasSuffix(got, "compresses\n1:and on\n") || strings.Count(got, "\n") != 1201 {
		t.Errorf("Read after a silence: %d lines", strings.Count(got, "\n"))
	}
}

func TestTrimKeepsTheEnd(t *testing.T) {
	c := newContainer(t, Options{}).start(t)
	for _, size := range []int{1 << 20, 200 << 10, 100 << 10} {
		c.print(t, c.out, string(noise(size))+"\nthe end\n")
		for _, keep := range []int64{1 << 30, 100 << 10, 40 << 10} {
			if err := c.Trim(keep); err != nil {
				t.Fatal(err)
			}
			if n := c.taken(t); n > keep+4*page {
				t.Errorf("Trim(%d) leaves %d bytes", keep, n)
			}
			if got := c.lines(t, ReadOptions{Tail: 1}); got != "1:the end\n" {
				t.Errorf("Tail after Trim(%d) = %q", keep, got)
			}
			next := c.reopen(t)
			*c = *next
		}
	}
	if err := c.Trim(0); err != nil {
		t.Fatal(err)
	}
	if n, got := c.taken(t), c.lines(t, all); n > page || got != "" {
		t.Errorf("Trim(0) leaves %d bytes and %q", n, got)
	}
	c.print(t, c.out, "again\n")
	if got := c.lines(t, all); got != "1:again\n" {
		t.Errorf("Read after Trim(0) = %q", got)
	}
}

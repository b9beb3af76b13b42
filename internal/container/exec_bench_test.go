package container

import (
	"os"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkExec is an exec from a program that stays: from the request to the
// executed program, and the reaping of it.
func BenchmarkExec(b *testing.B) {
	s, id := Store{Root: b.TempDir()}, "tare-go-bench"
	c, err := s.Create(id, CreateOptions{Bundle: bundleOf(b, nil, "sh", "-c", "while :; do sleep 1; done")})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Delete(true)
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		p, err := c.Exec(ExecOptions{
			Process: &specs.Process{Args: []string{"/bin/busybox", "true"}, Cwd: "/", Env: []string{"PATH=/bin"}},
			Stdio:   [3]*os.File{null, null, null},
		})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

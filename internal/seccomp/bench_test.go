package seccomp

import (
	"encoding/json"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func encode(t testing.TB, cfg *specs.LinuxSeccomp) string {
	t.Helper()
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// BenchmarkCompile is to stay below half a millisecond: it is part of each
// start whose profile is not in the cache.
func BenchmarkCompile(b *testing.B) {
	for _, name := range []string{"docker", "podman"} {
		b.Run(name, func(b *testing.B) {
			cfg := readProfile(b, name)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				f, err := Compile(cfg, "amd64")
				if err != nil {
					b.Fatal(err)
				}
				n = len(f.Prog)
			}
			b.ReportMetric(float64(n), "insns")
		})
	}
}

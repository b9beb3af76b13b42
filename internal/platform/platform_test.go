package platform

import (
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func names(all []v1.Platform) string {
	var s []string
	for _, p := range all {
		s = append(s, strings.TrimPrefix(String(p), "linux/"))
	}
	return strings.Join(s, " ")
}

func TestParse(t *testing.T) {
	tests := []struct{ in, want string }{
		{"linux/arm/v7", "arm/v7 arm/v6 arm/v5"},
		{"linux/arm", "arm/v7 arm/v6 arm/v5"},
		{"arm/6", "arm/v6 arm/v5"},
		{"armel", "arm/v5"},
		{"linux/amd64", "amd64/v1"},
		{"x86_64/v3", "amd64/v3 amd64/v2 amd64/v1"},
		{"LINUX/aarch64", "arm64/v8"},
		{"linux/arm64/v9", "arm64/v9 arm64/v8"},
		{"riscv64", "riscv64"},
		{"linux/s390x", "s390x"},
	}
	for _, test := range tests {
		if got, err := Parse(test.in); err != nil || names(got) != test.want {
			t.Errorf("Parse(%q) = %q, %v, want %q", test.in, names(got), err, test.want)
		}
	}
	for _, in := range []string{"", "linux", "linux/", "linux/arm/v7/x", "/arm", "a b", "windows/amd64/v1/x", "linux/arm\x1b"} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", in, names(got))
		}
	}
}

func TestMachine(t *testing.T) {
	v3 := "flags : cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
	tests := []struct {
		machine, cpuinfo string
		compat           bool
		want             string
	}{
		{"x86_64", "", true, "amd64/v1 386"},
		{"x86_64", "processor\t: 0\nflags\t\t: cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3\n", true, "amd64/v2 amd64/v1 386"},
		{"x86_64", v3, true, "amd64/v3 amd64/v2 amd64/v1 386"},
		{"aarch64", "", false, "arm64/v8"},
		{"aarch64", "", true, "arm64/v8 arm/v8 arm/v7 arm/v6 arm/v5"},
		{"armv7l", "Features\t: half thumb fastmult vfp edsp neon\n", false, "arm/v7 arm/v6 arm/v5"},
		{"armv8l", "Features\t: half thumb vfp\n", false, "arm/v8 arm/v7 arm/v6 arm/v5"},
		{"armv6l", "Features\t: half thumb vfp\n", false, "arm/v6 arm/v5"},
		{"armv7l", "Features\t: half thumb\n", false, "arm/v5"},
		{"armv5tejl", "Features\t: swp half thumb\n", false, "arm/v5"},
		{"riscv64", "", false, "riscv64"},
		{"i686", "", false, "386"},
	}
	for _, test := range tests {
		if got := names(machinePlatforms(test.machine, features(test.cpuinfo), test.compat)); got != test.want {
			t.Errorf("%s runs %q, want %q", test.machine, got, test.want)
		}
	}
	if len(Machine()) == 0 {
		t.Error("this machine runs nothing")
	}
}

const official = `{"schemaVersion":2,"manifests":[
{"digest":"attestation","platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest"}},
{"digest":"windows","platform":{"os":"windows","architecture":"amd64"}},
{"digest":"amd64","platform":{"os":"linux","architecture":"amd64"}},
{"digest":"armv5","platform":{"os":"linux","architecture":"arm","variant":"v5"}},
{"digest":"armv7","platform":{"os":"linux","architecture":"arm","variant":"v7"}},
{"digest":"arm64","platform":{"os":"linux","architecture":"arm64","variant":"v8"}},
{"digest":"amd64v3","platform":{"os":"linux","architecture":"amd64","variant":"v3"}},
{"digest":"386","platform":{"os":"linux","architecture":"386"}}]}`

func TestChoose(t *testing.T) {
	tests := []struct {
		name   string
		wanted []v1.Platform
		want   string
	}{
		{"arm64", machinePlatforms("aarch64", nil, true), "arm64"},
		{"armv7", machinePlatforms("armv7l", map[string]bool{"vfp": true}, false), "armv7"},
		{"armv6", machinePlatforms("armv6l", map[string]bool{"vfp": true}, false), "armv5"},
		{"amd64/v1", machinePlatforms("x86_64", nil, false), "amd64"},
		{"amd64/v3", below(v1.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}), "amd64v3"},
		{"386", machinePlatforms("i686", nil, false), "386"},
	}
	var index v1.Index
	if err := json.Unmarshal([]byte(official), &index); err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		if d, err := Choose(index, test.wanted); err != nil || string(d.Digest) != test.want {
			t.Errorf("for %s: %s, %v, want %s", test.name, d.Digest, err, test.want)
		}
	}
	// Without an arm64 image its kernel runs the best of the 32-bit ones, if it can.
	index.Manifests = append(index.Manifests[:5:5], index.Manifests[6:]...)
	if d, err := Choose(index, machinePlatforms("aarch64", nil, true)); err != nil || d.Digest != "armv7" {
		t.Errorf("for arm64 with 32-bit support: %s, %v, want armv7", d.Digest, err)
	}
	_, err := Choose(index, machinePlatforms("aarch64", nil, false))
	want := "no image for linux/arm64/v8; there are: windows/amd64, linux/amd64, linux/arm/v5, linux/arm/v7, linux/amd64/v3, linux/386"
	if err == nil || err.Error() != want {
		t.Errorf("for arm64 without: %v, want %s", err, want)
	}
}

func TestChooseAnOnlyImageWithoutPlatform(t *testing.T) {
	index := v1.Index{Manifests: []v1.Descriptor{{Digest: "one"}}}
	if d, err := Choose(index, Machine()); err != nil || d.Digest != "one" {
		t.Errorf("Choose = %s, %v", d.Digest, err)
	}
	index.Manifests = append(index.Manifests, v1.Descriptor{Digest: "two"})
	if d, err := Choose(index, Machine()); err == nil {
		t.Errorf("Choose = %s of two, want an error", d.Digest)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"linux/arm/v7", "amd64", "armhf", "linux/arm64/v8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(String(all[0]))
		if err != nil || names(again) != names(all) {
			t.Fatalf("Parse(%q) = %q, %v, want %q as from %q", String(all[0]), names(again), err, names(all), s)
		}
	})
}

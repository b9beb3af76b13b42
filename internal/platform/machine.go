package platform

import (
	"bytes"
	"os"
	"runtime"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Machine returns what this machine runs.
func Machine() []v1.Platform {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return below(plain(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	}
	machine, _, _ := bytes.Cut(name.Machine[:], []byte{0})
	cpus, _ := os.ReadFile("/proc/cpuinfo") // without it, the least
	compat := string(machine) == "aarch64" && runs32()
	return machinePlatforms(string(machine), features(string(cpus)), compat)
}

// machinePlatforms returns what a machine runs by the name that uname(2) gives it and
// the features of its CPU. The name is the kernel's: a 32-bit program on a 64-bit kernel
// can start 64-bit images.
func machinePlatforms(machine string, has map[string]bool, compat bool) []v1.Platform {
	arch := func(name, variant string) []v1.Platform {
		return below(plain(v1.Platform{OS: "linux", Architecture: name, Variant: variant}))
	}
	switch {
	case machine == "x86_64":
		return append(arch("amd64", level(has)), arch("386", "")...)
	case machine == "aarch64":
		all := arch("arm64", "v8")
		if compat {
			all = append(all, arch("arm", "v8")...)
		}
		return all
	case strings.HasPrefix(machine, "armv") && len(machine) > 4:
		// The images for v6 and above are for hardware floating point.
		if !has["vfp"] && !has["fp"] {
			return arch("arm", "v5")
		}
		return arch("arm", "v"+machine[4:5])
	}
	name := map[string]string{"mips": "mips", "mips64": "mips64", "loongarch64": "loong64"}[machine]
	if name == "" {
		name = machine
	}
	if name == "mips" || name == "mips64" {
		name = runtime.GOARCH // the kernel does not tell the byte order; the program has it
	}
	return arch(name, "")
}

// level is the microarchitecture level of an x86-64 CPU (x86-64 psABI, "Micro-Architecture
// Levels"), by the names that Linux has for the features.
func level(has map[string]bool) string {
	levels := []string{
		"cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
		"avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
		"avx512f avx512bw avx512cd avx512dq avx512vl",
	}
	n := 1
	for _, needs := range levels {
		for feature := range strings.FieldsSeq(needs) {
			if !has[feature] {
				return "v" + string(rune('0'+n))
			}
		}
		n++
	}
	return "v" + string(rune('0'+n))
}

// features returns the features of the first CPU in /proc/cpuinfo.
func features(cpuinfo string) map[string]bool {
	has := map[string]bool{}
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if key = strings.TrimSpace(key); key == "flags" || key == "Features" {
			for f := range strings.FieldsSeq(value) {
				has[f] = true
			}
			break
		}
	}
	return has
}

// runs32 tells whether an arm64 kernel and CPU run 32-bit programs: it refuses the
// personality of one otherwise (arch/arm64/kernel/sys.c). The CPUs of newer cores do not.
func runs32() bool {
	const (
		linux32 = 0x8
		query   = 0xffffffff
	)
	runtime.LockOSThread() // a personality is one thread's
	defer runtime.UnlockOSThread()
	old, _, errno := unix.Syscall(unix.SYS_PERSONALITY, query, 0, 0)
	if errno != 0 {
		return false
	}
	if _, _, errno := unix.Syscall(unix.SYS_PERSONALITY, old&^0xff|linux32, 0, 0); errno != 0 {
		return false
	}
	_, _, errno = unix.Syscall(unix.SYS_PERSONALITY, old, 0, 0)
	return errno == 0
}

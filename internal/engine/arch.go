package engine

import (
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const goarch = runtime.GOARCH

// archOf is Go's name of a CPU that a seccomp profile names.
func archOf(a specs.Arch) string {
	switch a {
	case specs.ArchX86_64:
		return "amd64"
	case specs.ArchAARCH64:
		return "arm64"
	case specs.ArchARM:
		return "arm"
	case specs.ArchRISCV64:
		return "riscv64"
	}
	return ""
}

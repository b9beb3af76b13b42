package main

import (
	"encoding/binary"
	"os"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/seccomp"
)

// writeFilter compiles profile for the floor, which loads it as it is: an array
// of struct sock_filter. What compiling costs is not in the floor's time.
func writeFilter(profile *specs.LinuxSeccomp, file string) (string, error) {
	f, err := seccomp.Compile(profile, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	var content []byte
	for _, x := range f.Prog {
		content = binary.NativeEndian.AppendUint16(content, x.Code)
		content = append(content, x.Jt, x.Jf)
		content = binary.NativeEndian.AppendUint32(content, x.K)
	}
	return file, os.WriteFile(file, content, 0o644)
}

package runtimecli

import (
	"fmt"
	"io"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// printVersion keeps to the lines runc prints. dockerd takes the program and
// its version from a line with the word "version", the commit from one that
// starts with "commit:", and containerd's go-runc reads "commit: " and "spec: ".
// No other line may hold the word.
func (s *session) printVersion(w io.Writer) {
	fmt.Fprintln(w, "tare-runtime version", s.Version)
	if id := s.Commit(); id != "" {
		fmt.Fprintln(w, "commit:", id)
	}
	fmt.Fprintln(w, "spec:", specs.Version)
	fmt.Fprintln(w, "go:", runtime.Version())
}

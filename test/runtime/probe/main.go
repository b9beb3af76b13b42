// The Go runtime would keep two files of the control group open to follow the CPU quota; they would
// look like descriptors that leaked.
//
//go:debug containermaxprocs=0

// Command probe is what the suite runs inside containers.
// It reports what it sees, or tries what it is told to try, and prints the outcome.
// It judges nothing: expectations live in the tests.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"

	"tare.dev/tare/test/runtime/report"
)

func main() {
	// Per-thread facts (seccomp, capabilities, scheduling) belong to the thread that was executed.
	runtime.LockOSThread()
	if len(os.Args) < 2 {
		fatal(fmt.Errorf("usage: probe COMMAND [ARG...]; commands: %s", strings.Join(names(), " ")))
	}
	if os.Args[1] == "do" {
		out, err := json.Marshal(sequence(os.Args[2:]))
		if err != nil {
			fatal(err)
		}
		os.Stdout.Write(append(out, '\n'))
		return
	}
	out, err := try(os.Args[1], os.Args[2:])
	if out != "" {
		fmt.Println(out)
	}
	if err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "probe:", err)
	os.Exit(1)
}

// sequence tries commands separated by ",": A x , B y , ...
func sequence(args []string) []report.Result {
	results := []report.Result{}
	var words []string
	for _, a := range append(args, ",") {
		if a != "," {
			words = append(words, a)
			continue
		}
		if len(words) == 0 {
			continue
		}
		r := report.Result{Command: strings.Join(words, " ")}
		out, err := try(words[0], words[1:])
		r.Out = out
		if err != nil {
			r.Err = err.Error()
		}
		results = append(results, r)
		words = nil
	}
	return results
}

func try(name string, args []string) (string, error) {
	c, ok := commands()[name]
	if !ok {
		return "", fmt.Errorf("no command %s", name)
	}
	if len(args) < c.args {
		return "", fmt.Errorf("%s: %d arguments missing", name, c.args-len(args))
	}
	return c.run(args)
}

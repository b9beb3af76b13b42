// Judge reads the output of `go test -v` from its standard input and prints what a person wants of it:
// the closing line of each package, all of a package that failed, and the tests that skipped. It fails
// when a test skipped for a reason that its argument, a file of rules, does not allow, and when a
// package failed.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"tare.dev/tare/test/output"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -v ./... 2>&1 | judge RULES")
		os.Exit(2)
	}
	text, err := os.ReadFile(os.Args[1])
	if err == nil {
		var rules []output.Rule
		if rules, err = output.ParseRules(string(text)); err == nil {
			err = judge(os.Stdin, os.Stdout, rules)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

// closing is the last line of a package: "ok", "FAIL" or "?" and its path.
var closing = regexp.MustCompile(`^(ok  |FAIL|\?   )\t(\S+)`)

func judge(in io.Reader, out io.Writer, rules []output.Rule) error {
	var lines, complaints []string
	packages, failed, skips := 0, 0, 0
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, 4<<20)
	for scanner.Scan() {
		line := scanner.Text()
		lines = append(lines, line)
		m := closing.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		packages++
		if m[1] == "FAIL" {
			failed++
			fmt.Fprintln(out, strings.Join(lines, "\n"))
		} else {
			fmt.Fprintln(out, line)
		}
		name := "./" + strings.TrimPrefix(m[2], "tare.dev/tare/")
		skipped := output.Skips(lines)
		skips += len(skipped)
		for _, s := range skipped {
			fmt.Fprintf(out, "    skipped %s: %s\n", s.Test, s.Reason)
		}
		for _, complaint := range output.Unexpected(name, skipped, rules) {
			complaints = append(complaints, name+": "+complaint)
		}
		lines = nil
	}
	if err := scanner.Err(); err != nil {
		return err
	}
	// What follows the last package: go's own closing line, or what it says when a build fails.
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
	for _, complaint := range complaints {
		fmt.Fprintln(out, "FAIL:", complaint)
	}
	if packages == 0 || failed > 0 || len(complaints) > 0 {
		return fmt.Errorf("%d packages, %d failed, %d tests skipped, %d of them unexpectedly",
			packages, failed, skips, len(complaints))
	}
	return nil
}

package cli

import (
	"fmt"
	"io"
	"strings"
)

// complete prints, one a line, what may stand in place of the last word. A shell
// calls "tare __complete WORDS..." with the words typed after the program's name;
// the last one may be empty or half a word.
func complete(root *Command, w io.Writer, words []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	cmd := root
	for rest := words[:len(words)-1]; len(rest) > 0; rest = rest[1:] {
		if strings.HasPrefix(rest[0], "-") {
			if skipsValue(cmd, rest[0]) && len(rest) > 1 {
				rest = rest[1:]
			}
			continue
		}
		if sub := lookup(cmd, rest[0]); sub != nil {
			cmd = sub
		}
	}
	candidates := names(cmd)
	if cmd.Candidates != nil {
		candidates = append(candidates, cmd.Candidates()...)
	}
	if strings.HasPrefix(last, "-") {
		candidates = nil
		for _, name := range newFlags(cmd).names() {
			candidates = append(candidates, "--"+name)
		}
	}
	for _, c := range candidates {
		if strings.HasPrefix(c, last) {
			fmt.Fprintln(w, c)
		}
	}
}

// skipsValue says whether the word after the flag is its value.
func skipsValue(cmd *Command, arg string) bool {
	if strings.Contains(arg, "=") {
		return false
	}
	fl := newFlags(cmd).lookup(strings.TrimLeft(arg, "-"))
	return fl != nil && !isBool(fl)
}

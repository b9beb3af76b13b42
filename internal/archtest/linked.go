package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Linked lists what the packages of the tree link that is not part of Go, one package a line, with
// the packages that import it.
func Linked(tree Tree) string {
	importers := map[string][]string{}
	for _, p := range tree {
		for _, path := range p.Imports {
			importers[path] = append(importers[path], p.Path)
		}
	}
	var lines []string
	for path, p := range tree {
		if p.Standard {
			continue
		}
		line := path
		if by := importers[path]; len(by) > 0 {
			slices.Sort(by)
			line += " <- " + strings.Join(by, " ")
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// CompareLinked returns one sentence for each line that one list has and the other lacks.
func CompareLinked(have, want string) []string {
	var complaints []string
	haveLines, wantLines := strings.Split(have, "\n"), strings.Split(want, "\n")
	for _, line := range haveLines {
		if !slices.Contains(wantLines, line) {
			complaints = append(complaints, fmt.Sprintf("now linked, not in the list: %s", line))
		}
	}
	for _, line := range wantLines {
		if !slices.Contains(haveLines, line) {
			complaints = append(complaints, fmt.Sprintf("in the list, no longer linked: %s", line))
		}
	}
	return complaints
}

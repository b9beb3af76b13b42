package docs

import (
	"regexp"
	"strings"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// links are the targets of a document's relative links, without what stands after "#".
func links(document string) []string {
	var targets []string
	for _, match := range link.FindAllStringSubmatch(document, -1) {
		target, _, _ := strings.Cut(match[1], "#")
		if target != "" && !strings.Contains(target, "://") {
			targets = append(targets, target)
		}
	}
	return targets
}

package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// CheckWalls returns one sentence for each import that a wall forbids, with the way it got there.
func CheckWalls(tree Tree, walls []Wall) []string {
	var complaints []string
	for _, wall := range walls {
		p, ok := tree[wall.Package]
		if !ok {
			complaints = append(complaints, fmt.Sprintf("walls name %s, but there is no such package", wall.Package))
			continue
		}
		for _, banned := range wall.Banned {
			if !wall.Transitive && slices.Contains(p.Imports, banned) {
				complaints = append(complaints, fmt.Sprintf("%s must not import %q", p.Path, banned))
			}
			if !wall.Transitive {
				continue
			}
			if way := tree.way(p.Path, banned); way != nil {
				complaints = append(complaints, fmt.Sprintf("%s must not depend on %q: %s",
					p.Path, banned, strings.Join(way, " imports ")))
			}
		}
	}
	return complaints
}

// way is the shortest chain of imports that leads from one package to another, nil if there is none.
func (t Tree) way(from, to string) []string {
	cameFrom := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == to {
			var way []string
			for ; at != ""; at = cameFrom[at] {
				way = append([]string{at}, way...)
			}
			return way
		}
		p := t[at]
		if p == nil {
			continue
		}
		for _, next := range p.Imports {
			if _, seen := cameFrom[next]; !seen {
				cameFrom[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

package archtest

import (
	"fmt"
	"strings"
)

// CheckLayers returns one sentence for each package that is in no layer, imports something that is
// not below it, or has no package comment, and for each name in the list that matches no package.
func CheckLayers(tree Tree, layers Layers) []string {
	var complaints []string
	complain := func(format string, args ...any) {
		complaints = append(complaints, fmt.Sprintf(format, args...))
	}
	used := map[string]bool{}
	for _, p := range tree.LocalPackages() {
		if s := checkDoc(p); s != "" {
			complain("%s", s)
		}
		from, entry, ok := layers.find(p.Path)
		if !ok {
			complain("%s is in no layer: add it to the layers block of ARCHITECTURE.md", p.Path)
			continue
		}
		used[entry] = true
		for _, path := range p.Imports {
			imported, ok := tree[path]
			if !ok || !imported.Local {
				continue
			}
			to, target, ok := layers.find(path)
			if ok && to <= from && target != entry {
				complain("%s imports %s, which is not below it", p.Path, path)
			}
		}
	}
	for _, layer := range layers {
		for _, entry := range layer {
			if !used[entry] {
				complain("ARCHITECTURE.md lists %s, but there is no such package", entry)
			}
		}
	}
	return complaints
}

// find returns the layer a package stands in, counted from the top, and the name it stands there by.
// Its own name counts before that of a subtree.
func (l Layers) find(path string) (layer int, entry string, ok bool) {
	for i, names := range l {
		for _, name := range names {
			if name == path {
				return i, name, true
			}
			root, subtree := strings.CutSuffix(name, "/...")
			if subtree && (path == root || strings.HasPrefix(path, root+"/")) {
				layer, entry, ok = i, name, true
			}
		}
	}
	return layer, entry, ok
}

// checkDoc complains of a missing package comment; "" means that it has one.
func checkDoc(p *Package) string {
	if p.Name == "main" {
		if p.Doc == "" {
			return fmt.Sprintf("%s has no comment that says what the command does", p.Path)
		}
		return ""
	}
	// A package of external tests alone is named x_test; its comment speaks of x.
	name := strings.TrimSuffix(p.Name, "_test")
	if name == "" {
		name = p.Path[strings.LastIndexByte(p.Path, '/')+1:]
	}
	if !strings.HasPrefix(p.Doc, "Package "+name+" ") && !strings.HasPrefix(p.Doc, "Package "+p.Name+" ") {
		return fmt.Sprintf("%s has no package comment that starts with %q", p.Path, "Package "+name)
	}
	return ""
}

package archtest

import (
	"fmt"
	"strconv"
	"strings"
)

// Layers is the order of the packages, highest first. A package may import what stands in a lower
// layer, never its own layer or a higher one.
type Layers [][]string

// A Wall says what one package must not import.
type Wall struct {
	Package    string   // as written in the layers block
	Transitive bool     // "->": also not through others; "=>": not in its own files
	Banned     []string // import paths or layer names
}

// Block returns the lines of the one fenced block of the given kind, with comments (after "#") and
// blank lines removed. None or several of them is an error.
func Block(document, kind string) ([]string, error) {
	var lines []string
	found, inside := 0, false
	for line := range strings.Lines(document) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case !inside && line == "```"+kind:
			inside = true
			found++
		case inside && strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
	}
	if found != 1 || inside {
		return nil, fmt.Errorf("document: want one closed block ```%s, have %d", kind, found)
	}
	return lines, nil
}

// ParseLayers reads the layers block: one layer a line, packages separated by spaces. A name is
// below internal/ unless it starts with cmd, test, bench, demo or internal; "name/..." stands
// for a whole subtree, whose packages may import each other.
func ParseLayers(document string) (Layers, error) {
	lines, err := Block(document, "layers")
	if err != nil {
		return nil, err
	}
	var layers Layers
	seen := map[string]bool{}
	for _, line := range lines {
		names := strings.Fields(line)
		for i, name := range names {
			names[i] = modulePath(name)
			if seen[names[i]] {
				return nil, fmt.Errorf("layers: %s stands in the list twice", name)
			}
			seen[names[i]] = true
		}
		layers = append(layers, names)
	}
	return layers, nil
}

// ParseWalls reads the walls block: `package -> "banned" …` or `package => "banned" …` a line.
// Import paths are quoted, packages of the tree are not.
func ParseWalls(document string) ([]Wall, error) {
	lines, err := Block(document, "walls")
	if err != nil {
		return nil, err
	}
	var walls []Wall
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != "->" && fields[1] != "=>" {
			return nil, fmt.Errorf("walls: %q: want PACKAGE -> BANNED… or PACKAGE => BANNED…", line)
		}
		wall := Wall{Package: modulePath(fields[0]), Transitive: fields[1] == "->"}
		for _, banned := range fields[2:] {
			path, err := strconv.Unquote(banned)
			if err != nil {
				path = modulePath(banned)
			}
			wall.Banned = append(wall.Banned, path)
		}
		walls = append(walls, wall)
	}
	return walls, nil
}

// modulePath is the path of a package below the module's root.
func modulePath(name string) string {
	top, _, _ := strings.Cut(name, "/")
	switch top {
	case "cmd", "test", "bench", "demo", "internal":
		return name
	}
	return "internal/" + name
}

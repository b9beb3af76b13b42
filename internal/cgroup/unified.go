package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// unifiedSettings converts linux.resources.unified: files of the v2 group, in
// the order of their names. offered are the controllers of the hierarchy. It
// also returns the controllers that the files need.
func unifiedSettings(unified map[string]string, offered []string) (list []setting, needed []string, err error) {
	for _, file := range slices.Sorted(maps.Keys(unified)) {
		if strings.Contains(file, "/") {
			return nil, nil, fmt.Errorf("unified %q: not a file name", file)
		}
		controller, _, ok := strings.Cut(file, ".")
		if !ok || controller == "" {
			return nil, nil, fmt.Errorf("unified %q: not of the form CONTROLLER.PARAMETER", file)
		}
		// cgroup.* files are the core's; everything else is a controller's.
		if controller != "cgroup" {
			if !slices.Contains(offered, controller) {
				return nil, nil, fmt.Errorf("unified %q: %w %s in its v2 hierarchy", file, ErrController, controller)
			}
			if !slices.Contains(needed, controller) {
				needed = append(needed, controller)
			}
		}
		for line := range strings.Lines(unified[file]) {
			if line = strings.TrimSpace(line); line != "" {
				list = append(list, setting{file: file, value: line}) // files take one line a write
			}
		}
	}
	return list, needed, nil
}

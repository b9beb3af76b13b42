package imagecli

import (
	"fmt"
	"strconv"
	"strings"

	"tare.dev/tare/internal/bundle"
)

// mountVolumes makes the volumes that lack, below ROOT/volumes, and the mounts of all.
func (r *run) mountVolumes(s *session) error {
	for _, v := range r.volumes {
		source, rest, ok := strings.Cut(v, ":")
		dest, mode, _ := strings.Cut(rest, ":")
		if !ok || source == "" || mode != "" && mode != "ro" && mode != "rw" {
			return fmt.Errorf("--volume %s: want NAME-OR-DIR:PATH[:ro]", v)
		}
		if !strings.Contains(source, "/") {
			var err error
			if source, err = s.makeVolume(source); err != nil {
				return fmt.Errorf("--volume %s: %w", v, err)
			}
		}
		m, err := bundle.MountBind(source, dest, mode == "ro")
		if err != nil {
			return fmt.Errorf("--volume %s: %w", v, err)
		}
		r.o.Mounts = append(r.o.Mounts, m)
	}
	return nil
}

func parseCPUs(s string) (float64, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0.01 || n > 4096 {
		return 0, fmt.Errorf("--cpus %s: want a number of 0.01 or more", s)
	}
	return n, nil
}

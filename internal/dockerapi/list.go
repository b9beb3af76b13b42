package dockerapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/engine"
	"tare.dev/tare/internal/order"
)

func (a *api) list(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f, err := parseFilters(r, "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
		"publish", "since", "status", "volume", "annotation")
	if err != nil {
		return err
	}
	limit, err := number(q, "limit")
	if err != nil {
		return err
	}
	all := flag(q, "all") || limit != nil && *limit > 0 || len(f["status"]) > 0 || len(f["exited"]) > 0
	some, err := a.filtered(f, all)
	if err != nil {
		return err
	}
	out := []container.Summary{}
	for _, c := range some {
		if limit != nil && *limit > 0 && len(out) == *limit {
			break
		}
		s := c.Summary()
		if flag(q, "size") {
			s.SizeRw, s.SizeRootFs = c.Size()
		}
		out = append(out, s)
	}
	return writeJSON(w, http.StatusOK, out)
}

// filtered is the containers that the filters let pass, the newest first.
func (a *api) filtered(f filters, all bool) ([]*engine.Container, error) {
	for _, s := range f["status"] {
		if err := container.ValidateContainerState(container.ContainerState(s)); err != nil {
			return nil, &statusError{http.StatusBadRequest, err}
		}
	}
	list := a.e.Containers()
	order.By(list, func(x, y *engine.Container) int {
		vx, vy := x.View(), y.View()
		return vy.Created.Compare(vx.Created)
	})
	var images map[string]bool
	if names := f["ancestor"]; len(names) > 0 {
		images = map[string]bool{}
		for _, name := range names {
			if d, err := a.e.ImageDigest(name); err == nil {
				images[d] = true
			}
		}
	}
	for _, key := range []string{"before", "since"} {
		for _, name := range f[key] {
			other, err := a.e.Find(name)
			if err != nil {
				return nil, err
			}
			at := other.View().Created
			list = slices.DeleteFunc(list, func(c *engine.Container) bool {
				created := c.View().Created
				return c == other || (key == "before") == created.After(at)
			})
		}
	}
	return slices.DeleteFunc(list, func(c *engine.Container) bool {
		v := c.View()
		if images != nil && !images[v.Image] {
			return true
		}
		return !all && !v.Running() && v.State != container.StateRestarting || !passes(f, v)
	}), nil
}

// passes tells whether a container is one of those the filters ask for.
func passes(f filters, v engine.View) bool {
	health := "none"
	if v.Health != nil {
		health = string(v.Health.Status)
	}
	switch {
	case !f.match("status", string(v.State)), !f.match("health", health), !f.labels(v.Config.Labels):
		return false
	case len(f["exited"]) > 0 && (v.State != container.StateExited || !f.match("exited", strconv.Itoa(v.ExitCode))):
		return false
	case !anyOf(f["id"], func(want string) bool { return strings.HasPrefix(v.ID, want) }):
		return false
	case !anyOf(f["name"], func(want string) bool { return named(v.Name, want) }):
		return false
	case !anyOf(f["annotation"], func(want string) bool { return hasLabel(v.Host.Annotations, want) }):
		return false
	case !anyOf(f["volume"], func(want string) bool {
		return slices.ContainsFunc(v.Mounts, func(m engine.Mount) bool { return m.Name == want || m.Destination == want || m.Source == want })
	}):
		return false
	case !anyOf(f["network"], func(want string) bool { return engine.InNetwork(&v, want) }):
		return false
	}
	return anyOf(append(slices.Clone(f["expose"]), f["publish"]...), func(want string) bool {
		port, proto, _ := strings.Cut(want, "/")
		for p := range v.Config.ExposedPorts {
			if strconv.Itoa(int(p.Num())) == port && (proto == "" || string(p.Proto()) == proto) {
				return true
			}
		}
		return false
	})
}

// anyOf tells whether nothing is asked for, or one of it is so.
func anyOf(wanted []string, is func(string) bool) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, is)
}

// named: docker takes a regular expression; what people write is a part of a name, with ^ and $.
func named(name, want string) bool {
	want = strings.TrimPrefix(want, "/")
	start, end := strings.HasPrefix(want, "^"), strings.HasSuffix(want, "$")
	want = strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(want, "^"), "$"), "/")
	switch {
	case start && end:
		return name == want
	case start:
		return strings.HasPrefix(name, want)
	case end:
		return strings.HasSuffix(name, want)
	}
	return strings.Contains(name, want)
}

func hasLabel(have map[string]string, want string) bool {
	key, value, valued := strings.Cut(want, "=")
	got, ok := have[key]
	return ok && (!valued || got == value)
}

func (a *api) prune(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "label", "label!", "until")
	if err != nil {
		return err
	}
	var until time.Time
	for _, text := range f["until"] {
		if until, err = parseTime(text, time.Now()); err != nil {
			return err
		}
	}
	out := container.PruneReport{ContainersDeleted: []string{}}
	for _, c := range a.e.Containers() {
		v := c.View()
		idle := v.State == container.StateCreated || v.State == container.StateExited || v.State == container.StateDead
		if !idle || !f.labels(v.Config.Labels) || !until.IsZero() && v.Created.After(until) {
			continue
		}
		size, _ := c.Size()
		if err := c.Remove(r.Context(), engine.RemoveOptions{}); err != nil {
			continue // somebody has just started it
		}
		out.ContainersDeleted = append(out.ContainersDeleted, c.ID())
		out.SpaceReclaimed += uint64(size)
	}
	a.e.Publish("container", "prune", "", map[string]string{"reclaimed": strconv.FormatUint(out.SpaceReclaimed, 10)})
	return writeJSON(w, http.StatusOK, out)
}

package dockerapi

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/image"

	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
)

// remove is DELETE /images/{name}: it takes a name away, and the image with its last name.
func (a *imageAPI) remove(w http.ResponseWriter, r *http.Request) error {
	arg := r.PathValue("name")
	i, err := a.find(arg)
	if err != nil {
		return err
	}
	force := flag(r.URL.Query(), "force")
	gone, err := a.removeImage(i, arg, force)
	if err != nil {
		return err
	}
	if _, err := a.gc(); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, gone)
}

func (a *imageAPI) removeImage(i *store.Image, arg string, force bool) ([]image.DeleteResponse, error) {
	users := a.users(i)
	name := nameOf(i, arg)
	if name != "" && (len(i.Names) > 1 || force && len(users) > 0) {
		return a.untag(i, name)
	}
	if name == "" && len(i.Names) > 1 && !force {
		return nil, statusErrorf(http.StatusConflict,
			"conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", short(i))
	}
	if len(users) > 0 {
		what := "delete " + short(i) + " (cannot be forced)"
		if name != "" {
			what = `remove repository reference "` + familiar(name) + `" (must force)`
		}
		return nil, statusErrorf(http.StatusConflict, "conflict: unable to %s - container %s is using its referenced image %s",
			what, users[0][:min(12, len(users[0]))], short(i))
	}
	return a.drop(i)
}

// drop removes an image with all its names.
func (a *imageAPI) drop(i *store.Image) ([]image.DeleteResponse, error) {
	// A container that was killed has left its mount.
	if err := instance.Release(a.mounter(), i); err != nil {
		return nil, err
	}
	tags, digests := names(i)
	if err := a.Store.Remove(i); err != nil {
		if _, held := errors.AsType[*store.HeldError](err); held || errors.Is(err, store.ErrInUse) {
			return nil, &statusError{http.StatusConflict, err}
		}
		return nil, err
	}
	a.mu.Lock()
	delete(a.sizes, i.Digest)
	a.mu.Unlock()
	gone := []image.DeleteResponse{}
	for _, name := range slices.Concat(tags, digests) {
		gone = append(gone, image.DeleteResponse{Untagged: name})
		a.event("untag", i.Digest, name)
	}
	a.event("delete", i.Digest, "")
	return append(gone, image.DeleteResponse{Deleted: i.Digest.String()}), nil
}

func (a *imageAPI) untag(i *store.Image, name string) ([]image.DeleteResponse, error) {
	if err := a.Store.Untag(name); err != nil {
		return nil, err
	}
	a.event("untag", i.Digest, name)
	return []image.DeleteResponse{{Untagged: familiar(name)}}, nil
}

// nameOf is the image's full name that arg is; "" when arg is a digest.
func nameOf(i *store.Image, arg string) string {
	r, err := reference.Parse(arg)
	if err != nil {
		return ""
	}
	if slices.Contains(i.Names, r.String()) {
		return r.String()
	}
	if r.Digest == "" {
		return ""
	}
	for _, name := range i.Names { // NAME@DIGEST of one that was pulled by a tag
		if of, err := reference.Parse(name); err == nil && of.Name() == r.Name() {
			return name
		}
	}
	return ""
}

func short(i *store.Image) string { return i.Digest.Encoded()[:12] }

// prune is POST /images/prune: images without a name that no container uses, or with dangling=false all
// that no container uses.
func (a *imageAPI) prune(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "dangling", "label", "label!", "until")
	if err != nil {
		return err
	}
	dangling, given, err := f.bool("dangling")
	if err != nil {
		return err
	}
	dangling = dangling || !given
	before := time.Time{}
	for _, text := range f["until"] {
		if before, err = parseTime(text, time.Now()); err != nil {
			return err
		}
	}
	all, err := a.Store.Images()
	if err != nil {
		return err
	}
	report := image.PruneReport{ImagesDeleted: []image.DeleteResponse{}}
	for _, i := range all {
		s, err := a.summary(i)
		if err != nil || s.Containers > 0 || dangling && len(i.Names) > 0 || !f.labels(s.Labels) ||
			!before.IsZero() && s.Created >= before.Unix() || isBase(i) {
			continue
		}
		gone, err := a.drop(i)
		if e, ok := errors.AsType[*statusError](err); ok && e.status == http.StatusConflict {
			continue // a container of a command without the engine runs from it
		}
		if err != nil {
			return err
		}
		report.ImagesDeleted = append(report.ImagesDeleted, gone...)
	}
	freed, err := a.gc()
	if err != nil {
		return err
	}
	report.SpaceReclaimed = uint64(max(freed.Bytes, 0))
	return writeJSON(w, http.StatusOK, report)
}

// isBase tells the image that stands for the base system, which no container uses ("tare store adopt").
func isBase(i *store.Image) bool {
	return slices.ContainsFunc(i.Names, func(name string) bool { return strings.HasPrefix(name, "tare.local/") })
}

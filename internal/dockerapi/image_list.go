package dockerapi

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/image"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/order"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
)

// list is GET /images/json.
func (a *imageAPI) list(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "reference", "dangling", "label", "before", "since", "until")
	if err != nil {
		return err
	}
	match, err := a.filter(f)
	if err != nil {
		return err
	}
	all, err := a.Store.Images()
	if err != nil {
		return err
	}
	list := []image.Summary{}
	for _, i := range all {
		s, err := a.summary(i)
		if err != nil {
			if _, err := a.Store.Image(i.Digest); err == nil {
				// Listed all the same, or nobody would find what is damaged.
				list = append(list, s)
			}
			continue
		}
		if match(&s) {
			list = append(list, s)
		}
	}
	order.Stably(list, func(x, y image.Summary) int { return int(y.Created - x.Created) })
	return writeJSON(w, http.StatusOK, list)
}

func (a *imageAPI) summary(i *store.Image) (image.Summary, error) {
	s := image.Summary{
		ID: i.Digest.String(), Containers: int64(len(a.users(i))), SharedSize: -1,
		Labels: map[string]string{},
	}
	s.RepoTags, s.RepoDigests = names(i)
	config, _, err := i.Config()
	if err != nil {
		return s, err
	}
	if config.Created != nil {
		s.Created = config.Created.Unix()
	}
	if config.Config.Labels != nil {
		s.Labels = config.Config.Labels
	}
	s.Size, err = a.size(i)
	return s, err
}

// names sorts an image's names into those with a tag and those by digest.
func names(i *store.Image) (tags, digests []string) {
	tags, digests = []string{}, []string{}
	for _, name := range i.Names {
		r, err := reference.Parse(name)
		if err != nil {
			tags = append(tags, name)
			continue
		}
		if r.Tag != "" {
			r.Digest = ""
			tags = append(tags, r.Familiar())
		}
		r.Tag, r.Digest = "", i.Digest
		if by := r.Familiar(); !slices.Contains(digests, by) {
			digests = append(digests, by)
		}
	}
	return tags, digests
}

// size is the bytes of all files, each counted once. An image does not change, so it is counted once.
func (a *imageAPI) size(i *store.Image) (int64, error) {
	a.mu.Lock()
	n, ok := a.sizes[i.Digest]
	a.mu.Unlock()
	if ok {
		return n, nil
	}
	t, err := i.Tree()
	if err != nil {
		return 0, err
	}
	defer t.Close()
	seen := map[erofs.NID]bool{} // files of several names
	err = t.Walk(func(_ string, nid erofs.NID, in *erofs.Inode) error {
		if in.Mode&unix.S_IFMT == unix.S_IFREG && !(in.Nlink > 1 && seen[nid]) {
			n += in.Size
			if in.Nlink > 1 {
				seen[nid] = true
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	a.mu.Lock()
	a.sizes[i.Digest] = n
	a.mu.Unlock()
	return n, nil
}

// filter is what the filters of a list leave. Values of one filter are alternatives, but for labels,
// which must all be there.
func (a *imageAPI) filter(f filters) (func(*image.Summary) bool, error) {
	var before, since, until int64
	for key, at := range map[string]*int64{"before": &before, "since": &since} {
		for _, name := range f[key] {
			i, err := a.find(name)
			if err != nil {
				return nil, err
			}
			s, err := a.summary(i)
			if err != nil {
				return nil, err
			}
			*at = s.Created
		}
	}
	for _, text := range f["until"] {
		t, err := parseTime(text, time.Now())
		if err != nil {
			return nil, err
		}
		until = t.Unix()
	}
	dangling, given, err := f.bool("dangling")
	if err != nil {
		return nil, err
	}
	for _, pattern := range f["reference"] {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, statusErrorf(http.StatusBadRequest, "filter reference=%s: %w", pattern, err)
		}
	}
	return func(s *image.Summary) bool {
		switch {
		case given && dangling != (len(s.RepoTags) == 0),
			before != 0 && s.Created >= before,
			since != 0 && s.Created <= since,
			until != 0 && s.Created >= until,
			!f.labels(s.Labels):
			return false
		}
		return len(f["reference"]) == 0 || matchReference(s, f["reference"])
	}, nil
}

// matchReference leaves only the names that match, as docker's list does.
func matchReference(s *image.Summary, patterns []string) bool {
	keep := func(all []string) []string {
		return slices.DeleteFunc(all, func(name string) bool { return !matchName(name, patterns) })
	}
	s.RepoTags, s.RepoDigests = keep(s.RepoTags), keep(s.RepoDigests)
	return len(s.RepoTags)+len(s.RepoDigests) > 0
}

func matchName(name string, patterns []string) bool {
	bare, _, _ := strings.Cut(name, "@")
	if colon := strings.LastIndexByte(bare, ':'); colon > strings.LastIndexByte(bare, '/') {
		bare = bare[:colon]
	}
	for _, p := range patterns {
		for _, form := range []string{p, familiarPattern(p)} {
			if ok, _ := path.Match(form, name); ok {
				return true
			}
			if ok, _ := path.Match(form, bare); ok {
				return true
			}
		}
	}
	return false
}

// familiarPattern leaves out what people leave out of names.
func familiarPattern(p string) string {
	p = strings.TrimPrefix(p, "docker.io/")
	return strings.TrimPrefix(p, "library/")
}

// imageConfig is what an image's config has and the OCI specification does not say.
type imageConfig struct {
	Comment string                           `json:"comment"`
	Config  *dockerspec.DockerOCIImageConfig `json:"config"`
}

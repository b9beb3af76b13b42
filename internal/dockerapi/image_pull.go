package dockerapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/platform"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/registry"
	"tare.dev/tare/internal/transfer"
)

// create is POST /images/create: a pull, or an import.
func (a *imageAPI) create(w http.ResponseWriter, r *http.Request) error {
	// Clients send the parameters of an import in the query, too: the body is the image.
	q := r.URL.Query()
	if q.Get("fromSrc") != "" {
		return a.importImage(w, r)
	}
	ref, err := parseRef(q.Get("fromImage"), q.Get("tag"))
	if err != nil {
		return err
	}
	choose, err := chooser(q.Get("platform"))
	if err != nil {
		return err
	}
	defer a.move()()
	s := newStream(w, streamVerbs{"Pulling fs layer", "Downloading", "Pull complete", "Already exists"},
		jsonstream.Message{Status: "Pulling from " + strings.TrimPrefix(ref.Repository, "library/"), ID: ref.Version()})
	return s.end(a.pull(r.Context(), r, ref, choose, s))
}

func (a *imageAPI) pull(ctx context.Context, r *http.Request, ref reference.Ref, choose chooseFunc, s *stream) error {
	access, err := a.access(r, ref, s.status)
	if err != nil {
		return err
	}
	defer access.Close()
	old, _ := a.Store.Ref(ref.String())
	got, err := transfer.Pull(ctx, access.Client(ref), ref.Version(), a.Store, transfer.PullOptions{
		Choose: choose, Names: []string{ref.String()}, Progress: s.event,
	})
	if err != nil {
		return registryError(err)
	}
	a.event("pull", got.Image.Digest, ref.String())
	s.status("Digest: " + got.Digest.String())
	done := "Status: Image is up to date for "
	if got.New || old != got.Image.Digest {
		done = "Status: Downloaded newer image for "
	}
	s.status(done + ref.Familiar())
	return nil
}

// importImage is POST /images/create?fromSrc=-: an image of a root file system.
func (a *imageAPI) importImage(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if q.Get("fromSrc") != "-" {
		return statusErrorf(http.StatusNotImplemented, "import from %s: fetch it yourself, and import it from a file", q.Get("fromSrc"))
	}
	now := time.Now().UTC().Truncate(time.Second)
	o := transfer.ImportOptions{Comment: q.Get("message"), Created: &now}
	for _, line := range q["changes"] {
		if err := transfer.Change(&o.Config, line); err != nil {
			return &statusError{http.StatusBadRequest, err}
		}
	}
	if name := q.Get("repo"); name != "" {
		ref, err := parseRef(name, q.Get("tag"))
		if err != nil {
			return err
		}
		o.Names = []string{ref.String()}
	}
	of := platform.Machine()
	if text := q.Get("platform"); text != "" {
		var err error
		if of, err = platform.Parse(text); err != nil {
			return &statusError{http.StatusBadRequest, err}
		}
	}
	o.Platform = v1.Platform{OS: of[0].OS, Architecture: of[0].Architecture, Variant: of[0].Variant}
	if q.Get("platform") == "" && o.Platform.Architecture == "amd64" {
		o.Platform.Variant = "" // the files may run on any, and images do not say v1
	}
	defer a.move()()
	s := newStream(w, streamVerbs{})
	got, err := transfer.Import(r.Context(), r.Body, a.Store, o)
	if err != nil {
		return s.end(fmt.Errorf("import: %w", err))
	}
	a.event("import", got.Image.Digest, "")
	s.status(got.Image.Digest.String())
	return nil
}

// parseRef reads a name and the tag or digest that clients send apart from it.
func parseRef(name, tag string) (reference.Ref, error) {
	if name == "" {
		return reference.Ref{}, statusErrorf(http.StatusBadRequest, "no image is named")
	}
	switch {
	case strings.Contains(tag, ":"):
		name += "@" + tag
	case tag != "":
		name += ":" + tag
	}
	ref, err := reference.Parse(name)
	if err != nil {
		return ref, &statusError{http.StatusBadRequest, err}
	}
	return ref, nil
}

type chooseFunc = func(v1.Index) (v1.Descriptor, error)

// chooser picks from an index what runs best on a platform; "" is this machine. Some requests spell a
// platform as people do, others as JSON.
func chooser(name string) (chooseFunc, error) {
	wanted := platform.Machine()
	if strings.HasPrefix(name, "{") {
		var p v1.Platform
		if err := json.Unmarshal([]byte(name), &p); err != nil {
			return nil, statusErrorf(http.StatusBadRequest, "platform: %w", err)
		}
		name = platform.String(p)
	}
	if name != "" {
		var err error
		if wanted, err = platform.Parse(name); err != nil {
			return nil, &statusError{http.StatusBadRequest, err}
		}
	}
	return func(x v1.Index) (v1.Descriptor, error) { return platform.Choose(x, wanted) }, nil
}

// registryError is the status of what a registry refused.
func registryError(err error) error {
	e, ok := errors.AsType[*registry.Error](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &statusError{http.StatusNotFound, err}
	case ok && errors.Is(err, fs.ErrPermission):
		return &statusError{http.StatusForbidden, err}
	case errors.Is(err, transfer.ErrManifest):
		return &statusError{http.StatusBadRequest, err}
	case ok && e.Status == http.StatusTooManyRequests:
		return &statusError{http.StatusTooManyRequests, err}
	}
	return err
}

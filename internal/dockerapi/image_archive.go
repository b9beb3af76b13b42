package dockerapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/jsonstream"

	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

// load is POST /images/load. Each layer is unpacked as it passes, and nothing is staged.
func (a *imageAPI) load(w http.ResponseWriter, r *http.Request) error {
	quiet := flag(r.URL.Query(), "quiet")
	choose, err := chooser(r.URL.Query().Get("platform"))
	if err != nil {
		return err
	}
	defer a.move()()
	s := newStream(w, streamVerbs{"Loading layer", "Loading layer", "Loaded layer", "Already exists"})
	s.quiet = quiet
	return s.end(a.loadAll(r, choose, s))
}

func (a *imageAPI) loadAll(r *http.Request, choose chooseFunc, s *stream) error {
	from, err := transfer.Record(r.Context(), r.Body, a.Store, transfer.PullOptions{Progress: s.event})
	if err != nil {
		return err
	}
	defer from.Close()
	all := transfer.Archived(from.List(), choose)
	if len(all) == 0 {
		return statusErrorf(http.StatusBadRequest, "the archive has no image for this machine")
	}
	for _, i := range all {
		got, err := transfer.Pull(r.Context(), from, i.Digest.String(), a.Store, transfer.PullOptions{
			Choose: choose, Names: i.Names, Progress: s.event,
		})
		if err != nil {
			return err
		}
		a.event("load", got.Image.Digest, "")
		for _, name := range i.Names {
			s.send(jsonstream.Message{Stream: "Loaded image: " + familiar(name) + "\n"})
		}
		if len(i.Names) == 0 {
			s.send(jsonstream.Message{Stream: "Loaded image ID: " + got.Image.Digest.String() + "\n"})
		}
	}
	return nil
}

// save is GET /images/get?names=... and GET /images/{name}/get: an archive as docker save writes it, with
// one layer for each image.
func (a *imageAPI) save(w http.ResponseWriter, r *http.Request) error {
	args := r.URL.Query()["names"]
	if name := r.PathValue("name"); name != "" {
		args = []string{name}
	}
	if len(args) == 0 {
		return statusErrorf(http.StatusBadRequest, "no image is named")
	}
	var images []*store.Image
	for _, arg := range args {
		i, err := a.find(arg)
		if err != nil {
			return err
		}
		images = append(images, i)
	}
	defer a.move()()
	w.Header().Set("Content-Type", "application/x-tar")
	archive := layout.NewArchive(w, reference.DockerArchive)
	for n, i := range images {
		if err := a.saveOne(r.Context(), archive, i, saveName(args[n], i)); err != nil {
			// The status has been sent: a connection that breaks is all that tells the client.
			panic(http.ErrAbortHandler)
		}
	}
	if err := archive.Close(); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (a *imageAPI) saveOne(ctx context.Context, to *layout.Archive, i *store.Image, name string) error {
	whole, let, err := a.whole(i)
	if err != nil {
		return err
	}
	f, err := transfer.Flatten(ctx, whole, layer.None, func(transfer.Event) {})
	if err == nil {
		_, err = transfer.Copy(ctx, f, "", to, name, transfer.CopyOptions{})
	}
	return let(err)
}

// saveName is the name an image has in an archive: the one it was asked for by, and none by a digest, as
// with docker save.
func saveName(arg string, i *store.Image) string {
	r, err := reference.Parse(arg)
	if err != nil || r.Tag == "" || !slices.Contains(i.Names, r.String()) {
		return ""
	}
	return r.String()
}

package dockerapi

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/moby/moby/api/types/jsonstream"

	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

// push is POST /images/{name}/push. Where the registry has not all layers of the image, it goes as one
// layer, and has another digest there: the store keeps files, not layers.
func (a *imageAPI) push(w http.ResponseWriter, r *http.Request) error {
	ref, err := parseRef(r.PathValue("name"), r.URL.Query().Get("tag"))
	if err != nil {
		return err
	}
	if ref.Digest != "" {
		return statusErrorf(http.StatusBadRequest, "cannot push a digest reference")
	}
	i, err := a.find(ref.String())
	if err != nil {
		return err
	}
	defer a.move()()
	s := newStream(w, streamVerbs{"Preparing", "Pushing", "Pushed", "Layer already exists"},
		jsonstream.Message{Status: fmt.Sprintf("The push refers to repository [%s]", ref.Name())})
	whole, let, err := a.whole(i)
	if err != nil {
		return err
	}
	access, err := a.access(r, ref, s.status)
	if err != nil {
		return let(err)
	}
	defer access.Close()
	got, err := transfer.Push(r.Context(), whole, access.Client(ref), ref.Tag, transfer.PushOptions{
		CopyOptions: transfer.CopyOptions{From: siblings(i, ref), Progress: s.event},
		Compression: layer.Gzip,
	})
	if err := let(err); err != nil {
		return s.end(registryError(err))
	}
	a.event("push", i.Digest, ref.String())
	if got.Flat {
		s.status("The layers of the image are not there: it went as one layer, and has another digest")
	}
	s.status(fmt.Sprintf("%s: digest: %s size: %d", ref.Tag, got.Desc.Digest, got.Desc.Size))
	return sendPushed(s, ref.Tag, got)
}

// sendPushed is what docker's clients take the digest from.
func sendPushed(s *stream, tag string, got transfer.Pushed) error {
	raw, err := json.Marshal(map[string]any{"Tag": tag, "Digest": got.Desc.Digest, "Size": got.Desc.Size})
	if err != nil {
		return err
	}
	aux := json.RawMessage(raw)
	s.send(jsonstream.Message{Aux: &aux, Progress: &jsonstream.Progress{}})
	return nil
}

// siblings are the other repositories of the registry that the image has names in.
func siblings(i *store.Image, to reference.Ref) []string {
	var all []string
	for _, name := range i.Names {
		r, err := reference.Parse(name)
		if err == nil && r.Registry == to.Registry && r.Repository != to.Repository {
			all = append(all, r.Repository)
		}
	}
	return all
}

// tag is POST /images/{name}/tag.
func (a *imageAPI) tag(w http.ResponseWriter, r *http.Request) error {
	i, err := a.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	ref, err := parseRef(r.URL.Query().Get("repo"), r.URL.Query().Get("tag"))
	if err != nil {
		return err
	}
	if ref.Digest != "" {
		return statusErrorf(http.StatusBadRequest, "refusing to create a tag with a digest reference")
	}
	if err := a.Store.Tag(i, ref.String()); err != nil {
		return err
	}
	a.event("tag", i.Digest, ref.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

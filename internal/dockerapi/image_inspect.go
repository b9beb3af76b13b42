package dockerapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/store"
)

// inspect is GET /images/{name}/json.
func (a *imageAPI) inspect(w http.ResponseWriter, r *http.Request) error {
	i, err := a.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	out, err := a.inspected(i)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (a *imageAPI) inspected(i *store.Image) (*image.InspectResponse, error) {
	config, raw, err := i.Config()
	if err != nil {
		return nil, err
	}
	m, manifest, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	var more imageConfig
	if err := json.Unmarshal(raw, &more); err != nil {
		return nil, fmt.Errorf("image %s: config: %w", i.Digest, err)
	}
	size, err := a.size(i)
	if err != nil {
		return nil, err
	}
	out := &image.InspectResponse{
		ID: i.Digest.String(), Comment: more.Comment, Author: config.Author,
		Created: created(config.Created).Format(time.RFC3339Nano), Config: more.Config,
		Architecture: config.Architecture, Variant: config.Variant, Os: config.OS, OsVersion: config.OSVersion,
		Size: size, GraphDriver: &storage.DriverData{Name: "tare", Data: map[string]string{}},
		RootFS:     image.RootFS{Type: "layers"},
		Descriptor: &v1.Descriptor{MediaType: mediaType(m), Digest: i.Digest, Size: int64(len(manifest))},
	}
	if n := len(config.History); n > 0 && out.Comment == "" {
		out.Comment = config.History[n-1].Comment // of an import
	}
	out.RepoTags, out.RepoDigests = names(i)
	for _, d := range config.RootFS.DiffIDs {
		out.RootFS.Layers = append(out.RootFS.Layers, d.String())
	}
	return out, nil
}

// attestations is GET /images/{name}/attestations: the store keeps none.
func (a *imageAPI) attestations(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.find(r.PathValue("name")); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, []image.AttestationStatement{})
}

// mediaType of a manifest: docker's of old may leave it out.
func mediaType(m v1.Manifest) string {
	if m.MediaType == "" {
		return v1.MediaTypeImageManifest
	}
	return m.MediaType
}

// created is a time, which images need not have.
func created(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// history is GET /images/{name}/history: the steps of the config, the newest first, with the sizes of
// the layers as they were pulled.
func (a *imageAPI) history(w http.ResponseWriter, r *http.Request) error {
	i, err := a.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	config, _, err := i.Config()
	if err != nil {
		return err
	}
	m, _, err := i.Manifest()
	if err != nil {
		return err
	}
	layers := m.Layers
	take := func() (size int64) {
		if len(layers) > 0 {
			size, layers = layers[0].Size, layers[1:]
		}
		return size
	}
	var steps []image.HistoryResponseItem
	for _, h := range config.History {
		s := image.HistoryResponseItem{ID: "<missing>", CreatedBy: h.CreatedBy, Comment: h.Comment}
		if h.Created != nil {
			s.Created = h.Created.Unix()
		}
		if !h.EmptyLayer {
			s.Size = take()
		}
		steps = append(steps, s)
	}
	for len(layers) > 0 { // images may have no steps, or too few
		steps = append(steps, image.HistoryResponseItem{ID: "<missing>", Size: take()})
	}
	reversed := make([]image.HistoryResponseItem, 0, len(steps))
	for n := len(steps) - 1; n >= 0; n-- {
		reversed = append(reversed, steps[n])
	}
	if len(reversed) > 0 {
		reversed[0].ID = i.Digest.String()
		reversed[0].Tags, _ = names(i)
	}
	return writeJSON(w, http.StatusOK, reversed)
}

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrers returns the manifests that have d as their subject and are of an artifact
// type; of any for "". Where the registry does not keep such lists, the one that those
// who push keep under a tag is used (specification, "Listing Referrers").
func (c *Client) Referrers(ctx context.Context, d v1.Descriptor, artifactType string) ([]v1.Descriptor, error) {
	var all []v1.Descriptor
	err := c.read(ctx, "list referrers of", c.object(string(d.Digest)), func(e endpoint) (err error) {
		all, err = c.referrers(ctx, e, d.Digest, artifactType)
		if errors.Is(err, fs.ErrNotExist) {
			all, err = c.referrersByTag(ctx, e, d.Digest)
		}
		return err
	})
	return slices.DeleteFunc(all, func(r v1.Descriptor) bool {
		return artifactType != "" && r.ArtifactType != artifactType
	}), err
}

// maxPages is how many pages of a list are read. Registries put a hundred on one, or all.
const maxPages = 32

func (c *Client) referrers(ctx context.Context, e endpoint, sum digest.Digest, artifactType string) ([]v1.Descriptor, error) {
	query := url.Values{}
	if artifactType != "" {
		query.Set("artifactType", artifactType)
	}
	header := http.Header{"Accept": {v1.MediaTypeImageIndex}}
	var all []v1.Descriptor
	for range maxPages {
		resp, err := c.query(ctx, e, http.MethodGet, "referrers/"+string(sum), header.Clone(), query)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, refusal(resp)
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
		drain(resp)
		if err != nil {
			return nil, err
		}
		page, err := parseIndex(text)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if query = nextPage(resp.Header.Get("Link")); query == nil {
			return all, nil
		}
	}
	return nil, fmt.Errorf("more than %d pages", maxPages)
}

// nextPage returns the query of the next page by a Link header (RFC 8288); nil if there
// is none. Only the query: the rest of the address is ours to say.
func nextPage(link string) url.Values {
	address, rest, found := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !found || !strings.Contains(rest, "next") {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.RawQuery == "" {
		return nil
	}
	return u.Query()
}

func parseIndex(text []byte) ([]v1.Descriptor, error) {
	if len(text) > maxManifest {
		return nil, fmt.Errorf("index of more than %d bytes", maxManifest)
	}
	var index v1.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return index.Manifests, nil
}

// referrersTag is where the list is at a registry that does not keep it.
func referrersTag(sum digest.Digest) string {
	return string(sum.Algorithm()) + "-" + sum.Encoded()
}

func (c *Client) referrersByTag(ctx context.Context, e endpoint, sum digest.Digest) ([]v1.Descriptor, error) {
	d, text, err := c.get(ctx, e, referrersTag(sum), v1.MediaTypeImageIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if d.MediaType != v1.MediaTypeImageIndex {
		return nil, nil // somebody's image has that tag
	}
	return parseIndex(text)
}

// addReferrer lists a manifest that was pushed under the tag of its subject, if it has
// one. Two who do so at the same time may lose one of the two; the specification has no
// cure for it.
func (c *Client) addReferrer(ctx context.Context, d v1.Descriptor, text []byte) error {
	var m struct {
		ArtifactType string            `json:"artifactType"`
		Config       v1.Descriptor     `json:"config"`
		Subject      *v1.Descriptor    `json:"subject"`
		Annotations  map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	if m.Subject == nil {
		return nil
	}
	d = v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if d.ArtifactType == "" {
		d.ArtifactType = m.Config.MediaType
	}
	all, err := c.referrersByTag(ctx, c.origin(), m.Subject.Digest)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(old v1.Descriptor) bool { return old.Digest == d.Digest }) {
		return nil
	}
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: append(all, d)}
	index.SchemaVersion = 2
	list, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return c.putManifest(ctx, referrersTag(m.Subject.Digest), v1.Descriptor{
		MediaType: index.MediaType, Digest: digest.FromBytes(list), Size: int64(len(list)),
	}, list)
}

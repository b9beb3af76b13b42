package dockerapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	apiregistry "github.com/moby/moby/api/types/registry"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/registry"
	"tare.dev/tare/internal/transfer"
)

// access is the way to the registry of an image, with what the client shows it. Those credentials go to
// that registry alone.
func (a *imageAPI) access(r *http.Request, ref reference.Ref, note func(string)) (*registry.Access, error) {
	o, err := registry.ReadConfig(registry.DefaultConfig)
	if err != nil {
		return nil, err
	}
	o.Note = note
	c, ok, err := credential(r.Header.Get(apiregistry.AuthHeader))
	if err != nil {
		return nil, err
	}
	if ok {
		o.Credential = func(host, _ string) (registry.Credential, bool) { return c, host == ref.Registry }
	}
	return registry.New(o)
}

// credential reads the header X-Registry-Auth: an AuthConfig in base64url, padded or not.
func credential(header string) (registry.Credential, bool, error) {
	var c registry.Credential
	text := strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(header)
	if text == "" {
		return c, false, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	var auth apiregistry.AuthConfig
	if err == nil {
		err = json.Unmarshal(raw, &auth)
	}
	if err != nil {
		return c, false, statusErrorf(http.StatusBadRequest, "header %s: %w", apiregistry.AuthHeader, err)
	}
	c = registry.Credential{
		Username: auth.Username, Password: auth.Password, Refresh: auth.IdentityToken, Access: auth.RegistryToken,
	}
	if auth.Auth != "" && c.Username == "" {
		pair, err := base64.StdEncoding.DecodeString(auth.Auth)
		user, password, found := strings.Cut(string(pair), ":")
		if err != nil || !found {
			return c, false, statusErrorf(http.StatusBadRequest, "header %s: auth is not base64 of USER:PASSWORD", apiregistry.AuthHeader)
		}
		c.Username, c.Password = user, password
	}
	return c, c != registry.Credential{}, nil
}

// distribution is GET /distribution/{name}/json: what a registry has by a name.
func (a *imageAPI) distribution(w http.ResponseWriter, r *http.Request) error {
	ref, err := parseRef(r.PathValue("name"), "")
	if err != nil {
		return err
	}
	access, err := a.access(r, ref, func(string) {})
	if err != nil {
		return err
	}
	defer access.Close()
	c := access.Client(ref)
	d, err := c.Resolve(r.Context(), ref.Version())
	if err != nil {
		return registryError(err)
	}
	raw, err := c.Manifest(r.Context(), d)
	if err != nil {
		return registryError(err)
	}
	out := apiregistry.DistributionInspect{Descriptor: d, Platforms: []v1.Platform{}}
	if !transfer.IsIndex(d.MediaType, raw) {
		return writeJSON(w, http.StatusOK, out)
	}
	var x v1.Index
	if err := json.Unmarshal(raw, &x); err != nil {
		return err
	}
	for _, m := range x.Manifests {
		if m.Platform != nil {
			out.Platforms = append(out.Platforms, *m.Platform)
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// search is GET /images/search.
func (a *imageAPI) search(http.ResponseWriter, *http.Request) error {
	return statusErrorf(http.StatusNotImplemented, "search is not implemented: look for images where they are kept, in the registry's own pages")
}

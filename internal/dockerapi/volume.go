package dockerapi

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/moby/moby/api/types/volume"

	"tare.dev/tare/internal/instance"
)

// anonymousLabel marks volumes that nobody gave a name, as docker does.
const anonymousLabel = "com.docker.volume.anonymous"

// VolumeOptions say where volumes are and who uses them.
type VolumeOptions struct {
	Volumes instance.Volumes
	// Users returns the containers, by their ids, that a volume belongs to, running or not.
	Users func(name string) []string
	// Event publishes what became of a volume.
	Event func(action, id string, attributes map[string]string)
}

// volumeAPI is the routes about volumes.
type volumeAPI struct{ VolumeOptions }

func (a *volumeAPI) routes() []route {
	return []route{
		{"GET", "/volumes", a.list},
		{"POST", "/volumes/create", a.create},
		{"POST", "/volumes/prune", a.prune},
		{"GET", "/volumes/{name}", a.inspect},
		{"DELETE", "/volumes/{name}", a.remove},
	}
}

func (a *volumeAPI) list(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "name", "driver", "label", "dangling")
	if err != nil {
		return err
	}
	dangling, given, err := f.bool("dangling")
	if err != nil {
		return err
	}
	all, err := a.Volumes.List()
	if err != nil {
		return err
	}
	out := volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}}
	for _, v := range all {
		if !f.contains("name", v.Name) || !f.match("driver", "local") || !f.labels(v.Labels) ||
			given && dangling != (len(a.Users(v.Name)) == 0) {
			continue
		}
		out.Volumes = append(out.Volumes, apiVolume(v))
	}
	return writeJSON(w, http.StatusOK, out)
}

// apiVolume is a volume as the API has it.
func apiVolume(v instance.Volume) volume.Volume {
	out := volume.Volume{
		Name: v.Name, Driver: "local", Scope: "local", Mountpoint: v.Path,
		CreatedAt: v.Created.Format(time.RFC3339), Labels: v.Labels, Options: v.Options,
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	if out.Options == nil {
		out.Options = map[string]string{}
	}
	return out
}

func (a *volumeAPI) create(w http.ResponseWriter, r *http.Request) error {
	var req volume.CreateRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	if req.Driver != "" && req.Driver != "local" && req.Driver != "default" {
		return statusErrorf(http.StatusNotFound, "create %s: volume driver %q: not found: there is local alone", req.Name, req.Driver)
	}
	if req.ClusterVolumeSpec != nil {
		return statusErrorf(http.StatusNotImplemented, "create %s: cluster volumes are part of swarm, which is not offered", req.Name)
	}
	spec := instance.VolumeSpec{Labels: req.Labels, Options: req.DriverOpts}
	if req.Name == "" {
		req.Name = randomName()
		spec.Labels = map[string]string{anonymousLabel: ""}
		maps.Copy(spec.Labels, req.Labels)
	}
	v, made, err := a.Volumes.Create(req.Name, spec)
	if err != nil {
		if errors.Is(err, instance.ErrInvalid) {
			return &statusError{http.StatusBadRequest, err}
		}
		return err
	}
	if !made && len(req.DriverOpts) > 0 && !maps.Equal(v.Options, req.DriverOpts) {
		return statusErrorf(http.StatusConflict, "a volume named %s is there already, with other options", req.Name)
	}
	if made {
		a.event("create", v.Name)
	}
	return writeJSON(w, http.StatusCreated, apiVolume(v))
}

// randomName is 64 digits, as docker gives volumes that nobody named.
func randomName() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

func (a *volumeAPI) inspect(w http.ResponseWriter, r *http.Request) error {
	v, err := a.get(r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, apiVolume(v))
}

func (a *volumeAPI) get(name string) (instance.Volume, error) {
	v, err := a.Volumes.Get(name)
	if errors.Is(err, instance.ErrVolume) || errors.Is(err, instance.ErrInvalid) {
		return v, statusErrorf(http.StatusNotFound, "get %s: no such volume", name)
	}
	return v, err
}

func (a *volumeAPI) remove(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	force := flag(r.URL.Query(), "force")
	if _, err := a.get(name); err != nil {
		if e, ok := errors.AsType[*statusError](err); ok && e.status == http.StatusNotFound && force {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return err
	}
	if users := a.Users(name); len(users) > 0 {
		return statusErrorf(http.StatusConflict, "remove %s: volume is in use - %s", name, users)
	}
	if err := a.Volumes.Remove(name); err != nil {
		return err
	}
	a.event("destroy", name)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// prune is POST /volumes/prune: the volumes without a name that no container has, or with all=true all
// that no container has.
func (a *volumeAPI) prune(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "all", "label", "label!")
	if err != nil {
		return err
	}
	everything, _, err := f.bool("all")
	if err != nil {
		return err
	}
	all, err := a.Volumes.List()
	if err != nil {
		return err
	}
	report := volume.PruneReport{VolumesDeleted: []string{}}
	for _, v := range all {
		_, anonymous := v.Labels[anonymousLabel]
		if !everything && !anonymous || !f.labels(v.Labels) || len(a.Users(v.Name)) > 0 {
			continue
		}
		used := int64(0)
		if _, given := v.Options["device"]; !given { // what is on the host stays
			if used, _, err = instance.Usage(v.Path); err != nil {
				return err
			}
		}
		if err := a.Volumes.Remove(v.Name); err != nil {
			return err
		}
		a.event("destroy", v.Name)
		report.VolumesDeleted = append(report.VolumesDeleted, v.Name)
		report.SpaceReclaimed += uint64(used)
	}
	slices.Sort(report.VolumesDeleted)
	return writeJSON(w, http.StatusOK, report)
}

func (a *volumeAPI) event(action, name string) {
	if a.Event != nil {
		a.Event(action, name, map[string]string{"driver": "local"})
	}
}

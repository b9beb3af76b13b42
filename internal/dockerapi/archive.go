package dockerapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/engine"
)

// files is the routes about files of containers.
func (a *api) files() []route {
	return []route{
		{"HEAD", "/containers/{id}/archive", a.pathStat},
		{"GET", "/containers/{id}/archive", a.copyOut},
		{"PUT", "/containers/{id}/archive", a.copyIn},
		{"GET", "/containers/{id}/changes", a.changes},
		{"GET", "/containers/{id}/export", a.export},
	}
}

// pathOf is the path that a request is about.
func pathOf(r *http.Request) (string, error) {
	p := r.URL.Query().Get("path")
	if p == "" {
		return "", statusErrorf(http.StatusBadRequest, "bad parameter: path: cannot be empty")
	}
	return p, nil
}

// setStat puts the description of a file where clients look for it.
func setStat(w http.ResponseWriter, s container.PathStat) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(text))
	return nil
}

func (a *api) pathStat(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	s, err := c.PathStat(p)
	if err != nil {
		return err
	}
	return setStat(w, s)
}

func (a *api) copyOut(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	begun := false
	err = c.CopyOut(p, w, func(s container.PathStat) error {
		begun = true
		w.Header().Set("Content-Type", "application/x-tar")
		return setStat(w, s)
	})
	if begun && err != nil {
		panic(http.ErrAbortHandler) // the only way to tell a client that a stream is not whole
	}
	return err
}

func (a *api) copyIn(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	o := engine.CopyInOptions{KeepDirs: flag(q, "noOverwriteDirNonDir"), OwnIDs: flag(q, "copyUIDGID")}
	if err := c.CopyIn(p, r.Body, o); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (a *api) changes(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	list, err := c.Changes()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

func (a *api) export(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := c.Export(w); err != nil {
		panic(http.ErrAbortHandler) // as in copyOut
	}
	return nil
}

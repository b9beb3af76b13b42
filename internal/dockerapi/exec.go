package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/engine"
)

func (a *api) exec() []route {
	return []route{
		{"POST", "/containers/{id}/exec", a.execCreate},
		{"POST", "/exec/{id}/start", a.execStart},
		{"POST", "/exec/{id}/resize", a.execResize},
		{"GET", "/exec/{id}/json", a.execInspect},
	}
}

func (a *api) execCreate(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	var req container.ExecCreateRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	x, err := c.Exec(req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, common.IDResponse{ID: x.ID})
}

func (a *api) session(r *http.Request) (*engine.Session, error) {
	return a.e.Session(r.PathValue("id"))
}

func (a *api) execStart(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	var req container.ExecStartRequest
	if r.ContentLength != 0 {
		if err := readJSON(r, &req); err != nil {
			return err
		}
	}
	if err := x.Begin(); err != nil {
		return err
	}
	o := engine.StartOptions{Detach: req.Detach, Size: req.ConsoleSize}
	if req.Detach {
		if err := x.Start(a.e.Context(), o); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	conn, err := hijack(w, r, x.Tty())
	if err != nil {
		return err
	}
	defer conn.closeWrite()
	o.Stdin, o.Write = conn, one(output(conn, x.Tty()))
	if err := x.Start(a.e.Context(), o); err != nil {
		_ = o.Write(1, []byte(err.Error()+"\r\n")) // the client may be gone
	}
	return nil
}

func (a *api) execResize(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	rows, columns, err := size(r)
	if err != nil {
		return err
	}
	if err := x.Resize(r.Context(), rows, columns); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (a *api) execInspect(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, x.Inspect())
}

package dockerapi

import "net/http"

// upgrade puts another program in the place of the engine's. It is no part of Docker's API.
func (a *api) upgrade(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Program string `json:"program"`
	}
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if err := a.e.Upgrade(body.Program); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

package dockerapi

import "net/http"

// why tells how a container came to be in its state. It is no part of Docker's API.
func (a *api) why(w http.ResponseWriter, r *http.Request) error {
	c, err := a.e.Find(r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c.Why())
}

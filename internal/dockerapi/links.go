package dockerapi

import (
	"net/http"

	"tare.dev/tare/internal/engine"
)

// links answers with who reaches whom. It is no part of Docker's API.
func (a *api) links(w http.ResponseWriter, _ *http.Request) error {
	all := a.e.Reaches()
	if all == nil {
		all = []engine.Reach{}
	}
	return writeJSON(w, http.StatusOK, all)
}

package dockerapi

import "net/http"

// builds is what of building images is answered: docker system prune asks for the cache of builds to be
// emptied, and there is none.
func builds() []route {
	return []route{{"POST", "/build/prune", func(w http.ResponseWriter, _ *http.Request) error {
		return writeJSON(w, http.StatusOK, map[string]any{"CachesDeleted": []string{}, "SpaceReclaimed": 0})
	}}}
}

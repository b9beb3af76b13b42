package dockerapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// filters are the values of a list's filters by their names.
type filters map[string][]string

// parseFilters reads the parameter filters of a request: a JSON object of lists, or, from clients of
// before API 1.22, of objects whose keys are the values. A filter that is not one of the known is an
// error, as with docker: what is left out silently would be acted upon by "prune".
func parseFilters(r *http.Request, known ...string) (filters, error) {
	f := filters{}
	text := r.URL.Query().Get("filters")
	if text == "" {
		return f, nil
	}
	if json.Unmarshal([]byte(text), &f) != nil {
		old := map[string]map[string]bool{}
		if err := json.Unmarshal([]byte(text), &old); err != nil {
			return nil, statusErrorf(http.StatusBadRequest, "filters: want a JSON object of lists: %w", err)
		}
		f = filters{}
		for key, values := range old {
			for value, on := range values {
				if on {
					f[key] = append(f[key], value)
				}
			}
		}
	}
	for key := range f {
		if !slices.Contains(known, key) {
			return nil, statusErrorf(http.StatusBadRequest, "invalid filter '%s'", key)
		}
	}
	return f, nil
}

// bool is the value of a filter that is true or false, and whether it was given.
func (f filters) bool(key string) (value, given bool, err error) {
	for _, text := range f[key] {
		switch strings.ToLower(text) {
		case "1", "true":
			value = true
		case "0", "false":
			value = false
		default:
			return false, true, statusErrorf(http.StatusBadRequest, "invalid filter '%s=[%s]'", key, text)
		}
	}
	return value, len(f[key]) > 0, nil
}

// match tells whether the filter was not given, or has the value.
func (f filters) match(key, value string) bool {
	return len(f[key]) == 0 || slices.Contains(f[key], value)
}

// contains tells whether the filter was not given, or one of its values is part of the text.
func (f filters) contains(key, text string) bool {
	return len(f[key]) == 0 || slices.ContainsFunc(f[key], func(v string) bool { return strings.Contains(text, v) })
}

// labels tells whether all that the filters label and label! ask for is so: NAME or NAME=VALUE.
func (f filters) labels(have map[string]string) bool {
	has := func(want string) bool {
		key, value, valued := strings.Cut(want, "=")
		got, ok := have[key]
		return ok && (!valued || got == value)
	}
	for _, want := range f["label"] {
		if !has(want) {
			return false
		}
	}
	return !slices.ContainsFunc(f["label!"], has)
}

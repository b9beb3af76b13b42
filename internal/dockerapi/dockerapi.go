// Package dockerapi serves the Docker Engine API over package engine.
//
// It turns requests into calls and answers into JSON, and holds no state: what is, package engine
// knows. Names, statuses and the words of errors are docker's where clients look for them. What is
// not offered is answered with 501 and a sentence.
package dockerapi

import (
	"net/http"
	"slices"

	"tare.dev/tare/internal/engine"
)

// Options of New.
type Options struct {
	Version, Commit string
}

// api is the routes about containers and the system.
type api struct {
	e *engine.Engine
	o Options
}

// New returns the API.
func New(e *engine.Engine, o Options) http.Handler {
	a := &api{e, o}
	routes := slices.Concat(a.system(), a.containers(), a.exec(), a.watching(), a.files(), builds())
	return newRouter(append(routes, a.helpers()...))
}

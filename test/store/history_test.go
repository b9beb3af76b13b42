package storetest

import (
	"maps"
	"slices"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/object"
)

// A history is what was done to a store, with the places in the disk's log where each step began and
// where its success was told.
type history struct{ steps []step }

type step struct {
	what       string
	begin, end int // end < 0: nobody was told of a success
	change     func(m *model)
}

// A model is what a store may hold. A value that is uncertain has several possibilities.
type model struct {
	images map[digest.Digest][]bool // whether it is there
	names  map[string][]digest.Digest
	hurt   []object.Digest // objects that the test has damaged
}

func newModel() *model {
	return &model{map[digest.Digest][]bool{}, map[string][]digest.Digest{}, nil}
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.images), maps.Clone(m.names), m.hurt}
}

// at is what the store may hold when the power was cut at a place of the log: all that was told, and
// anything of what was under way.
func (h *history) at(place int) (m *model, doing string) {
	m = newModel()
	for _, s := range h.steps {
		switch {
		case s.begin > place:
			return m, doing
		case s.end >= 0 && s.end <= place:
			s.change(m)
			doing = "after " + s.what
		default:
			after := m.clone()
			s.change(after)
			m.join(after)
			doing = s.what
		}
	}
	return m, doing
}

// join allows what either allows.
func (m *model) join(o *model) {
	m.hurt = union(m.hurt, o.hurt)
	for d, there := range o.images {
		mine := m.images[d]
		if mine == nil {
			mine = []bool{false}
		}
		m.images[d] = union(mine, there)
	}
	for name, to := range o.names {
		mine := m.names[name]
		if mine == nil {
			mine = []digest.Digest{""}
		}
		m.names[name] = union(mine, to)
	}
}

func union[T comparable](a, b []T) []T {
	all := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return all
}

// pulled is the change of a pull, and of a tag.
func pulled(name string, d digest.Digest) func(*model) {
	return func(m *model) {
		m.images[d] = []bool{true}
		m.names[name] = []digest.Digest{d}
	}
}

// untagged is the change when an image has more names.
func untagged(name string) func(*model) {
	return func(m *model) { m.names[name] = []digest.Digest{""} }
}

// removed is the change when an image goes with all its names.
func removed(d digest.Digest, names ...string) func(*model) {
	return func(m *model) {
		m.images[d] = []bool{false}
		for _, name := range names {
			m.names[name] = []digest.Digest{""}
		}
	}
}

// damaged and mended are the changes of the test's own hand, and of repair.
func damaged(objects ...object.Digest) func(*model) {
	return func(m *model) { m.hurt = objects }
}

func mended(m *model) { m.hurt = nil }

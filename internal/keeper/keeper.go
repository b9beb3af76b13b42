// Package keeper is the parent of the engine and of its containers: it reaps them,
// remembers how they ended, and holds what must outlive the engine.
package keeper

// Package registry is images at a registry (OCI distribution specification, Docker
// registry v2), to fetch from and to push to.
package registry

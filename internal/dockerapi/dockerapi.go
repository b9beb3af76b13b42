// Package dockerapi serves the Docker Engine API over package engine.
package dockerapi

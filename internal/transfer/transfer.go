// Package transfer moves images between stores, registries and files.
package transfer

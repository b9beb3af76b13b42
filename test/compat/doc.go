// Package compat proves that clients which were made for Docker work with the engine unchanged: the docker
// command line, docker-compose, docker-py. And that our own verbs do.
//
// It runs in a mount namespace and a network namespace of its own: however it ends, the machine's
// networks and ports are as they were.
package compat

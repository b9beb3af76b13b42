// Package enginecli is the command line of the engine: the daemon, and the verbs that talk to it.
package enginecli

// Package interop runs real engines on top of the runtime: Podman, containerd
// and Docker, each an instance of its own in a temporary directory.
//
// The runtime under test is the program that TARE_RUNTIME names, for example
// /usr/sbin/runc, to see what the engine does with a peer; without it, cmd/tare
// is built and called as tare-runtime. The tests need root and the Debian
// packages in packages.txt, and are skipped, with the reason, where these are
// not there. A container's image is made from busybox-static: nothing is
// pulled.
package interop

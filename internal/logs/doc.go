// Package logs is what containers print and what is typed to them: pipes, a ring of
// compressed memory for each container, those who read it later and those who listen.
//
// A byte is in exactly one place at any instant, the pipe or the ring, and both outlive
// this process: one splice(2) moves it and has the kernel itself write the ring's new end
// into the ring (ring.go). So the process may be killed between any two instructions and
// the next one goes on, with no byte lost and none twice, provided that somebody (package
// keeper) holds what Log.Files returns.
//
// Nobody who reads can hold a container up, unless AttachOptions.Hold says so, and nobody
// costs memory by not reading: all read from the ring, and who is too slow is told how many
// bytes are gone. Nothing is written to flash.
//
// What lines are is decided when they are read: the ring holds what was read at once from
// which stream, and when.
package logs

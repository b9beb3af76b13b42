// Package system tests a whole Debian with systemd as a container: it boots to a login prompt, and
// restarting or stopping it inside ends it alone and is told apart by the runtime's exit status.
// Every test leaves the machine as it found it.
// TARE_RUNTIME names the runtime, TARE_SYSTEM_ROOTFS an unpacked tree; unset, they are made.
package system

// Guest is the first process of the virtual machine that test/vm starts: it mounts what a Linux
// system has, runs the test programs it finds in /vm, and restarts the machine, which ends QEMU.
//
// The same program runs in four places, told apart by its argument: in the initial memory file system
// (none), as first process on the disk ("disk"), as the one that runs the suites ("run"), and as the
// same below systemd ("systemd").
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	var err error
	stage := ""
	if len(os.Args) > 1 {
		stage = os.Args[1]
	}
	switch stage {
	case "disk":
		err = disk()
	case "run":
		err = run(false)
	case "systemd":
		if err = run(true); err == nil {
			restart()
		}
	default:
		err = memory()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "guest %s: %v\n", stage, err)
	}
	if os.Getpid() == 1 {
		restart()
	}
	if err != nil {
		os.Exit(1)
	}
}

// restart ends the machine: QEMU runs with -no-reboot. It does not return.
func restart() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		fmt.Fprintln(os.Stderr, "guest: restart:", err)
	}
	select {}
}

// Command stored is for TestEntry: called with "store" it stores a program for
// the rest of its command line, with "entered" it says what Entered does, else
// that Go has started.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "entered" {
		fmt.Println(sysprog.Entered())
		return
	}
	if len(os.Args) < 2 || os.Args[1] != "store" {
		fmt.Println("Go has started", os.Args[1:])
		return
	}
	args := append([]string{os.Args[0]}, os.Args[2:]...)
	var line []byte
	for _, a := range args {
		line = append(append(line, a...), 0)
	}
	var l sysprog.List
	giveUp := l.Label("give up")
	l.Fail = giveUp
	l.Do("", sysprog.Compare, sysprog.Val(sysprog.Arguments()), sysprog.Ptr(l.Buf(line), 0), sysprog.Int(len(line)))
	l.Do("", "write", sysprog.Int(1), sysprog.Str("replayed\n"), sysprog.Int(9))
	l.Do("", "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str("give-up"), sysprog.Int(0)).On(unix.ENOENT, nil).Next(giveUp)
	l.Do("", "exit_group", sysprog.Int(7))
	l.Here(giveUp)
	if err := sysprog.Store(&l, args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(sysprog.StoredName(args))
}

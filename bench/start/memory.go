package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// memory is what one process keeps, in KiB, from smaps_rollup (proc(5)).
type memory struct {
	RSS       int `json:"rssKiB"`
	Anonymous int `json:"anonymousKiB"`
}

// memoryRow is what a detached container keeps with one subject.
type memoryRow struct {
	Subject string `json:"subject"`
	Seccomp bool   `json:"seccomp"`
	Created memory `json:"created"` // waiting for start
	Running memory `json:"running"`
	Helpers int    `json:"helpers"` // processes of the runtime's that stay
}

func readMemory(pid int) (memory, error) {
	var m memory
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) != 3 {
			continue
		}
		var to *int
		switch f[0] {
		case "Rss:":
			to = &m.RSS
		case "Anonymous:":
			to = &m.Anonymous
		default:
			continue
		}
		if *to, err = strconv.Atoi(f[1]); err != nil {
			return m, fmt.Errorf("smaps_rollup of %d: %w", pid, err)
		}
	}
	return m, nil
}

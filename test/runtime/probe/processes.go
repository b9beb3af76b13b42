package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func seconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	return time.Duration(f * float64(time.Second)), err
}

// sleep SECONDS says "ready" first, so that the suite knows the program runs.
func sleep(a []string) (string, error) {
	d, err := seconds(a[0])
	if err != nil {
		return "", err
	}
	fmt.Println("ready")
	time.Sleep(d)
	return "", nil
}

// tick prints a line every so many SECONDS.
func tick(a []string) (string, error) {
	d, err := seconds(a[0])
	if err != nil {
		return "", err
	}
	for fmt.Println("ready"); ; time.Sleep(d) {
		fmt.Println("tick")
	}
}

func exit(a []string) (string, error) {
	code, err := strconv.Atoi(a[0])
	if err != nil {
		return "", err
	}
	os.Exit(code)
	return "", nil
}

func echo(a []string) (string, error) { return strings.Join(a, " "), nil }

func cat([]string) (string, error) {
	b, err := io.ReadAll(os.Stdin)
	return string(b), err
}

// waitSignal prints "ready", then the name of the first signal that comes.
func waitSignal([]string) (string, error) {
	ch := make(chan os.Signal, 64) // a full one loses what comes next
	signal.Notify(ch)
	fmt.Println("ready")
	for s := range ch {
		if s != unix.SIGURG { // the Go runtime's own
			if name := unix.SignalName(s.(syscall.Signal)); name != "" {
				return name, nil
			}
			return s.String(), nil
		}
	}
	return "", nil
}

func signalNumber(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		return syscall.Signal(n), nil
	}
	if n := unix.SignalNum(s); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("no signal %s", s)
}

func kill(a []string) (string, error) {
	pid, err := strconv.Atoi(a[0])
	if err != nil {
		return "", err
	}
	sig, err := signalNumber(a[1])
	if err != nil {
		return "", err
	}
	return "", unix.Kill(pid, sig)
}

func die(a []string) (string, error) {
	sig, err := signalNumber(a[0])
	if err != nil {
		return "", err
	}
	signal.Reset(sig)
	if err := unix.Kill(unix.Getpid(), sig); err != nil {
		return "", err
	}
	time.Sleep(5 * time.Second)
	return "", fmt.Errorf("survived %s", a[0])
}

// alloc MIB touches every page of that much memory.
func alloc(a []string) (string, error) {
	mib, err := strconv.Atoi(a[0])
	if err != nil {
		return "", err
	}
	b, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return "", err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return "allocated " + a[0], nil
}

// fork N makes N children that wait, and prints how many it got before the first refusal.
func fork(a []string) (string, error) {
	want, err := strconv.Atoi(a[0])
	if err != nil {
		return "", err
	}
	debug.SetGCPercent(-1) // a collection could want a thread more than the limit gives
	var children []uintptr
	var refused syscall.Errno
	for len(children) < want && refused == 0 {
		pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if e == 0 && pid == 0 {
			for {
				unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
		}
		refused = e
		if e == 0 {
			children = append(children, pid)
		}
	}
	for _, pid := range children {
		unix.RawSyscall(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0)
		unix.RawSyscall6(unix.SYS_WAIT4, pid, 0, 0, 0, 0, 0)
	}
	if refused != 0 {
		return strconv.Itoa(len(children)), refused
	}
	return strconv.Itoa(len(children)), nil
}

// spin SECONDS burns one CPU and prints the CPU time it got for that in milliseconds.
func spin(a []string) (string, error) {
	d, err := seconds(a[0])
	if err != nil {
		return "", err
	}
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return "", err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		for range 1000 {
			unix.Getpid()
		}
	}
	err = unix.Getrusage(unix.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	return strconv.FormatInt(used/1e6, 10), err
}

// orphan SECONDS leaves a process behind and prints its id.
func orphan(a []string) (string, error) {
	c := exec.Command("/proc/self/exe", "sleep", a[0])
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return "", err
	}
	return strconv.Itoa(c.Process.Pid), nil
}

func run(a []string) (string, error) {
	out, err := exec.Command(a[0], a[1:]...).CombinedOutput()
	return strings.TrimRight(string(out), "\n"), err
}

func execProgram(a []string) (string, error) { return "", syscall.Exec(a[0], a, os.Environ()) }

// winsize prints "rows cols" of standard input at once and at every change.
func winsize([]string) (string, error) {
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, unix.SIGWINCH)
	for {
		w, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			return "", err
		}
		fmt.Printf("size %d %d\n", w.Row, w.Col)
		<-ch
	}
}

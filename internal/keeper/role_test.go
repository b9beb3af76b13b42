package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Keepers and engines of these tests are this test binary, called again with a
// role. They leave what they see in a journal: one write for each line.
const (
	roleEnv    = "TARE_TEST_ROLE"
	journalEnv = "TARE_TEST_JOURNAL"
)

// mute is the name of a program that does not connect.
const mute = "mute"

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	if filepath.Base(os.Args[0]) == mute {
		time.Sleep(10 * time.Second) // it is killed before
		os.Exit(0)
	}
	j := openJournal(os.Getenv(journalEnv))
	if _, engine := os.LookupEnv(Env); !engine {
		ctx := context.Background()
		if after := duration("TARE_TEST_CANCEL"); after > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, after)
			defer cancel()
		}
		status, err := Run(ctx, Options{
			Args: os.Args, pause: time.Millisecond, longest: 2 * time.Millisecond, patience: duration("TARE_TEST_PATIENCE"),
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		if status != checkedOK {
			j.write("keeper %d %d", os.Getpid(), status)
		}
		os.Exit(status)
	}
	if err := roles[role](j); err != nil {
		j.write("error %v", err)
		os.Exit(1)
	}
}

// duration is what an environment variable says; 0 without it.
func duration(name string) time.Duration {
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}

var roles = map[string]func(*journal) error{
	"spawn":   spawnRole,
	"signals": signalRole,
	"orphan":  orphanRole,
	"upgrade": upgradeRole,
	"flood":   floodRole,
}

type journal struct{ f *os.File }

func openJournal(path string) *journal {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	return &journal{f}
}

func (j *journal) write(format string, args ...any) {
	if _, err := fmt.Fprintf(j.f, format+"\n", args...); err != nil {
		panic(err)
	}
}

// child is a shell that journals its own number, status and line of /proc before
// it ends. It may leave an orphan behind, which does the same.
const child = `read -r stat </proc/$$/stat
echo "child $$ $2 $stat" >>"$1"
case $2 in
1?) sleep 0.02;;
2?) (read -r stat </proc/self/stat; set -- $stat; sleep 0.03; echo "orphan $1 0 $stat" >>"$0") & ;;
esac
exit $2`

// spawnRole makes children for the keeper, as fast as it can, until the journal's
// directory has a file named stop; and takes note of exits.
func spawnRole(j *journal) error {
	if rand.IntN(5) == 0 {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL) // before it is connected
	}
	c, err := Connect()
	if err != nil {
		return err
	}
	if err := takeHeld(c); err != nil {
		return err
	}
	j.write("engine %d", os.Getpid())
	go func() {
		for e := range c.Exits() {
			j.write("exit %d %d %d %d", e.Seq, e.Pid, e.Start, exitStatus(e.Status))
			time.Sleep(time.Duration(rand.IntN(int(time.Millisecond)))) // where it may be killed
			if err := c.Ack(e); err != nil {
				j.write("error %v", err)
			}
			j.write("ack %d", e.Seq)
		}
		j.write("closed")
		os.Exit(3)
	}()
	journalPath := os.Getenv(journalEnv)
	stop := filepath.Join(filepath.Dir(journalPath), "stop")
	for unix.Access(stop, unix.F_OK) != nil {
		status := strconv.Itoa(rand.IntN(30))
		_, err := syscall.ForkExec("/bin/sh", []string{journalPath, "-c", child, journalPath, journalPath, status}, &syscall.ProcAttr{
			Env: []string{"PATH=/bin:/usr/bin"}, Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT},
		})
		if err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		if rand.IntN(upgradeEvery()) == 0 {
			if err := c.Upgrade("/proc/self/exe"); err != nil {
				return err
			}
			os.Exit(rand.IntN(2))
		}
	}
	select {} // the exits are still to come; the test ends us
}

// upgradeEvery is how many children an engine makes, on average, before it asks
// for an upgrade.
func upgradeEvery() int {
	n, err := strconv.Atoi(os.Getenv("TARE_TEST_UPGRADE"))
	if err != nil {
		return 1 << 30
	}
	return n
}

// takeHeld finds the files that the first engine has put, as they were.
func takeHeld(c *Client) error {
	files, err := c.Get("two")
	if errors.Is(err, os.ErrNotExist) {
		for i := range 2 {
			fd, err := unix.MemfdCreate("held", 0)
			if err != nil {
				return err
			}
			f := os.NewFile(uintptr(fd), "held")
			if _, err := fmt.Fprintf(f, "held %d", i); err != nil {
				return err
			}
			files = append(files, f)
		}
		return c.Put("two", files...)
	}
	if err != nil {
		return err
	}
	for i, f := range files {
		b := make([]byte, 16)
		n, _ := f.ReadAt(b, 0)
		if want := fmt.Sprintf("held %d", i); string(b[:n]) != want {
			return fmt.Errorf("held file %d has %q, want %q", i, b[:n], want)
		}
		_ = f.Close()
	}
	if len(files) != 2 {
		return fmt.Errorf("%d files are held, want 2", len(files))
	}
	return nil
}

// signalRole ends with 5 on a SIGTERM, and notes SIGHUPs.
func signalRole(j *journal) error {
	c, err := Connect()
	if err != nil {
		return err
	}
	go func() {
		for range c.Exits() {
		}
		os.Exit(1) // the keeper has ended
	}()
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, unix.SIGTERM, unix.SIGHUP)
	j.write("engine %d", os.Getpid())
	for s := range sigs {
		j.write("signal %d", s)
		if s == unix.SIGTERM {
			os.Exit(5)
		}
	}
	return nil
}

// orphanRole lives until the keeper has gone.
func orphanRole(j *journal) error {
	c, err := Connect()
	if err != nil {
		return err
	}
	j.write("engine %d", os.Getpid())
	for range c.Exits() {
	}
	_, err = c.Names()
	j.write("closed %v", errors.Is(err, ErrGone))
	return nil
}

// upgradeRole upgrades to the program that the test names, once.
func upgradeRole(j *journal) error {
	c, err := Connect()
	if err != nil {
		return err
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	parent, err := os.Readlink("/proc/" + strconv.Itoa(os.Getppid()) + "/exe")
	if err != nil {
		return err
	}
	oom, err := os.ReadFile(oomFile)
	if err != nil {
		return err
	}
	j.write("engine %d %s %s %s %s", os.Getpid(), filepath.Base(exe), filepath.Base(parent), bytes.TrimSpace(oom), filepath.Base(os.Args[0]))
	if _, err := c.Get("asked"); errors.Is(err, os.ErrNotExist) {
		if err := c.Put("asked", j.f); err != nil {
			return err
		}
		if err := c.Upgrade(os.Getenv("TARE_TEST_PROGRAM")); err != nil {
			return err
		}
		return nil // with 0
	}
	for range c.Exits() { // until the keeper ends
	}
	return nil
}

// floodBeyond is how many processes end when the keeper has no room for more.
const floodBeyond = 20

// floodRole lets more processes end than the keeper remembers, and then takes
// note of them.
func floodRole(j *journal) error {
	c, err := Connect()
	if err != nil {
		return err
	}
	for range maxExits + floodBeyond {
		_, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT}})
		if err != nil {
			return err
		}
	}
	for n := 0; n != 1+floodBeyond; time.Sleep(time.Millisecond) { // this engine, and the zombies
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", os.Getppid()))
		if err != nil {
			return err
		}
		n = 0
		for _, list := range lists { // one for each thread
			b, _ := os.ReadFile(list)
			n += len(strings.Fields(string(b)))
		}
		if n < 1+floodBeyond {
			return fmt.Errorf("the keeper has %d children, want %d", n, 1+floodBeyond)
		}
	}
	for n := range maxExits + floodBeyond {
		if err := c.Ack(<-c.Exits()); err != nil {
			return err
		}
		if n == maxExits+floodBeyond-1 {
			j.write("told %d", n+1)
		}
	}
	for range c.Exits() {
	}
	return nil
}

// running is a keeper that runs in a role.
type running struct {
	t    *testing.T
	cmd  *exec.Cmd
	path string // of the journal
	log  string // the file that its standard error goes to
	done chan struct{}
}

func startKeeper(t *testing.T, role string, env ...string) *running {
	t.Helper()
	return startProgram(t, "/proc/self/exe", role, env...)
}

func startProgram(t *testing.T, program, role string, env ...string) *running {
	t.Helper()
	return startLogging(t, nil, program, role, env...)
}

// startLogging starts one that logs to a file; nil: to one of its own.
func startLogging(t *testing.T, log *os.File, program, role string, env ...string) *running {
	t.Helper()
	dir := t.TempDir()
	r := &running{t: t, path: filepath.Join(dir, "journal"), log: filepath.Join(dir, "log"), done: make(chan struct{})}
	if log == nil {
		var err error
		if log, err = os.Create(r.log); err != nil {
			t.Fatal(err)
		}
		defer log.Close()
	}
	r.cmd = exec.Command(program)
	r.cmd.Env = append(os.Environ(), append([]string{roleEnv + "=" + role, journalEnv + "=" + r.path}, env...)...)
	r.cmd.Stderr = log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
		if t.Failed() {
			t.Logf("the keeper said:\n%s", r.said())
		}
	})
	return r
}

// said is what it has logged.
func (r *running) said() string {
	b, _ := os.ReadFile(r.log)
	return string(b)
}

// lines are the journal's whole lines.
func (r *running) lines() (list [][]string) {
	b, _ := os.ReadFile(r.path)
	text, _, _ := cutLast(string(b), "\n")
	for line := range strings.Lines(text) {
		list = append(list, strings.Fields(line))
	}
	return list
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// await waits until the journal is as wanted, and returns its lines.
func (r *running) await(what string, wanted func(lines [][]string) bool) [][]string {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		lines := r.lines()
		if wanted(lines) {
			return lines
		}
		for _, l := range lines {
			if l[0] == "error" {
				r.t.Fatalf("an engine said: %q", l)
			}
		}
		if time.Now().After(end) {
			r.t.Fatalf("waited too long for %s; the journal ends with %q", what, lines[max(0, len(lines)-5):])
		}
	}
}

// awaitEngine waits for the nth engine and returns its line.
func (r *running) awaitEngine(n int) (pid int, line []string) {
	r.t.Helper()
	r.await("engine "+strconv.Itoa(n), func(lines [][]string) bool {
		count := 0
		for _, l := range lines {
			if l[0] == "engine" {
				if count++; count == n {
					line = l
					return true
				}
			}
		}
		return false
	})
	pid, err := strconv.Atoi(line[1])
	if err != nil {
		r.t.Fatal(err)
	}
	return pid, line
}

// ended waits for the keeper's end and returns its status.
func (r *running) ended() int {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		r.t.Fatal("the keeper does not end")
	}
	return exitStatus(unix.WaitStatus(r.cmd.ProcessState.Sys().(syscall.WaitStatus)))
}

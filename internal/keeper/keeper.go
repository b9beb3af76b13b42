// Package keeper is the parent of the engine and of all containers, so that the
// engine may die: the keeper reaps what ends and remembers how it did until an
// engine has taken note, holds descriptors that must outlive an engine, and
// starts the engine again.
// An exit is delivered, and delivered again, until it is acknowledged; the keeper
// waits for nobody, and no frame can end it.
// What ends, why, and what to do about it is the engine's business.
//
// The keeper is the only process whose death is felt. Containers go on, but
// their exits go to whoever adopts them. The engine sees its socket closed and
// ends (Client.Exits is closed); the next engine finds the containers that still
// run, and learns by a pidfd that one has ended, but not how before Linux 6.15
// (docs/design/0004).
package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/resident"
)

// Options is how the keeper runs the engine.
type Options struct {
	Program string    // the engine's file; "": our own
	Args    []string  // the engine's argv, its name first
	Env     []string  // the engine's environment; nil: ours
	Self    []string  // our own argv, for a new version of us; nil: os.Args
	Log     io.Writer // gets a line whenever an engine ends badly; nil: os.Stderr

	// For tests; 0: as below.
	pause, longest, patience time.Duration
}

// How an engine is started again.
const (
	firstPause   = 100 * time.Millisecond // doubles with each failure
	longestPause = 10 * time.Second
	goodLife     = time.Minute      // after so long a life the pause begins anew
	newPatience  = 30 * time.Second // a program from an upgrade must connect in this time
)

// restAfter is when an engine that has connected has done its first work.
const restAfter = 2 * time.Second

// What keeps a process from being killed when memory runs out: proc_pid_oom_score_adj(5).
const oomFile = "/proc/self/oom_score_adj"

var oomNever = []byte("-1000")

// keeper is all state, which belongs to one goroutine.
type keeper struct {
	o    Options
	wake int            // becomes readable when a signal has come, and gives its number
	sigs chan os.Signal // those of which each counts
	died chan os.Signal // SIGCHLD, of which one stands for many

	engine  engine
	program program // of the engine
	next    program // of the next engine
	trial   bool    // that is running, and has not connected
	replace bool    // it has: we are to become that program, too

	own    []byte        // oom_score_adj of the caller, and so of the engine
	pause  time.Duration // before the last restart
	due    time.Time     // when the engine is to be started
	rest   time.Time     // when to give memory back, with an engine at work and little to do; zero: it was
	ending bool          // we were told to end: start no more engines

	exits table
	held  store

	in  *inbox
	buf []byte // for frames out, and other short things
}

// Run runs the engine until it ends by itself with status 0, or ends after
// SIGTERM or SIGINT, which Run passes on, as it does SIGHUP, SIGQUIT, SIGUSR1 and
// SIGUSR2. It returns the status to exit with.
// The end of ctx is like a SIGTERM.
//
// The process belongs to it: it reaps every child, takes the signals, adopts
// orphans (PR_SET_CHILD_SUBREAPER), keeps the heap small and, if it may, itself
// from being killed when memory runs out. The engine gets the caller's environment,
// standard files, other files without close-on-exec, and /proc/self/oom_score_adj.
func Run(ctx context.Context, o Options) (status int, err error) {
	if check := os.Getenv(envCheck); check != "" {
		return checkState(check)
	}
	k := newKeeper(o)
	if err := k.prepare(); err != nil {
		return 1, fmt.Errorf("keeper: %w", err)
	}
	defer k.close()
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		k.sigs <- unix.SIGTERM
		close(told)
	})
	defer func() {
		if !stop() {
			<-told
		}
	}()
	if state := os.Getenv(envState); state != "" {
		if err := k.resume(state); err != nil {
			// An engine runs that we know nothing of. It ends with us.
			return 1, fmt.Errorf("keeper: take over: %w", err)
		}
	}
	for {
		done, status := k.turn(time.Now())
		if done {
			return status, nil
		}
		if err := k.wait(); err != nil {
			return 1, fmt.Errorf("keeper: %w", err)
		}
	}
}

func newKeeper(o Options) *keeper {
	if o.Log == nil {
		o.Log = os.Stderr
	}
	if o.Self == nil {
		o.Self = os.Args
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.pause == 0 {
		o.pause = firstPause
	}
	if o.longest == 0 {
		o.longest = longestPause
	}
	if o.patience == 0 {
		o.patience = newPatience
	}
	return &keeper{
		o: o, wake: -1, program: noProgram, next: noProgram, engine: engine{sock: -1}, held: store{},
		in: newInbox(), buf: make([]byte, maxFrame),
	}
}

// prepare makes the process a keeper.
func (k *keeper) prepare() error {
	// Next to nothing is allocated: a collection, whose workers take more memory
	// than it frees, is for the day when something is. Go itself counts 5.5 MB
	// when it starts, most of which are never touched.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(8 << 20)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	_ = os.WriteFile("/proc/self/comm", []byte("tare-keeper"), 0) // for ps
	k.own, _ = os.ReadFile(oomFile)
	_ = os.WriteFile(oomFile, oomNever, 0) // takes CAP_SYS_RESOURCE
	raiseFileLimit()
	fds := make([]int, 2)
	if err := unix.Pipe2(fds, unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	k.wake = fds[0]
	k.sigs, k.died = make(chan os.Signal, 16), make(chan os.Signal, 1) // what does not fit is dropped
	signal.Notify(k.died, unix.SIGCHLD)
	// SIGPIPE only to survive it: nobody may read what we log.
	signal.Notify(k.sigs, unix.SIGPIPE, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	go forward(k.sigs, k.died, fds[1])
	return nil
}

// forward turns signals into bytes of a pipe, which can be waited for together
// with a socket. It ends when sigs is closed.
func forward(sigs, died <-chan os.Signal, pipe int) {
	var b [1]byte
	for {
		select {
		case s, ok := <-sigs:
			if !ok {
				_ = unix.Close(pipe)
				return
			}
			n, _ := s.(unix.Signal)
			b[0] = byte(n)
		case <-died:
			b[0] = byte(unix.SIGCHLD)
		}
		_, _ = unix.Write(pipe, b[:]) // there is room for 65536, and each turn empties it
	}
}

// raiseFileLimit makes room for all that an engine may have us hold. What
// containers may open is in their specs.
func raiseFileLimit() {
	const want = maxHeld + 256
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur >= want {
		return
	}
	more := unix.Rlimit{Cur: want, Max: max(l.Max, want)}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &more) != nil { // only root raises the hard limit
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: l.Max, Max: l.Max})
	}
}

// turn does what is to be done now, and tells whether that was the last of it.
func (k *keeper) turn(now time.Time) (done bool, status int) {
	k.signals()
	if ws, ended := k.reap(now); ended {
		if done, status := k.engineEnded(ws, now); done {
			return true, status
		}
	}
	k.serve()
	if k.replace {
		k.replace = false
		k.become()
	}
	k.deliver()
	if k.engine.pid == 0 && k.ending {
		return true, 0
	}
	if k.engine.pid == 0 && !now.Before(k.due) {
		k.start(now)
	}
	if k.onTrial() && now.Sub(k.engine.since) >= k.o.patience {
		k.log("the engine (%d) from the new program has not connected for %v: it is killed", k.engine.pid, k.o.patience)
		_ = unix.Kill(k.engine.pid, unix.SIGKILL)
		k.engine.overdue = true
	}
	if !k.rest.IsZero() && !now.Before(k.rest) {
		k.rest = time.Time{}
		resident.Program()
	}
	return false, 0
}

// onTrial tells whether an engine runs that has a certain time to connect.
func (k *keeper) onTrial() bool {
	return k.trial && k.engine.pid > 0 && !k.engine.connected && !k.engine.overdue
}

// wait waits until there is something to do.
func (k *keeper) wait() error {
	fds := []unix.PollFd{{Fd: int32(k.wake), Events: unix.POLLIN}, {Fd: int32(k.engine.sock), Events: unix.POLLIN}}
	until := k.rest
	switch {
	case k.engine.pid == 0:
		until = k.due
	case k.onTrial():
		until = k.engine.since.Add(k.o.patience)
	}
	var timeout *unix.Timespec
	if !until.IsZero() {
		ts := unix.NsecToTimespec(max(0, int64(time.Until(until))))
		timeout = &ts
	}
	if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait: %w", err)
	}
	return nil
}

// signals acts on what was sent to us. SIGCHLD has only woken us; what others
// mean is the engine's business.
func (k *keeper) signals() {
	var b [16]byte
	for {
		n, err := unix.Read(k.wake, b[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		for _, c := range b[:n] {
			sig := unix.Signal(c)
			if sig == unix.SIGCHLD || sig == unix.SIGPIPE {
				continue
			}
			k.ending = k.ending || sig == unix.SIGTERM || sig == unix.SIGINT
			if k.engine.pid > 0 {
				_ = unix.Kill(k.engine.pid, sig) // not reaped, so still its number
			}
		}
	}
}

// log says one thing that a person may want to know.
func (k *keeper) log(format string, args ...any) {
	fmt.Fprintf(k.o.Log, "tare keeper: "+format+"\n", args...)
}

func (k *keeper) close() {
	signal.Stop(k.died)
	signal.Stop(k.sigs)
	close(k.sigs)
	_ = unix.Close(k.wake)
	k.hangUp()
	for name := range k.held {
		k.held.drop(name)
	}
	k.program.close()
	k.next.close()
}

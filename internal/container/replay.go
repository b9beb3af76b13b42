package container

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/sysprog"
)

// A command line that comes again for an unchanged bundle need not start Go:
// its program is stored and the entry code of package sysprog runs it. Whether
// a command line will come again nobody knows; one that has come before is
// likely to. So only then is it stored, and engines, which give every
// container a new name, leave nothing behind.

// errUnwatched: a stored program could not see that a file is another.
var errUnwatched = errors.New("a file cannot be watched")

// watch notes how a file is, before it is read: one that changes while it is
// read has changed for the stored program.
func (k *creation) watch(path string) {
	if k.c.replay == nil {
		return
	}
	w, err := watch(path)
	if err != nil {
		w = []program.Watch{{}}
	}
	k.watches = append(k.watches, w...)
}

// watched are the files that the start or exec depends on, and ourselves.
func (k *creation) watched(rootfs string) ([]program.Watch, error) {
	list, err := watch("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	for _, w := range k.watches {
		switch passwd := w.Path == filepath.Join(rootfs, passwdFile); {
		case w.Path == "", passwd && k.homeFrom != "" && !direct(rootfs, passwdFile):
			return nil, errUnwatched
		case passwd && k.homeFrom == "":
		default:
			list = append(list, w)
		}
	}
	return list, nil
}

// contents reads small files.
func contents(paths []string) ([]program.File, error) {
	var list []program.File
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		list = append(list, program.File{Name: p, Data: b})
	}
	return list, nil
}

// parentCpusets are the files that the CPUs and memory nodes of new v1 groups
// were copied from.
func parentCpusets(p *cgroup.Plan) (files []string) {
	made := map[string]bool{}
	for _, s := range p.Steps {
		dir, name := filepath.Split(s.Path)
		dir = filepath.Clean(dir)
		if s.Kind != cgroup.Write || name != "cpuset.cpus" && name != "cpuset.mems" {
			continue
		}
		from := filepath.Join(filepath.Dir(dir), name)
		if !made[from] {
			files = append(files, from)
		}
		made[s.Path] = true
	}
	return files
}

// direct tells whether no link is on the way from root to path, so that a
// watch, which follows links from the host's root, sees what we have read.
func direct(root, path string) bool {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if err == nil {
		_ = unix.Close(fd)
	}
	return err == nil || err == unix.ENOENT
}

// watch returns the watches for paths as they are now.
func watch(paths ...string) ([]program.Watch, error) {
	var list []program.Watch
	for _, p := range paths {
		w := program.Watch{Path: p, Stat: &unix.Statx_t{}}
		switch err := unix.Statx(unix.AT_FDCWD, p, 0, unix.STATX_BASIC_STATS, w.Stat); err {
		case nil:
		case unix.ENOENT:
			w.Stat = nil
		default:
			return nil, err
		}
		list = append(list, w)
	}
	return list, nil
}

// stdioKinds are descriptors 0 to 2 if what is done with them depends on what
// they are: see stdio.
func stdioKinds(user uint32) (kinds [3]*unix.Statx_t) {
	if user == 0 {
		return kinds
	}
	for n := range kinds {
		kinds[n] = &unix.Statx_t{}
		if unix.Statx(n, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, kinds[n]) != nil {
			kinds[n] = &unix.Statx_t{} // like no file: the program gives up
		}
	}
	return kinds
}

// plainName is a file in the state directory of a container that a stored
// start or delete fits: no hooks, all processes end with the first one, and
// the control groups are these.
func (k *creation) plainName() string {
	if k.o.Edit != nil || k.spec.Hooks != nil || !program.Replayable(&k.in) || k.plan.Unit != nil || !k.caller.ExitInfo {
		return ""
	}
	for _, m := range k.spec.Mounts {
		if strings.HasPrefix(m.Type, "cgroup") && writable(m.Options) {
			return "" // groups made inside would be in the way of removing it
		}
	}
	return plainName(groupDirs(k.plan))
}

func plainName(dirs []string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(strings.Join(dirs, "\n")))
	return fmt.Sprintf("plain.%016x", h.Sum64())
}

// groupDirs are the directories that a plan makes for the container alone,
// innermost first.
func groupDirs(p *cgroup.Plan) (dirs []string) {
	for i := len(p.Steps) - 1; i >= 0; i-- {
		if s := p.Steps[i]; s.Kind == cgroup.Mkdir && s.MustBeNew {
			dirs = append(dirs, s.Path)
		}
	}
	return dirs
}

// storable tells whether the program of this start may be stored: nothing of
// Go is needed for it or after it.
func (k *creation) storable() bool {
	o := &k.o
	return len(k.c.replay) > 0 && os.Geteuid() == 0 && sysprog.CanReplay && !sysprog.Faults &&
		o.ConsoleSocket == "" && o.PidfdSocket == "" && o.PreserveFDs == 0 && !o.Detach && !o.NoPivot &&
		!o.SystemdCgroup && !o.Keep && !o.Parent && !k.warned && k.plainName() != ""
}

// store stores the start that k has just made, for the same command line.
// What keeps it from being stored is no error: Go does it again next time.
func (k *creation) store() error {
	if !k.storable() || !storing(k.c.replay) {
		return nil
	}
	p, err := k.replayProgram("")
	if err != nil {
		return err
	}
	if k.in.Wait {
		k.c.foresee(nil)
	}
	return keepAgain(p.List, k.c.replay)
}

// become stores the start's program and executes us again, which runs it in
// the place of Go. It returns if that is not possible, and nothing has happened.
//
// The program does the same as Go would, but it has one thread, and a hundred
// kilobytes to copy or keep until the container's end. A command line that is
// new leaves no program behind.
func (k *creation) become() {
	if k.storable() {
		k.execute(true, k.replayProgram)
	}
}

// execute is what become does with the program that compile makes. A program
// that may come again is kept when it has come before.
func (k *creation) execute(again bool, compile func(own string) (*program.Program, error)) {
	if !sysprog.Entered() {
		return
	}
	own := filepath.Join(sysprog.StoreDir, sysprog.StoredName(k.c.replay))
	if os.Remove(own) == nil {
		for _, name := range k.c.aheadFiles(k.in.ID) {
			_ = os.Remove(filepath.Join(sysprog.StoreDir, name))
		}
		return // it gave up just now
	}
	once, keep := own, keepOnce
	if again && storing(k.c.replay) {
		once, keep = "", keepAgain
	}
	p, err := compile(once)
	if err != nil || len(p.Warnings) > 0 { // which Go gives, and gives each time
		return
	}
	if k.in.Wait {
		k.c.foresee(k.c.rec.Ahead)
	}
	if keep(p.List, k.c.replay) == nil {
		_ = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
		_ = os.Remove(own)
	}
}

// replayProgram compiles the start into a program to be stored; own is the
// program's file if it is to remove itself.
func (k *creation) replayProgram(own string) (*program.Program, error) {
	watches, err := k.watched(k.in.Rootfs)
	if err != nil {
		return nil, err
	}
	r := program.Replay{Watches: watches, Args: k.c.replay, PidFile: k.o.PidFile, Stdio: stdioKinds(k.spec.Process.User.UID)}
	if own != "" {
		r.Drop = []string{own}
		k.ahead = k.c.aheadFiles(k.in.ID)
	}
	if r.Contents, err = contents(append(parentCpusets(k.plan), "/proc/self/cgroup")); err != nil {
		return nil, err
	}
	if r.Cwd, err = os.Getwd(); err != nil {
		return nil, err
	}
	r.Files = []program.File{{Name: configFile, Data: k.raw}, {Name: recordFile, Later: true}, {Name: k.plainName()}}
	if k.in.Wait {
		r.Files = append(r.Files, program.File{Name: program.ExecFifo, Fifo: true}, program.File{Name: program.StartFifo, Fifo: true})
	}
	p, err := program.CompileReplay(&k.in, &r)
	if err != nil {
		return nil, err
	}
	b, err := k.record(p)
	if err != nil {
		return nil, err
	}
	p.SetFile(b)
	return p, nil
}

// storableExec tells whether the program of an exec may be stored.
func (k *creation) storableExec(o ExecOptions, in *program.ExecInput) bool {
	if len(k.c.replay) == 0 || os.Geteuid() != 0 || !sysprog.CanReplay || sysprog.Faults {
		return false
	}
	if o.PidFile != "" || o.PidfdSocket != "" || o.SubCgroup != "" || o.Detach || o.Parent || k.warned {
		return false
	}
	if unix.Access(filepath.Join(k.c.dir, pidfdFile), unix.F_OK) != nil {
		return false // of a run in the foreground, which keeps none
	}
	if k.c.rec.Plain == "" || in.Fork || in.User || in.PreserveFDs != 0 || in.InitFD < 0 || in.Seccomp != nil && in.Seccomp.Notify {
		return false
	}
	for n, fd := range in.Stdio {
		if fd != n || in.ChownStdio[n] && in.Process.User.UID != 0 {
			return false
		}
	}
	return true
}

// storeExec stores an exec into this life of the container.
func (k *creation) storeExec(o ExecOptions, in *program.ExecInput) error {
	if o.From != "" || !k.storableExec(o, in) || !storing(k.c.replay) {
		return nil
	}
	p, err := k.replayExec(in, "")
	if err != nil {
		return err
	}
	return keepAgain(p.List, k.c.replay)
}

// becomeExec is become for an exec. One whose process comes from a file, which
// may be another next time, leaves no program behind.
func (k *creation) becomeExec(o ExecOptions, in *program.ExecInput) {
	if k.storableExec(o, in) {
		k.execute(o.From == "", func(own string) (*program.Program, error) { return k.replayExec(in, own) })
	}
}

// replayExec compiles an exec into a program to be stored; own is the
// program's file if it is to remove itself.
func (k *creation) replayExec(in *program.ExecInput, own string) (*program.Program, error) {
	c := k.c
	watches, err := k.watched(c.rec.Rootfs)
	if err != nil {
		return nil, err
	}
	r := &program.ReplayExec{Replay: program.Replay{Args: c.replay, Watches: watches, Stdio: stdioKinds(in.Process.User.UID)}, StateDir: c.dir}
	if own != "" {
		r.Drop = []string{own}
	}
	for _, n := range flagOf { // those it shares with the container now it must share then
		if in.Namespaces&n.flag == 0 {
			path := "/proc/self/ns/" + n.name
			if target, err := os.Readlink(path); err == nil {
				r.Links = append(r.Links, program.Link{Path: path, Target: target})
			}
		}
	}
	if dir := c.rec.Cgroup.Paths["freezer"]; dir != "" {
		r.Contents = []program.File{{Name: dir + "/freezer.state", Data: []byte("THAWED\n")}}
	} else if dir := c.rec.Cgroup.Paths[""]; dir != "" {
		r.Contents = []program.File{{Name: dir + "/cgroup.freeze", Data: []byte("0\n")}}
	}
	return program.CompileReplayExec(in, r)
}

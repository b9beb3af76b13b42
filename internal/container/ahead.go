package container

import (
	"os"
	"path/filepath"
	"slices"

	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/sysprog"
)

// Whoever creates a container starts and deletes it, with the same options
// before the verb. So create stores the programs of both ahead, for command
// lines that have not come yet.

// control gathers what the program of a start or delete depends on, to be stored
// for the command line args; drop are the files it removes.
func (c *Container) control(args, drop []string) (*program.ReplayControl, error) {
	watches, err := watch("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	return &program.ReplayControl{
		Replay:   program.Replay{Args: args, Cwd: cwd, Watches: watches, Drop: drop},
		StateDir: c.dir, Dirs: c.rec.Groups, Plain: filepath.Join(c.dir, c.rec.Plain),
		Names: []string{recordFile, configFile, program.ProcessFile, program.ExecFifo, program.StartFifo, c.rec.Plain},
	}, nil
}

// storeStart stores `start`.
func (c *Container) storeStart() { c.storeControl(program.CompileReplayStart) }

// storeDelete stores `delete`.
func (c *Container) storeDelete() { c.storeControl(program.CompileReplayDelete) }

func (c *Container) storeControl(compile func(*program.ReplayControl) *sysprog.List) {
	if c.rec.Plain == "" || !storing(c.replay) {
		return
	}
	if r, err := c.control(c.replay, nil); err == nil {
		_ = keepAgain(compile(r), c.replay)
	}
}

// following are the command lines that are likely to follow the create of id
// that is being carried out; nil where it is not plain which argument the verb is.
func (c *Container) following(id string) (start, remove []string) {
	const verb = "create"
	at := slices.Index(c.replay, verb)
	if at < 0 || slices.Contains(c.replay[at+1:], verb) {
		return nil, nil
	}
	before := c.replay[:at:at]
	return append(before, "start", id), append(before, "delete", id)
}

// aheadFiles are the names, in the directory of stored programs, of those that
// follow the create of id.
func (c *Container) aheadFiles(id string) []string {
	start, remove := c.following(id)
	if start == nil {
		return nil
	}
	return []string{sysprog.StoredName(start), sysprog.StoredName(remove)}
}

// foresee stores the programs that follow a create. Those of drop are for one
// time; delete removes them.
func (c *Container) foresee(drop []string) {
	start, remove := c.following(c.rec.ID)
	if start == nil {
		return
	}
	files := make([]string, len(drop))
	for i, name := range drop {
		files[i] = filepath.Join(sysprog.StoreDir, name)
	}
	store := sysprog.Store
	if len(drop) > 0 {
		store = func(l *sysprog.List, args []string) error { return sysprog.StoreOnce(l, args, c.dir) }
	}
	if r, err := c.control(start, files[:min(1, len(files))]); err == nil {
		_ = store(program.CompileReplayStart(r), start)
	}
	if r, err := c.control(remove, files); err == nil {
		_ = store(program.CompileReplayDelete(r), remove)
	}
}

// forget removes the programs that were stored ahead, when Go has done it.
func (c *Container) forget() {
	for _, name := range c.rec.Ahead {
		_ = os.Remove(filepath.Join(sysprog.StoreDir, name))
	}
}

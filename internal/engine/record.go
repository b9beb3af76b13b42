package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Record is what a container was made with. It never changes in place: a rename or an update makes
// another. It is on flash in ROOT/engine/containers/ID.json, or, for a container that goes with its end
// (--rm), in its directory in memory.
type Record struct {
	ID       string
	Name     string
	Created  time.Time
	Image    string // digest of its manifest
	Config   *container.Config
	Host     *container.HostConfig
	Networks map[string]*network.EndpointSettings `json:",omitempty"` // as wished, by the network's name
	Mounts   []Mount                              `json:",omitempty"`
	// Stopped is a container that a person stopped, whose policy is unless-stopped: a boot leaves it so.
	Stopped bool `json:",omitempty"`
}

// Mount is something of the host's in a container.
type Mount struct {
	container.MountPoint
	Options   []string `json:",omitempty"` // beside what the fields say
	Anonymous bool     `json:",omitempty"` // a volume that has no name of a person's: it goes with rm -v, and with --rm
	Subpath   string   `json:",omitempty"` // below a volume
}

// Memory is what of a container is in memory alone, in RUN/containers/ID/state.json: what a boot ends.
type Memory struct {
	State      State
	Pid        int    `json:",omitempty"`
	Started    uint64 `json:",omitempty"` // start time of Pid, in ticks since the boot: proc_pid_stat(5)
	ExitCode   int
	OOMKilled  bool      `json:",omitempty"`
	Error      string    `json:",omitempty"`
	StartedAt  time.Time `json:",omitzero"`
	FinishedAt time.Time `json:",omitzero"`
	Restarts   int       `json:",omitempty"` // by the policy, since a person started it
	Runs       int       `json:",omitempty"` // how often its process was made
	Asked      bool      `json:",omitempty"` // a person asked for its end
	Reset      bool      `json:",omitempty"` // it asked for a restart of the machine
	HasTTY     bool      `json:",omitempty"`
	AskedWhy   string    `json:",omitempty"` // why its end was asked for; "": a client did
	Due        bool      `json:",omitempty"` // the device has booted, and it is still to be started
	SlowedRun  int       `json:",omitempty"` // the run that is slowed down, for memory is short
	Health     *Health   `json:",omitempty"`

	Attached map[string]*network.EndpointSettings `json:",omitempty"`
	Ports    network.PortMap                      `json:",omitempty"`

	Reasons []Reason `json:",omitempty"` // the oldest first
}

const memoryFile = "state.json"

func (r *Record) forgets() bool { return r.Host.AutoRemove }

// recordPath is where the record lies.
func (e *Engine) recordPath(r *Record) string {
	if r.forgets() {
		return filepath.Join(e.dir(r.ID), "record.json")
	}
	return filepath.Join(e.recordsDir(), r.ID+".json")
}

func (e *Engine) dir(id string) string { return filepath.Join(e.o.Run, "containers", id) }

// saveRecord writes the record so that it is whole when it has its name. That of a container with
// --rm costs no write to flash.
func (e *Engine) saveRecord(r *Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if r.forgets() {
		return replaceFile(e.recordPath(r), text)
	}
	return writeLasting(e.recordPath(r), text)
}

func (e *Engine) removeRecord(r *Record) error {
	err := os.Remove(e.recordPath(r))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// loadRecords reads what is on flash and in memory. One that cannot be read is left where it is.
func (e *Engine) loadRecords() ([]*Record, error) {
	paths, err := filepath.Glob(filepath.Join(e.recordsDir(), "*.json"))
	if err != nil {
		return nil, err
	}
	more, err := filepath.Glob(filepath.Join(e.o.Run, "containers", "*", "record.json"))
	if err != nil {
		return nil, err
	}
	var all []*Record
	for _, path := range append(paths, more...) {
		r := &Record{}
		if err := readJSON(path, r); err != nil {
			e.log.Error("read a container's record", "path", path, "error", err)
			continue
		}
		if r.ID == "" || r.Config == nil || r.Host == nil || strings.Contains(r.ID, "/") {
			e.log.Error("a container's record is not whole", "path", path)
			continue
		}
		all = append(all, r)
	}
	return all, nil
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// replaceFile puts a file in memory in the place of another.
func replaceFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// writeLasting is replaceFile on flash: a crash leaves the old file, or the new one.
func writeLasting(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

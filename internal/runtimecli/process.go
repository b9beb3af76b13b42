package runtimecli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/cli"
)

// processFlags are the flags of exec that say what the process is like.
type processFlags struct {
	cwd          string
	env          []string
	tty          bool
	user         string
	gids         []string
	label        string
	apparmor     string
	noNewPrivs   bool
	capabilities []string
}

func (p *processFlags) flags(f *cli.Flags) {
	f.String(&p.cwd, "cwd", "", "working `DIR` in the container")
	f.Strings(&p.env, "env", "e", "`NAME=VALUE` for the environment; may be repeated")
	f.Bool(&p.tty, "tty", "t", "give the process a terminal")
	f.String(&p.user, "user", "u", "`UID[:GID]` in the container")
	f.Strings(&p.gids, "additional-gids", "g", "one more `GID`; may be repeated")
	f.String(&p.label, "process-label", "", "SELinux `LABEL`")
	f.String(&p.apparmor, "apparmor", "", "AppArmor `PROFILE`")
	f.Bool(&p.noNewPrivs, "no-new-privs", "", "never let the process gain privileges")
	f.Strings(&p.capabilities, "cap", "c", "one more capability, by `NAME`; may be repeated")
}

// merge makes the process of an exec out of the container's own. given says
// whether a flag was on the command line. The container's process is not changed.
func (p *processFlags) merge(own *specs.Process, args []string, given func(string) bool) (*specs.Process, error) {
	if own == nil {
		own = &specs.Process{Cwd: "/"}
	}
	merged := *own
	merged.Args = args
	merged.CommandLine = ""
	merged.Terminal = p.tty
	merged.Env = slices.Concat(own.Env, p.env)
	if p.cwd != "" {
		merged.Cwd = p.cwd
	}
	if p.label != "" {
		merged.SelinuxLabel = p.label
	}
	if p.apparmor != "" {
		merged.ApparmorProfile = p.apparmor
	}
	if given("no-new-privs") {
		merged.NoNewPrivileges = p.noNewPrivs
	}
	if len(p.capabilities) > 0 {
		merged.Capabilities = addCapabilities(own.Capabilities, p.capabilities)
	}
	if err := p.mergeUser(&merged.User); err != nil {
		return nil, err
	}
	return &merged, nil
}

func (p *processFlags) mergeUser(u *specs.User) error {
	if p.user != "" {
		uid, gid, hasGid := strings.Cut(p.user, ":")
		if err := setID(&u.UID, "--user", uid); err != nil {
			return err
		}
		if hasGid {
			if err := setID(&u.GID, "--user", gid); err != nil {
				return err
			}
		}
	}
	u.AdditionalGids = slices.Clone(u.AdditionalGids)
	for _, text := range p.gids {
		var gid uint32
		if err := setID(&gid, "--additional-gids", text); err != nil {
			return err
		}
		u.AdditionalGids = append(u.AdditionalGids, gid)
	}
	return nil
}

// setID reads a uid or gid. Names are not known here: a runtime does not read the
// image's passwd file to find out who is who (OCI runtime-spec, config.md, user).
func setID(id *uint32, flag, text string) error {
	n, err := strconv.ParseUint(text, 10, 32)
	// The kernel takes the last id for "leave as it is" (setresuid(2)).
	if err != nil || n == 1<<32-1 {
		return fmt.Errorf("%s: bad id %q: want a number", flag, text)
	}
	*id = uint32(n)
	return nil
}

// addCapabilities adds to the sets what runc's exec --cap adds to: the ambient set
// only where there are inheritable capabilities, without which the kernel refuses it
// (capabilities(7)).
func addCapabilities(own *specs.LinuxCapabilities, more []string) *specs.LinuxCapabilities {
	if own == nil {
		own = &specs.LinuxCapabilities{}
	}
	names := make([]string, len(more))
	for i, name := range more {
		names[i] = "CAP_" + strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	}
	sum := specs.LinuxCapabilities{
		Bounding:    slices.Concat(own.Bounding, names),
		Effective:   slices.Concat(own.Effective, names),
		Permitted:   slices.Concat(own.Permitted, names),
		Inheritable: own.Inheritable,
		Ambient:     own.Ambient,
	}
	if own.Inheritable != nil {
		sum.Ambient = slices.Concat(own.Ambient, names)
	}
	return &sum
}

func readProcess(path string) (*specs.Process, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--process: %w", err)
	}
	p := new(specs.Process)
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("--process %s: %w", path, err)
	}
	return p, nil
}

// checkProcess refuses what could not be executed; the rest is for the compiler to judge.
func checkProcess(p *specs.Process) error {
	switch {
	case len(p.Args) == 0:
		return errors.New("process.args is empty")
	case p.Cwd == "":
		return errors.New("process.cwd is empty")
	case !filepath.IsAbs(p.Cwd):
		return fmt.Errorf("process.cwd %s: want an absolute path", p.Cwd)
	}
	return nil
}

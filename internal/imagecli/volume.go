package imagecli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/instance"
)

// volume is one as volume inspect and volume ls --json print it.
type volume struct {
	Name  string   `json:"name"`
	Path  string   `json:"path"`
	Used  int64    `json:"usedBytes"`
	Limit int64    `json:"limitBytes,omitempty"` // absent without one
	Users []string `json:"containers"`           // that are there with it
}

func volumeCommand(s *session) cli.Command {
	return cli.Command{
		Name: "volume", Short: "make, list and remove volumes",
		Long: "A volume is a directory on flash that containers share and that outlasts them.",
		Sub:  []cli.Command{volumeLs(s), volumeCreate(s), volumeInspect(s), volumeRm(s)},
	}
}

func volumeLs(s *session) cli.Command {
	var l listing
	return cli.Command{
		Name: "ls", Short: "list volumes",
		Flags: func(f *cli.Flags) { l.flags(f, "names") },
		Run: func(c *cli.Call) error {
			names, err := s.volumes()
			if err != nil {
				return err
			}
			if l.quiet {
				return l.names(c.Out, names)
			}
			all, err := s.describeVolumes(names)
			if err != nil {
				return err
			}
			if l.json {
				return json.NewEncoder(c.Out).Encode(all)
			}
			w := tabwriter.NewWriter(c.Out, 0, 8, 3, ' ', 0)
			fmt.Fprintln(w, "VOLUME\tUSED\tLIMIT\tCONTAINERS")
			for _, v := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", v.Name, size(v.Used), limitText(v.Limit), strings.Join(v.Users, " "))
			}
			return w.Flush()
		},
	}
}

func volumeCreate(s *session) cli.Command {
	var bytes string
	return cli.Command{
		Name: "create", Args: "NAME", MinArgs: 1, MaxArgs: 1, Short: "make a volume",
		Long: "Make a volume, or change the limit of one that is there. \"tare run -v NAME:PATH\" makes one that lacks, without a limit.",
		Flags: func(f *cli.Flags) {
			f.String(&bytes, "size", "", "at most `SIZE` in it, by the file system's project quotas")
		},
		Run: func(c *cli.Call) error {
			var most int64
			if bytes != "" {
				var err error
				if most, err = instance.ParseSize(bytes); err != nil {
					return fmt.Errorf("--size %w", err)
				}
			}
			path, err := s.makeVolume(c.Args[0])
			if err != nil {
				return fmt.Errorf("volume create: %w", err)
			}
			if most > 0 {
				if err := instance.Limit(path, most); err != nil {
					_ = os.Remove(path) // if it is empty
					return fmt.Errorf("volume create: %w", err)
				}
			}
			fmt.Fprintln(c.Out, c.Args[0])
			return nil
		},
	}
}

func volumeInspect(s *session) cli.Command {
	return cli.Command{
		Name: "inspect", Args: "NAME...", MinArgs: 1, MaxArgs: cli.Many, Short: "print JSON about volumes",
		Flags: func(f *cli.Flags) { f.Bool(new(bool), "json", "", "print JSON, which it does always") },
		Run: func(c *cli.Call) error {
			all, err := s.describeVolumes(c.Args)
			if err != nil {
				return err
			}
			e := json.NewEncoder(c.Out)
			e.SetIndent("", "  ")
			return e.Encode(all)
		},
	}
}

func volumeRm(s *session) cli.Command {
	var force bool
	return cli.Command{
		Name: "rm", Args: "NAME...", MinArgs: 1, MaxArgs: cli.Many, Short: "remove volumes and what is in them",
		Flags: func(f *cli.Flags) { f.Bool(&force, "force", "f", "a volume that is not there is no error") },
		Run: func(c *cli.Call) error {
			swept := errors.Join(s.sweep(), s.sweepVolumes())
			return errors.Join(swept, removeEach(c, force, s.removeVolume))
		},
	}
}

// stored is the volumes, which the engine has, too.
func (s *session) stored() (instance.Volumes, error) {
	root, err := filepath.Abs(s.root)
	return instance.VolumesOf(root, s.run), err
}

// makeVolume makes a volume that lacks, and returns its directory.
func (s *session) makeVolume(name string) (string, error) {
	all, err := s.stored()
	if err != nil {
		return "", err
	}
	v, _, err := all.Create(name, instance.VolumeSpec{})
	if err == nil {
		err = all.Mount(v)
	}
	return v.Path, err
}

// volumes is the names of all, sorted.
func (s *session) volumes() ([]string, error) {
	stored, err := s.stored()
	if err != nil {
		return nil, err
	}
	all, err := stored.List()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, v := range all {
		names = append(names, v.Name)
	}
	return names, nil
}

func (s *session) describeVolumes(names []string) ([]volume, error) {
	all := []volume{}
	for _, name := range names {
		v, err := s.oneVolume(name)
		if err != nil {
			return nil, err
		}
		if v.Used, v.Limit, err = instance.Usage(v.Path); err != nil {
			return nil, err
		}
		if v.Users, err = s.users(v.Path); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func (s *session) oneVolume(name string) (volume, error) {
	all, err := s.stored()
	if err != nil {
		return volume{}, err
	}
	v, err := all.Get(name)
	if errors.Is(err, instance.ErrVolume) {
		err = fmt.Errorf("volume %s: %w", name, fs.ErrNotExist)
	}
	return volume{Name: name, Path: v.Path}, err
}

// users is the containers that have a directory mounted, by their specs.
func (s *session) users(path string) ([]string, error) {
	ids := []string{}
	dir := filepath.Join(s.run, "containers")
	entries, err := entriesOf(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), "config.json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // not yet, or no more
		}
		if err != nil {
			return nil, err
		}
		var spec specs.Spec
		if err := json.Unmarshal(text, &spec); err != nil {
			return nil, fmt.Errorf("container %s: config.json: %w", e.Name(), err)
		}
		for _, m := range spec.Mounts {
			if m.Source == path {
				ids = append(ids, e.Name())
				break
			}
		}
	}
	return ids, nil
}

func (s *session) removeVolume(name string) error {
	v, err := s.oneVolume(name)
	if err != nil {
		return err
	}
	users, err := s.users(v.Path)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return fmt.Errorf("volume %s: in use by container %s", name, users[0])
	}
	all, err := s.stored()
	if err != nil {
		return err
	}
	return all.Remove(name)
}

// sweepVolumes goes on where a removal was killed.
func (s *session) sweepVolumes() error {
	all, err := s.stored()
	if err != nil {
		return err
	}
	return instance.SweepRemoved(all.Dir)
}

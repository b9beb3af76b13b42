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

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/store"
)

// layerLine is a writable layer as store layers --json prints it.
type layerLine struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	Image   string `json:"image"`
	Used    int64  `json:"usedBytes"`
	Limit   int64  `json:"limitBytes,omitempty"` // absent without one
	Running bool   `json:"running"`
}

func layersCommand(s *session) cli.Command {
	var asJSON bool
	return cli.Command{
		Name: "layers", Short: "list what containers have written to flash",
		Flags: func(f *cli.Flags) { f.Bool(&asJSON, "json", "", "print JSON") },
		Run: func(c *cli.Call) error {
			lines, err := s.layers()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.Out).Encode(lines)
			}
			w := tabwriter.NewWriter(c.Out, 0, 8, 3, ' ', 0)
			fmt.Fprintln(w, "CONTAINER\tIMAGE\tUSED\tLIMIT")
			for _, l := range lines {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.Name, l.Image[7:19], size(l.Used), limitText(l.Limit))
			}
			return w.Flush()
		},
	}
}

func limitText(n int64) string {
	if n == 0 {
		return "none"
	}
	return size(n)
}

func (s *session) layers() ([]layerLine, error) {
	lines := []layerLine{}
	dirs, err := s.layersDir()
	if err != nil {
		return nil, err
	}
	entries, err := entriesOf(dirs)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), instance.RemovedPrefix) {
			continue
		}
		l := layerLine{Name: strings.TrimPrefix(e.Name(), oncePrefix), Path: filepath.Join(dirs, e.Name())}
		of, err := os.ReadFile(filepath.Join(l.Path, store.HolderImage))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if l.Image = strings.TrimSpace(string(of)); len(l.Image) < 19 {
			return nil, fmt.Errorf("layer %s: %s: %q is no digest", l.Path, store.HolderImage, l.Image)
		}
		if strings.HasPrefix(e.Name(), atPrefix) {
			if l.Path, err = filepath.EvalSymlinks(l.Path); err != nil {
				return nil, err
			}
			l.Name = l.Path
		}
		if l.Used, l.Limit, err = instance.Usage(l.Path); err != nil {
			return nil, err
		}
		l.Running = s.runs(l.Name)
		lines = append(lines, l)
	}
	return lines, nil
}

const rmLong = `Remove what containers of these names have written to flash ("tare run --write flash --name NAME").
Their images can then be removed, too.`

func rmCommand(s *session) cli.Command {
	var force bool
	return cli.Command{
		Name: "rm", Args: "NAME...", MinArgs: 1, MaxArgs: cli.Many,
		Short: "remove what containers have written to flash", Long: rmLong,
		Flags: func(f *cli.Flags) { f.Bool(&force, "force", "f", "a name that is not there is no error") },
		Run: func(c *cli.Call) error {
			swept := errors.Join(s.sweep(), s.sweepLayers())
			return errors.Join(swept, removeEach(c, force, s.rm))
		},
	}
}

// removeEach removes what the arguments name, and prints the names of what is gone. By force what is not there is
// no error.
func removeEach(c *cli.Call, force bool, remove func(name string) error) error {
	var errs []error
	for _, name := range c.Args {
		err := remove(name)
		if err == nil {
			fmt.Fprintln(c.Out, name)
		}
		if force && errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *session) rm(name string) error {
	dirs, err := s.layersDir()
	if err != nil {
		return err
	}
	if err := instance.CheckName(name); err != nil {
		return fmt.Errorf("rm %w", err)
	}
	at := filepath.Join(dirs, name)
	own, err := instance.Lock(at)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rm %s: %w: no container of that name has written to flash", name, fs.ErrNotExist)
	}
	if errors.Is(err, unix.EWOULDBLOCK) || err == nil && s.runs(name) {
		if own != nil {
			own.Close()
		}
		return fmt.Errorf("rm %s: the container runs", name)
	}
	if err != nil {
		return fmt.Errorf("rm %s: %w", name, err)
	}
	return (&upperLayer{at, own}).remove()
}

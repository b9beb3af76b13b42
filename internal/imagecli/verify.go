package imagecli

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/console"
	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/store"
)

const verifyLong = `Read images from flash and compare their digests. The exit status is 1 when anything is damaged.
With --budget only so many bytes are read, and the next call goes on where this one ended, so that a
device can check itself a little every day.`

func verifyCommand(s *session) cli.Command {
	var asJSON bool
	var budget string
	return cli.Command{
		Name: "verify", Short: "compare all files with their digests", Long: verifyLong,
		Flags: func(f *cli.Flags) {
			f.String(&budget, "budget", "", "read at most `SIZE` bytes of files")
			f.Bool(&asJSON, "json", "", "print JSON")
		},
		Run: s.onStore(func(c *cli.Call, st *store.Store) error {
			report, err := s.verify(c, st, budget)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(c.Out).Encode(report)
			} else {
				printReport(c.Out, report)
			}
			if err == nil && len(report.Damaged) > 0 {
				return &cli.Exit{Status: 1}
			}
			return err
		}),
	}
}

func (s *session) verify(c *cli.Call, st *store.Store, budget string) (store.Report, error) {
	ctx, cancel := interruptible()
	defer cancel()
	var o store.VerifyOptions
	if budget != "" {
		var err error
		if o.Budget, err = instance.ParseSize(budget); err != nil {
			return store.Report{}, fmt.Errorf("--budget %w", err)
		}
		o.From = s.cursor()
	}
	if f, ok := c.Err.(*os.File); ok && console.Is(f) {
		o.Progress = func(done, total int64) { fmt.Fprintf(f, "\r\x1b[K%s of %s", size(done), size(total)) }
		defer fmt.Fprint(f, "\r\x1b[K")
	}
	report, err := st.Verify(ctx, o)
	if err == nil && budget != "" {
		s.setCursor(report.Next)
	}
	return report, err
}

// The cursor is where a verify with a budget ended. It is in memory: after a boot the next one begins
// anywhere, which in time comes to everything just as well.
func (s *session) cursor() *object.Digest {
	text, err := os.ReadFile(filepath.Join(s.run, "verify"))
	if err != nil {
		return nil
	}
	d, err := object.Parse(strings.TrimSpace(string(text)))
	if err != nil {
		return nil
	}
	return &d
}

func (s *session) setCursor(d object.Digest) {
	if os.MkdirAll(s.run, 0o711) == nil {
		_ = os.WriteFile(filepath.Join(s.run, "verify"), []byte(hex.EncodeToString(d[:])+"\n"), 0o600)
	}
}

func printReport(w io.Writer, r store.Report) {
	for _, d := range r.Damaged {
		if d.Name == "" {
			fmt.Fprintf(w, "damaged: %s\n", d.Cause)
			continue
		}
		if d.Pack {
			fmt.Fprintf(w, "damaged: pack %s of small files\n", d.Name[:12])
		} else {
			fmt.Fprintf(w, "damaged: object %s, %s: %s\n", d.Name[:12], size(d.Size), d.Cause)
		}
		for _, u := range d.Uses {
			name := u.Image.Encoded()[:12]
			if len(u.Names) > 0 {
				name = familiar(u.Names[0])
			}
			if d.Pack {
				fmt.Fprintf(w, "  in %s\n", name)
				continue
			}
			fmt.Fprintf(w, "  in %s: /%s\n", name, strings.TrimPrefix(u.Path, "/"))
		}
	}
	fmt.Fprintf(w, "checked %d objects, %s: ", r.Objects, size(r.Bytes))
	if len(r.Damaged) == 0 {
		fmt.Fprintln(w, "all good")
		return
	}
	fmt.Fprintf(w, "%d damaged; \"tare store repair\" fetches them again\n", len(r.Damaged))
}

var errStillDamaged = errors.New("some damage is left: give --from DIR or --source IMAGE that has the files")

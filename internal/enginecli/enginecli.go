// Package enginecli is the command line of the engine: the daemon, and the verbs that talk to it.
//
// Every verb is a request, or a few, over the engine's socket in the words of the Docker Engine API; no
// verb but the daemon touches what the engine owns. What the person typed is the name of the thing in
// every answer and every error.
package enginecli

import (
	"context"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
)

// Options say what the program is, and what it can do without an engine.
type Options struct {
	// Dirs are the program's two folders, by its flags.
	Dirs func() (root, run string)
	// Local are the verbs that work without an engine. Those of the same name as one of ours are used
	// when no engine answers.
	Local []cli.Command
}

// session is what the verbs have in common.
type session struct{ Options }

// Commands returns the local verbs and those of the engine.
func Commands(o Options) []cli.Command {
	s := &session{o}
	ours := []cli.Command{
		runCommand(s), execCommand(s), psCommand(s), logsCommand(s), topCommand(s), statsCommand(s),
		startCommand(s), stopCommand(s), restartCommand(s), killCommand(s), rmCommand(s),
		pauseCommand(s), unpauseCommand(s), waitCommand(s), attachCommand(s), cpCommand(s), diffCommand(s),
		inspectCommand(s), portCommand(s), renameCommand(s), updateCommand(s), whyCommand(s), flashCommand(s),
		eventsCommand(s), infoCommand(s), networkCommand(s), volumeCommand(s), linksCommand(s),
	}
	for i := range ours {
		if strings.HasPrefix(ours[i].Args, "CONTAINER") || strings.HasPrefix(ours[i].Args, "[CONTAINER") {
			ours[i].Candidates = s.containers
		}
	}
	return merge(ours, o.Local)
}

// containers are the names of all containers, for completion; none when the engine does not answer at once.
func (s *session) containers() []string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var list []container.Summary
	if err := s.client().get(ctx, "/containers/json", url.Values{"all": {"1"}}, &list); err != nil {
		return nil
	}
	var all []string
	for i := range list {
		all = append(all, nameOf(list[i].Names))
	}
	return all
}

// merge puts the local verbs behind ours, but for those that ours stand in front of.
func merge(ours, local []cli.Command) []cli.Command {
	taken := map[string]bool{}
	for _, c := range ours {
		taken[c.Name] = true
	}
	for _, c := range local {
		if !taken[c.Name] {
			ours = append(ours, c)
		}
	}
	return ours
}

// local is the verb that works without an engine.
func (s *session) local(name string) *cli.Command {
	for i := range s.Local {
		if s.Local[i].Name == name {
			return &s.Local[i]
		}
	}
	return nil
}

// socket is where the engine listens.
func (s *session) socket() string {
	_, run := s.Dirs()
	return filepath.Join(run, "tare.sock")
}

func (s *session) client() *client { return newClient(s.socket()) }

// interruptible ends the context on the first SIGINT or SIGTERM.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
}

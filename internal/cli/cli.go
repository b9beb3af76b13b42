// Package cli runs a table of commands over the standard flag package.
//
// A command gets its streams handed in and answers with an error; nothing here
// exits the process, and no state outlives a call of Main.
// What the commands do is left to the packages that fill the table.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Many as MaxArgs means that any number of arguments is welcome.
const Many = -1

// Exit statuses of Main besides those a command asks for with Exit.
const (
	StatusOK    = 0
	StatusError = 1 // the command ran and answered with an error
	StatusUsage = 2 // the command line could not be understood
)

// IO is where a command reads and writes.
type IO struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Command is one verb, or a group of verbs when Sub is not empty.
// The zero value of every field but Name works.
type Command struct {
	Name   string
	Args   string // the arguments in the usage line: "ID [SIGNAL]"
	Short  string // one line for the list of commands
	Long   string // what --help prints below the usage line
	Hidden bool   // left out of lists and completion

	MinArgs, MaxArgs int // bounds on the number of arguments; MaxArgs may be Many

	// StopAtArg ends the flags at the first argument, for commands whose
	// further arguments are another program's command line.
	StopAtArg bool

	// Flags declares the flags. It is called only when the command is named.
	Flags func(*Flags)

	// Run does the work. In a group it runs when no verb follows.
	Run func(*Call) error

	// Candidates are what an argument may be. It is called for completion alone.
	Candidates func() []string

	// Report shows the error of this command, or of any command below it that
	// has no Report of its own, to the person or program that called. Nil: the
	// program's name and the error as one line on IO.Err.
	Report func(IO, error)

	Sub []Command
}

// Call is what Run gets: the streams and the parsed command line.
type Call struct {
	IO
	Path  string   // the words that led here: "tare runtime kill"
	Args  []string // what is not a flag
	Raw   []string // all that stood behind the words that led here
	flags *Flags
}

// Given says whether the flag was on the command line.
func (c *Call) Given(name string) bool { return c.flags.given[name] }

// ErrHelp from Run makes Main print the command's help.
var ErrHelp = flag.ErrHelp

// Exit is an error that asks for a status of its own. Nothing is reported when Err is nil.
type Exit struct {
	Status int
	Err    error
}

func (e *Exit) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

func (e *Exit) Unwrap() error { return e.Err }

// UsageError is an error in the command line itself; Main answers StatusUsage to it.
type UsageError struct {
	Path    string // the command that was called: "tare runtime kill"
	Problem string
}

func (e *UsageError) Error() string {
	return e.Problem + " (see " + e.Path + " --help)"
}

// Usagef makes a UsageError for the command being run.
func (c *Call) Usagef(format string, args ...any) error {
	return &UsageError{c.Path, fmt.Sprintf(format, args...)}
}

// Main runs the command that args (without the program's name) ask for and
// returns the exit status: 0, 1 or 2, or what a command chose with Exit.
func Main(root *Command, std IO, args []string) int {
	if len(args) > 0 && args[0] == "__complete" {
		complete(root, std.Out, args[1:])
		return StatusOK
	}
	report := func(std IO, err error) { fmt.Fprintf(std.Err, "%s: %v\n", root.Name, err) }
	err := dispatch(root, std, root.Name, args, &report)
	if err == nil {
		return StatusOK
	}
	if e, ok := errors.AsType[*Exit](err); ok {
		if e.Err != nil {
			report(std, e.Err)
		}
		return e.Status
	}
	report(std, err)
	if _, ok := errors.AsType[*UsageError](err); ok {
		return StatusUsage
	}
	return StatusError
}

// Run runs a command in the place of another, with what stood behind that one's name.
func Run(cmd *Command, std IO, path string, args []string) error {
	report := func(IO, error) {} // the caller's does it
	return dispatch(cmd, std, path, args, &report)
}

func dispatch(cmd *Command, std IO, path string, args []string, report *func(IO, error)) error {
	if cmd.Report != nil {
		*report = cmd.Report
	}
	flags := newFlags(cmd)
	rest, err := flags.parse(args, cmd.StopAtArg || len(cmd.Sub) > 0)
	if errors.Is(err, flag.ErrHelp) {
		help(std.Out, cmd, path)
		return nil
	}
	if err != nil {
		return &UsageError{path, err.Error()}
	}
	if len(cmd.Sub) > 0 && len(rest) > 0 {
		return descend(cmd, std, path, rest, report)
	}
	if cmd.Run == nil {
		help(std.Out, cmd, path)
		return nil
	}
	if problem := countArgs(cmd, len(rest)); problem != "" {
		return &UsageError{path, problem}
	}
	err = cmd.Run(&Call{IO: std, Path: path, Args: rest, Raw: args, flags: flags})
	if errors.Is(err, ErrHelp) {
		help(std.Out, cmd, path)
		return nil
	}
	return err
}

func descend(cmd *Command, std IO, path string, args []string, report *func(IO, error)) error {
	if args[0] == "help" {
		target, targetPath := find(cmd, path, args[1:])
		help(std.Out, target, targetPath)
		return nil
	}
	if sub := lookup(cmd, args[0]); sub != nil {
		return dispatch(sub, std, path+" "+sub.Name, args[1:], report)
	}
	problem := fmt.Sprintf("unknown command %q", args[0])
	if near := nearest(args[0], names(cmd)); near != "" {
		problem += fmt.Sprintf(", did you mean %q?", near)
	}
	return &UsageError{path, problem}
}

func countArgs(cmd *Command, n int) string {
	switch {
	case n < cmd.MinArgs:
		return fmt.Sprintf("missing argument: want %s", cmd.Args)
	case cmd.MaxArgs != Many && n > cmd.MaxArgs && cmd.MaxArgs == 0:
		return "takes no arguments"
	case cmd.MaxArgs != Many && n > cmd.MaxArgs:
		return fmt.Sprintf("too many arguments: want %s", cmd.Args)
	}
	return ""
}

func lookup(cmd *Command, name string) *Command {
	for i := range cmd.Sub {
		if cmd.Sub[i].Name == name {
			return &cmd.Sub[i]
		}
	}
	return nil
}

// find follows words as far as they name commands.
func find(cmd *Command, path string, words []string) (*Command, string) {
	for _, w := range words {
		sub := lookup(cmd, w)
		if sub == nil {
			break
		}
		cmd, path = sub, path+" "+w
	}
	return cmd, path
}

func names(cmd *Command) []string {
	var all []string
	for i := range cmd.Sub {
		if !cmd.Sub[i].Hidden {
			all = append(all, cmd.Sub[i].Name)
		}
	}
	return all
}

func help(w io.Writer, cmd *Command, path string) {
	line := "usage: " + path
	flags := newFlags(cmd)
	if flags.any() {
		line += " [flags]"
	}
	if len(cmd.Sub) > 0 {
		line += " COMMAND"
	}
	if cmd.Args != "" {
		line += " " + cmd.Args
	}
	fmt.Fprintln(w, line)
	if text := cmd.Long; text != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(text))
	} else if cmd.Short != "" {
		fmt.Fprintf(w, "\n%s\n", cmd.Short)
	}
	if len(cmd.Sub) > 0 {
		fmt.Fprint(w, "\ncommands:\n")
		for i := range cmd.Sub {
			if sub := &cmd.Sub[i]; !sub.Hidden {
				fmt.Fprintf(w, "  %-12s %s\n", sub.Name, sub.Short)
			}
		}
	}
	if flags.any() {
		fmt.Fprint(w, "\nflags:\n")
		flags.describe(w)
	}
}

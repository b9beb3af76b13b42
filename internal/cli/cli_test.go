package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// call is what the test command saw.
type call struct {
	root    string
	force   bool
	env     []string
	n       int
	args    []string
	path    string
	gaveEnv bool
}

func table(seen *call) *Command {
	return &Command{
		Name: "tool", Short: "a tool",
		Flags: func(f *Flags) { f.String(&seen.root, "root", "", "`DIR` of state") },
		Sub: []Command{
			{
				Name: "kill", Args: "ID [SIGNAL]", Short: "send a signal", MinArgs: 1, MaxArgs: 2,
				Flags: func(f *Flags) {
					f.Bool(&seen.force, "force", "f", "be rude")
					f.Strings(&seen.env, "env", "e", "a `VAR`")
					f.Int(&seen.n, "number", "n", "a number")
					f.String(new(string), "secret", "", "")
				},
				Run: func(c *Call) error {
					seen.args, seen.path, seen.gaveEnv = c.Args, c.Path, c.Given("env")
					return nil
				},
			},
			{
				Name: "exec", Args: "ID CMD...", MinArgs: 2, MaxArgs: Many, StopAtArg: true,
				Flags: func(f *Flags) { f.Bool(&seen.force, "tty", "t", "terminal") },
				Run:   func(c *Call) error { seen.args = c.Args; return nil },
			},
			{Name: "fail", Run: func(*Call) error { return errors.New("kill web: gone") }},
			{Name: "code", Run: func(*Call) error { return &Exit{Status: 42} }},
			{Name: "both", Run: func(*Call) error { return fmt.Errorf("x: %w", &Exit{255, errors.New("exec failed")}) }},
			{Name: "list", Run: func(c *Call) error { fmt.Fprintln(c.Out, "nothing"); return nil }},
			{Name: "internal", Hidden: true, Run: func(*Call) error { return nil }},
		},
	}
}

func run(args ...string) (seen call, status int, out, errs string) {
	var o, e strings.Builder
	status = Main(table(&seen), IO{Out: &o, Err: &e}, args)
	return seen, status, o.String(), e.String()
}

func TestFlagsInEveryForm(t *testing.T) {
	for _, tc := range []struct {
		line string
		want call
	}{
		{"--root /r kill web", call{root: "/r", args: []string{"web"}}},
		{"--root=/r kill web", call{root: "/r", args: []string{"web"}}},
		{"-root=/r kill web", call{root: "/r", args: []string{"web"}}},
		{"kill -f web 9", call{force: true, args: []string{"web", "9"}}},
		{"kill web 9 --force", call{force: true, args: []string{"web", "9"}}},
		{"kill web --force=false", call{args: []string{"web"}}},
		{"kill -e A=1 web --env B=2 -e=C=3", call{env: []string{"A=1", "B=2", "C=3"}, args: []string{"web"}, gaveEnv: true}},
		{"kill -eA=1 web", call{env: []string{"A=1"}, args: []string{"web"}, gaveEnv: true}},
		{"kill -fn 3 web", call{force: true, n: 3, args: []string{"web"}}},
		{"kill -fn3 web", call{force: true, n: 3, args: []string{"web"}}},
		{"kill --number -1 web", call{n: -1, args: []string{"web"}}},
		{"kill -- -f", call{args: []string{"-f"}}},
		{"kill web -- -f", call{args: []string{"web", "-f"}}},
		{"kill --env -- web", call{env: []string{"--"}, args: []string{"web"}, gaveEnv: true}},
		{"kill web -", call{args: []string{"web", "-"}}},
		{"exec -t web ls -l --tty=no", call{force: true, args: []string{"web", "ls", "-l", "--tty=no"}}},
		{"exec web -- ls", call{args: []string{"web", "--", "ls"}}},
	} {
		got, status, _, errs := run(strings.Fields(tc.line)...)
		if status != 0 || errs != "" {
			t.Errorf("%s: status %d, stderr %q", tc.line, status, errs)
		}
		got.path = ""
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: got %+v, want %+v", tc.line, got, tc.want)
		}
	}
}

func TestBadCommandLinesExitTwo(t *testing.T) {
	for line, want := range map[string]string{
		"kil web":                `tool: unknown command "kil", did you mean "kill"? (see tool --help)`,
		"klil web":               `did you mean "kill"?`,
		"frobnicate":             `tool: unknown command "frobnicate" (see tool --help)`,
		"internall":              `unknown command "internall" (see`,
		"kill":                   "tool: missing argument: want ID [SIGNAL] (see tool kill --help)",
		"kill a b c":             "too many arguments: want ID [SIGNAL]",
		"list a":                 "takes no arguments",
		"kill --forse a":         "unknown flag --forse, did you mean --force?",
		"kill -x a":              "unknown flag -x (see",
		"kill -fx a":             "unknown flag -fx",
		"kill --zzz=3 a":         "unknown flag --zzz (see",
		"kill a --env":           "flag --env needs a value",
		"kill --number four a":   `flag --number: bad value "four"`,
		"kill --force=perhaps a": `flag --force: bad value "perhaps"`,
	} {
		_, status, out, errs := run(strings.Fields(line)...)
		if status != StatusUsage || !strings.Contains(errs, want) || out != "" {
			t.Errorf("%s: status %d, stdout %q, stderr %q, want status 2 and %q", line, status, out, errs, want)
		}
	}
}

func TestStatusFollowsTheError(t *testing.T) {
	for verb, want := range map[string]struct {
		status int
		errs   string
	}{
		"fail": {1, "tool: kill web: gone\n"},
		"code": {42, ""},
		"both": {255, "tool: exec failed\n"},
		"list": {0, ""},
	} {
		if _, status, _, errs := run(verb); status != want.status || errs != want.errs {
			t.Errorf("%s: got %d %q, want %d %q", verb, status, errs, want.status, want.errs)
		}
	}
}

func TestReportBelongsToTheNearestGroup(t *testing.T) {
	var seen call
	cmd := table(&seen)
	cmd.Sub = append(cmd.Sub, Command{
		Name:   "runtime",
		Report: func(std IO, err error) { fmt.Fprintf(std.Err, "level=error msg=%q\n", err) },
		Sub:    []Command{{Name: "fail", Run: func(*Call) error { return errors.New("boom") }}},
	})
	for line, want := range map[string]string{
		"fail":         "tool: kill web: gone\n",
		"runtime fail": "level=error msg=\"boom\"\n",
		"runtime oops": "level=error msg=\"unknown command \\\"oops\\\" (see tool runtime --help)\"\n",
	} {
		var o, e strings.Builder
		Main(cmd, IO{Out: &o, Err: &e}, strings.Fields(line))
		if e.String() != want {
			t.Errorf("%s: got %q, want %q", line, e.String(), want)
		}
	}
}

func TestHelpListsCommandsAndFlags(t *testing.T) {
	for line, want := range map[string][]string{
		"":            {"usage: tool [flags] COMMAND\n", "kill         send a signal", "--root DIR"},
		"--help":      {"usage: tool [flags] COMMAND\n"},
		"help":        {"usage: tool [flags] COMMAND\n"},
		"help kill":   {"usage: tool kill [flags] ID [SIGNAL]\n"},
		"kill --help": {"usage: tool kill [flags] ID [SIGNAL]\n", "-f, --force", "-e, --env VAR"},
		"kill -h":     {"usage: tool kill"},
	} {
		_, status, out, _ := run(strings.Fields(line)...)
		for _, w := range want {
			if status != 0 || !strings.Contains(out, w) {
				t.Errorf("%q: status %d, got\n%s\nwant %q", line, status, out, w)
			}
		}
		if strings.Contains(out, "secret") || strings.Contains(out, "internal") {
			t.Errorf("%q shows hidden things:\n%s", line, out)
		}
	}
}

func TestComplete(t *testing.T) {
	for line, want := range map[string]string{
		"":                 "kill exec fail code both list",
		"k":                "kill",
		"--":               "--root",
		"--root kill k":    "kill", // kill is the value of --root here
		"--root=kill k":    "kill",
		"kill --f":         "--force",
		"kill -e x web --": "--env --force --number",
	} {
		words := strings.Fields(line)
		if line == "" {
			words = []string{""}
		}
		_, status, out, _ := run(append([]string{"__complete"}, words...)...)
		if got := strings.Fields(out); status != 0 || !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("complete %q = %q, want %q", line, got, want)
		}
	}
}

func TestCompletionKnowsWhatArgumentsMayBe(t *testing.T) {
	root := Command{Name: "tool", Sub: []Command{
		{Name: "stop", Candidates: func() []string { return []string{"web", "worker", "db"} }},
		Completion("tool"),
	}}
	for line, want := range map[string]string{"stop w": "web\nworker\n", "stop web d": "db\n", "s": "stop\n", "completion bash": "complete -o default -F _tool tool\n"} {
		var o strings.Builder
		args := strings.Fields(line)
		if args[0] != "completion" {
			args = append([]string{"__complete"}, args...)
		}
		if status := Main(&root, IO{Out: &o}, args); status != 0 || !strings.HasSuffix(o.String(), want) {
			t.Errorf("%s: %d %q, want %q", line, status, o.String(), want)
		}
	}
}

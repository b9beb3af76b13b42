package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// Flags declares a command's flags. Each has a long name and may have a
// one-letter short one ("" for none). The usage text may name the value in back
// quotes, as in package flag; a flag without usage text is accepted but not shown.
type Flags struct {
	set   *flag.FlagSet
	long  map[string]string // short name -> long name
	short map[string]string // long name -> short name
	given map[string]bool   // long names seen on the command line
}

func newFlags(cmd *Command) *Flags {
	f := &Flags{
		set:   flag.NewFlagSet(cmd.Name, flag.ContinueOnError),
		long:  map[string]string{},
		short: map[string]string{},
		given: map[string]bool{},
	}
	if cmd.Flags != nil {
		cmd.Flags(f)
	}
	return f
}

// Bool declares a flag that needs no value; --name=false takes it back.
func (f *Flags) Bool(p *bool, name, short, usage string) {
	f.set.BoolVar(p, name, *p, usage)
	f.alias(name, short)
}

// String declares a flag with a text value. The value of *p now is the default.
func (f *Flags) String(p *string, name, short, usage string) {
	f.set.StringVar(p, name, *p, usage)
	f.alias(name, short)
}

// Int declares a flag with a whole number. The value of *p now is the default.
func (f *Flags) Int(p *int, name, short, usage string) {
	f.set.IntVar(p, name, *p, usage)
	f.alias(name, short)
}

// Duration declares a flag with a time like 5s. The value of *p now is the default.
func (f *Flags) Duration(p *time.Duration, name, short, usage string) {
	f.set.DurationVar(p, name, *p, usage)
	f.alias(name, short)
}

// Strings declares a flag that may be repeated; the values are kept in order.
func (f *Flags) Strings(p *[]string, name, short, usage string) {
	f.Func(func(v string) error { *p = append(*p, v); return nil }, name, short, usage)
}

// Func declares a flag whose every value is handed to set.
func (f *Flags) Func(set func(string) error, name, short, usage string) {
	f.set.Func(name, usage, set)
	f.alias(name, short)
}

func (f *Flags) alias(name, short string) {
	if short != "" {
		f.long[short] = name
		f.short[name] = short
	}
}

// parse sets the flags in args and returns the arguments. Flags and arguments
// may be mixed unless stop is set; "--" ends the flags either way.
func (f *Flags) parse(args []string, stop bool) (rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--":
			return append(rest, args[1:]...), nil
		case len(arg) < 2 || arg[0] != '-': // "-" alone is a file name
			if stop {
				return args, nil
			}
			rest = append(rest, arg)
			args = args[1:]
		default:
			if args, err = f.option(arg, args[1:]); err != nil {
				return nil, err
			}
		}
	}
	return rest, nil
}

// option sets the flag that arg names, taking its value from next when arg has
// none, and returns what is left of next.
func (f *Flags) option(arg string, next []string) ([]string, error) {
	name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	fl := f.lookup(name)
	if fl == nil && !strings.HasPrefix(arg, "--") && len(name) > 1 {
		return f.cluster(arg[1:], next)
	}
	switch {
	case fl == nil && (name == "help" || name == "h"):
		return nil, flag.ErrHelp
	case fl == nil:
		return nil, f.unknown(arg, name)
	case hasValue:
	case isBool(fl):
		value = "true"
	case len(next) == 0:
		return nil, fmt.Errorf("flag --%s needs a value", fl.Name)
	default:
		value, next = next[0], next[1:]
	}
	if err := fl.Value.Set(value); err != nil {
		return nil, fmt.Errorf("flag --%s: bad value %q: %w", fl.Name, value, plain(err))
	}
	f.given[fl.Name] = true
	return next, nil
}

// cluster reads "-dtx" as -d -t -x. The first letter that needs a value takes
// the letters after it, or the next word: "-eTERM=vt100".
func (f *Flags) cluster(letters string, next []string) ([]string, error) {
	for i := range len(letters) {
		name := letters[i : i+1]
		fl := f.lookup(name)
		if fl == nil || f.short[fl.Name] != name {
			return nil, f.unknown("-"+letters, letters)
		}
		if rest := letters[i+1:]; !isBool(fl) && rest != "" {
			return f.option("-"+name+"="+strings.TrimPrefix(rest, "="), next)
		}
		var err error
		if next, err = f.option("-"+name, next); err != nil {
			return nil, err
		}
	}
	return next, nil
}

func (f *Flags) unknown(arg, name string) error {
	arg, _, _ = strings.Cut(arg, "=")
	if near := nearest(name, f.names()); near != "" {
		return fmt.Errorf("unknown flag %s, did you mean --%s?", arg, near)
	}
	return fmt.Errorf("unknown flag %s", arg)
}

func (f *Flags) lookup(name string) *flag.Flag {
	if long, ok := f.long[name]; ok {
		name = long
	}
	return f.set.Lookup(name)
}

// names lists the flags that are shown, in the order of the alphabet.
func (f *Flags) names() []string {
	var all []string
	f.set.VisitAll(func(fl *flag.Flag) {
		if fl.Usage != "" {
			all = append(all, fl.Name)
		}
	})
	return all
}

func (f *Flags) any() bool { return len(f.names()) > 0 }

func (f *Flags) describe(w io.Writer) {
	for _, name := range f.names() {
		fl := f.set.Lookup(name)
		value, usage := flag.UnquoteUsage(fl)
		left := "    --" + name
		if s := f.short[name]; s != "" {
			left = "-" + s + ", --" + name
		}
		if value != "" && !isBool(fl) {
			left += " " + value
		}
		if fl.DefValue != "" && fl.DefValue != "false" && fl.DefValue != "0" {
			usage += " (default " + fl.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-30s %s\n", left, usage)
	}
}

func isBool(fl *flag.Flag) bool {
	b, ok := fl.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// plain drops the words package strconv puts around its causes.
func plain(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

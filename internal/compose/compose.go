// Package compose tells what Tare makes of a Compose file, key by key, before it meets a device. The file is read by
// compose-go, the reference implementation's own loader: interpolation, merging, profiles, extends and the schema
// are its.
//
// It is for the workstation: docker compose, or docker-compose, brings the project to the engine, which speaks
// Docker's API. What these two clients do with a key is known, and so is what the engine does with what they ask for.
package compose

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
)

// A Verdict is what becomes of a key.
type Verdict string

// Verdicts.
const (
	Runs    Verdict = "runs"
	Ignored Verdict = "ignored" // and the rest works without it
	Refused Verdict = "refused" // the project will not come up
)

// A Finding is what becomes of one key of a file.
type Finding struct {
	Key     string  `json:"key"` // as "services.web.ports"
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`
}

// Check loads a project from files, as docker compose would with them, and judges each key. An error is a file that
// no Compose program would take.
func Check(ctx context.Context, files []string) ([]Finding, error) {
	o, err := cli.NewProjectOptions(files, cli.WithOsEnv, cli.WithDotEnv, cli.WithInterpolation(true), cli.WithDefaultProfiles())
	if err != nil {
		return nil, fmt.Errorf("compose %s: %w", strings.Join(files, ", "), err)
	}
	model, err := o.LoadModel(ctx)
	if err != nil {
		return nil, fmt.Errorf("compose %s: %w", strings.Join(files, ", "), err)
	}
	c := checker{rules: rules()}
	c.walk("", "", model)
	slices.SortFunc(c.found, func(a, b Finding) int { return strings.Compare(a.Key, b.Key) })
	return c.found, nil
}

type checker struct {
	rules map[string]rule
	found []Finding
}

// walk judges a part of the model. at is its key, pattern the same with * for what people name themselves.
func (c *checker) walk(at, pattern string, part any) {
	r, known := c.rules[pattern]
	if known && !r.deeper {
		c.judge(at, r, part)
		return
	}
	switch part := part.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(part)) {
			c.walk(join(at, key), c.below(pattern, key), part[key])
		}
	default:
		if !known && pattern != "" {
			c.found = append(c.found, Finding{at, Refused, "no rule is known for it: ask for one"})
		}
	}
}

// below is the pattern of a key below another.
func (c *checker) below(pattern, key string) string {
	if strings.HasPrefix(key, "x-") {
		return "x-"
	}
	named := join(pattern, "*")
	for p := range c.rules {
		if p == named || strings.HasPrefix(p, named+".") {
			return named
		}
	}
	return join(pattern, key)
}

func (c *checker) judge(at string, r rule, part any) {
	v, why := r.verdict, r.why
	if r.value != nil {
		if v2, why2 := r.value(part); v2 != "" {
			v, why = v2, why2
		}
	}
	if isEmpty(part) && v != Runs {
		return // the loader adds keys with nothing in them
	}
	c.found = append(c.found, Finding{at, v, why})
}

func isEmpty(part any) bool {
	switch part := part.(type) {
	case nil:
		return true
	case map[string]any:
		return len(part) == 0
	case []any:
		return len(part) == 0
	case string:
		return part == ""
	case bool:
		return !part
	}
	return false
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "." + b
}

// Worst is the verdict on the whole.
func Worst(all []Finding) Verdict {
	worst := Runs
	for _, f := range all {
		switch {
		case f.Verdict == Refused:
			return Refused
		case f.Verdict == Ignored:
			worst = Ignored
		}
	}
	return worst
}

// number reads a count, which files have as text, too.
func number(part any) (int, bool) {
	n, err := strconv.Atoi(fmt.Sprint(part))
	return n, err == nil
}

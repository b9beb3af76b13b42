package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Change applies one instruction, as a Dockerfile has it, to a config: what docker import --change
// takes, without those that run a command.
func Change(c *v1.ImageConfig, line string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if k := strings.IndexByte(word, '='); k >= 0 { // podman's CMD=…
		word, rest = word[:k], strings.TrimSpace(line)[k+1:]
	}
	if err := instruction(c, strings.ToUpper(word), strings.TrimSpace(rest)); err != nil {
		return fmt.Errorf("change %q: %w", line, err)
	}
	return nil
}

func instruction(c *v1.ImageConfig, word, rest string) error {
	if rest == "" {
		return errors.New("want an instruction and its value, as CMD or ENV have it")
	}
	switch word {
	case "CMD":
		c.Cmd = commandLine(rest)
	case "ENTRYPOINT":
		c.Entrypoint = commandLine(rest)
	case "USER":
		c.User = rest
	case "WORKDIR":
		c.WorkingDir = rest
	case "STOPSIGNAL":
		c.StopSignal = rest
	case "EXPOSE":
		c.ExposedPorts = members(c.ExposedPorts, ports(strings.Fields(rest)))
	case "VOLUME":
		c.Volumes = members(c.Volumes, several(rest))
	case "ENV":
		return pairs(rest, func(key, value string) { c.Env = setenv(c.Env, key, value) })
	case "LABEL":
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		return pairs(rest, func(key, value string) { c.Labels[key] = value })
	default:
		return fmt.Errorf("%s is not one of CMD ENTRYPOINT ENV EXPOSE LABEL STOPSIGNAL USER VOLUME WORKDIR", word)
	}
	return nil
}

// commandLine is a command line: a JSON list, or text for the shell.
func commandLine(s string) []string {
	var all []string
	if json.Unmarshal([]byte(s), &all) == nil {
		return all
	}
	return []string{"/bin/sh", "-c", s}
}

// several is several values: a JSON list, or words.
func several(s string) []string {
	var all []string
	if json.Unmarshal([]byte(s), &all) == nil {
		return all
	}
	return strings.Fields(s)
}

func ports(all []string) []string {
	for n, p := range all {
		if !strings.Contains(p, "/") {
			all[n] += "/tcp"
		}
	}
	return all
}

func members(set map[string]struct{}, more []string) map[string]struct{} {
	if set == nil {
		set = map[string]struct{}{}
	}
	for _, m := range more {
		set[m] = struct{}{}
	}
	return set
}

// pairs reads KEY=VALUE…, whose values may be quoted, or the old KEY VALUE.
func pairs(s string, set func(key, value string)) error {
	key, value, _ := strings.Cut(s, " ")
	if !strings.Contains(key, "=") {
		if value == "" {
			return fmt.Errorf("%s has no value", key)
		}
		set(key, strings.TrimSpace(value))
		return nil
	}
	all, err := unquote(s)
	if err != nil {
		return err
	}
	for _, pair := range all {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return fmt.Errorf("%q: want KEY=VALUE", pair)
		}
		set(key, value)
	}
	return nil
}

// unquote cuts a line into words, by the rules of a Dockerfile: quotes of both kinds, and a
// backslash outside single ones.
func unquote(s string) ([]string, error) {
	var all []string
	var word strings.Builder
	var quote byte
	inside := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			inside = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inside = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inside {
				all = append(all, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a %c is not closed", quote)
	}
	if inside {
		all = append(all, word.String())
	}
	return all, nil
}

func setenv(env []string, key, value string) []string {
	for n, e := range env {
		if strings.HasPrefix(e, key+"=") {
			env[n] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}

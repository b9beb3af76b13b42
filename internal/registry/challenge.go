package registry

import "strings"

// A challenge is one of the ways to authenticate that a server offers (RFC 9110, 11.6.1).
type challenge struct {
	scheme string // lower case: "basic", "bearer"
	params map[string]string
}

// parseChallenges reads the values of WWW-Authenticate headers. What cannot be read
// ends the value it is in.
func parseChallenges(values []string) []challenge {
	var all []challenge
	for _, s := range values {
		for {
			s = strings.TrimLeft(s, " \t,")
			name, rest := cutToken(s)
			if name == "" {
				break
			}
			if value, after, ok := cutValue(rest); ok && len(all) > 0 {
				all[len(all)-1].params[strings.ToLower(name)] = value
				s = after
				continue
			}
			if rest != "" && rest[0] != ' ' && rest[0] != ',' {
				break
			}
			all = append(all, challenge{scheme: strings.ToLower(name), params: map[string]string{}})
			s = rest
		}
	}
	return all
}

// cutToken cuts a token (RFC 9110, 5.6.2) from the front of s.
func cutToken(s string) (token, rest string) {
	i := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
	if i < 0 {
		i = len(s)
	}
	return s[:i], s[i:]
}

// cutValue cuts "=" and a token or a quoted string from the front of s.
func cutValue(s string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
	if !ok {
		return "", "", false
	}
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// Package reference is the name of an image: where it is, what it is called, and
// which one of that name.
//
// It reads what people type by docker's rules (github.com/distribution/reference,
// grammar in reference.go), by hand: the regular expressions of that package would
// be compiled at each start of the program. A Ref that Parse returned is whole: its
// parts are valid, and it has a tag or a digest.
package reference

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/opencontainers/go-digest"
)

// The registry and the folder of names that say nothing of them.
const (
	defaultRegistry = "docker.io"
	defaultFolder   = "library/"
	defaultTag      = "latest"
)

// maxRepository is the most bytes of registry and repository together, as docker has it.
const maxRepository = 255

// A Ref names one image at a registry.
type Ref struct {
	Registry   string        // host with its port, if any: "docker.io", "localhost:5000", "[::1]:5000"
	Repository string        // "library/nginx"
	Tag        string        // "latest"; may be empty if Digest is not
	Digest     digest.Digest // may be empty if Tag is not; goes before Tag
}

// Parse reads a name as people type it. What is left out is docker's: "nginx" is
// docker.io/library/nginx:latest.
func Parse(s string) (Ref, error) {
	r, err := parse(s)
	if err != nil {
		return Ref{}, fmt.Errorf("image name %q: %w", s, err)
	}
	return r, nil
}

func parse(s string) (Ref, error) {
	var r Ref
	if s == "" {
		return r, errors.New("is empty")
	}
	rest, sum, found := strings.Cut(s, "@")
	if found {
		var err error
		if r.Digest, err = ParseDigest(sum); err != nil {
			return r, err
		}
	}
	// A colon after the last slash is the tag's; one before it is the port's.
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		if r.Tag = rest[i+1:]; !IsTag(r.Tag) {
			return r, fmt.Errorf("invalid tag %q", r.Tag)
		}
		rest = rest[:i]
	}
	if r.Tag == "" && r.Digest == "" {
		if isHex(rest, 64) {
			return r, errors.New("is the id of an image, not its name")
		}
		r.Tag = defaultTag
	}
	r.Registry, r.Repository = split(rest)
	return r, r.check()
}

// split takes the registry from a name. The first part is one if it cannot be the
// name of a folder: it has a dot, a colon or a capital letter, or is localhost.
func split(name string) (registry, repository string) {
	first, rest, found := strings.Cut(name, "/")
	if !found || (!strings.ContainsAny(first, ".:") && first != "localhost" && strings.ToLower(first) == first) {
		first, rest = defaultRegistry, name
	}
	if first == "index.docker.io" {
		first = defaultRegistry
	}
	if first == defaultRegistry && !strings.Contains(rest, "/") {
		rest = defaultFolder + rest
	}
	return first, rest
}

func (r Ref) check() error {
	if len(r.Registry)+1+len(r.Repository) > maxRepository {
		return fmt.Errorf("is longer than %d bytes", maxRepository)
	}
	if !isHost(r.Registry) {
		return fmt.Errorf("invalid registry %q", r.Registry)
	}
	for part := range strings.SplitSeq(r.Repository, "/") {
		if part == "" || !isAlnum(part[0]) || !isPart(part) {
			if strings.ToLower(r.Repository) != r.Repository {
				return fmt.Errorf("repository %q must be lower case", r.Repository)
			}
			return fmt.Errorf("invalid repository %q", r.Repository)
		}
	}
	return nil
}

// String returns the whole name: "docker.io/library/nginx:latest".
func (r Ref) String() string {
	return r.Name() + r.suffix()
}

// Name returns the name without tag and digest: "docker.io/library/nginx".
func (r Ref) Name() string {
	return r.Registry + "/" + r.Repository
}

// Familiar returns the name as short as Parse understands it: "nginx:latest".
func (r Ref) Familiar() string {
	short := strings.TrimPrefix(r.Name(), defaultRegistry+"/")
	short = strings.TrimPrefix(short, defaultFolder) + r.suffix()
	if again, err := Parse(short); err != nil || again != r {
		return r.String()
	}
	return short
}

// Version returns what a registry is asked for: the digest, or else the tag.
func (r Ref) Version() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

func (r Ref) suffix() string {
	s := ""
	if r.Tag != "" {
		s = ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

// ParseDigest reads a digest of an algorithm that we can compute: sha256, sha384 or sha512.
func ParseDigest(s string) (digest.Digest, error) {
	algorithm, sum, _ := strings.Cut(s, ":")
	size := 0
	switch algorithm {
	case "sha256":
		size = 64
	case "sha384":
		size = 96
	case "sha512":
		size = 128
	default:
		return "", fmt.Errorf("invalid digest %q: want sha256:HEX", s)
	}
	if !isHex(sum, size) {
		return "", fmt.Errorf("invalid digest %q: want %d lower-case hexadecimal digits", s, size)
	}
	return digest.Digest(s), nil
}

// IsTag tells whether s is a tag: 1 to 128 word characters, dots and dashes, the
// first a word character (OCI distribution specification, "Pulling manifests").
func IsTag(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// isPart tells whether s is one part of a repository: runs of lower-case letters and
// digits, with one dot, one or two underscores or any dashes between them.
func isPart(s string) bool {
	alnum := func(c rune) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' }
	for {
		s = strings.TrimLeft(s, "0123456789abcdefghijklmnopqrstuvwxyz")
		i := strings.IndexFunc(s, alnum)
		if i <= 0 {
			return i < 0 && s == ""
		}
		if run := s[:i]; run != "." && run != "_" && run != "__" && strings.Trim(run, "-") != "" {
			return false
		}
		s = s[i:]
	}
}

// isHost tells whether s is a host name or an address, with or without a port.
func isHost(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		if host, port = s[:i], s[i+1:]; port == "" || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
			return false
		}
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		a, err := netip.ParseAddr(host[1 : len(host)-1])
		return err == nil && a.Is6() && a.Zone() == ""
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !isAlnum(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

func isHex(s string, size int) bool {
	if len(s) != size {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

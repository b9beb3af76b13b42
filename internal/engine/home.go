package engine

import (
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/bundle"
)

// setHome sets HOME, where it is not set, from the container's accounts, which are read already: the runtime
// would read them once more, at every start.
func setHome(p *specs.Process, a bundle.Accounts) {
	if hasHome(p.Env) {
		return
	}
	home := "/"
	if p.User.UID == 0 {
		home = "/root"
	}
	uid := strconv.FormatUint(uint64(p.User.UID), 10)
	for line := range strings.Lines(a.Passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) >= 6 && f[2] == uid && f[5] != "" {
			home = f[5]
			break
		}
	}
	p.Env = append(p.Env, "HOME="+home)
}

func hasHome(env []string) bool { return slices.ContainsFunc(env, isHome) }

func isHome(kv string) bool { return strings.HasPrefix(kv, "HOME=") }

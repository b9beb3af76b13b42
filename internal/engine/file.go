package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// writeFiles writes what a container has in /etc of ours. The files are where all is that the container writes: it may
// write to them, too, and must not fill the host's memory so.
func (c *Container) writeFiles() error {
	v := c.View()
	name := hostname(v.Record)
	if name == "" {
		name, _ = os.Hostname() // it shares the host's
	}
	if err := os.MkdirAll(c.in.Etc(), 0o755); err != nil {
		return err
	}
	for file, text := range map[string]string{
		"hostname": name + "\n", "hosts": c.hosts(v, name), "resolv.conf": c.resolv(v),
	} {
		if err := overwrite(filepath.Join(c.in.Etc(), file), text); err != nil {
			return err
		}
	}
	return nil
}

// overwrite writes a file in place: it may be mounted already. The memory that it has is kept, for the container may
// have left none.
func overwrite(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Truncate(int64(len(text))), f.Close())
}

func (c *Container) hosts(v View, name string) string {
	var b strings.Builder
	if v.Host.NetworkMode.IsHost() {
		if text, err := os.ReadFile("/etc/hosts"); err == nil {
			b.Write(text)
		}
	} else {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	}
	for _, x := range v.Host.ExtraHosts {
		host, addr, ok := strings.Cut(x, ":")
		if eq, a, yes := strings.Cut(x, "="); yes {
			host, addr, ok = eq, a, true
		}
		if addr == "host-gateway" {
			addr = c.e.nets.hostGateway(v)
		}
		if ok && addr != "" {
			fmt.Fprintf(&b, "%s\t%s\n", strings.Trim(addr, "[]"), host)
		}
	}
	for _, l := range v.Host.Links {
		b.WriteString(c.e.linked(l))
	}
	full := name
	if v.Config.Domainname != "" {
		full = name + "." + v.Config.Domainname + " " + name
	}
	some := false
	for _, ep := range v.Attached {
		if ep.IPAddress.IsValid() {
			fmt.Fprintf(&b, "%s\t%s\n", ep.IPAddress, full)
			some = true
		}
	}
	if !some && v.Host.NetworkMode.IsNone() {
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", full)
	}
	return b.String()
}

// linked is the line of a --link NAME[:ALIAS]: "" for a container that has no address.
func (e *Engine) linked(link string) string {
	name, alias, ok := strings.Cut(link, ":")
	if !ok {
		alias = name
	}
	other, err := e.Find(name)
	if err != nil {
		return ""
	}
	v := other.View()
	for _, at := range v.Attached {
		if at.IPAddress.IsValid() {
			return fmt.Sprintf("%s\t%s %s %s\n", at.IPAddress, alias, v.ID[:12], v.Name)
		}
	}
	return ""
}

// resolv is the host's, but for what the container is told, or what its networks answer.
func (c *Container) resolv(v View) string {
	host := hostResolv()
	servers := host.servers
	own := c.e.nets.servers(c)
	switch usual := v.Host.NetworkMode.IsDefault() || v.Host.NetworkMode == "bridge"; {
	case len(v.Host.DNS) > 0 && usual: // nobody has a name there
		servers = v.Host.DNS
	case len(v.Host.DNS) > 0:
		servers = append(own, v.Host.DNS...)
	case len(own) > 0:
		servers = own
	}
	search, options := host.search, host.options
	if len(v.Host.DNSSearch) > 0 {
		search = v.Host.DNSSearch
	}
	if len(v.Host.DNSOptions) > 0 {
		options = v.Host.DNSOptions
	}
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(search) > 0 && (len(search) > 1 || search[0] != ".") {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}

type resolvConf struct {
	servers         []netip.Addr
	search, options []string
}

// hostResolv reads /etc/resolv.conf: resolv.conf(5).
func hostResolv() (r resolvConf) {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return r // a device without a network has none
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil {
				r.servers = append(r.servers, a)
			}
		case "search":
			r.search = f[1:]
		case "options":
			r.options = append(r.options, f[1:]...)
		}
	}
	return r
}

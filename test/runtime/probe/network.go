package main

import (
	"net"

	"tare.dev/tare/test/runtime/report"
)

func (c *collector) network() {
	c.Interfaces = map[string]report.Interface{}
	all, err := net.Interfaces()
	c.note(err)
	for _, i := range all {
		r := report.Interface{Up: i.Flags&net.FlagUp != 0}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			r.Addrs = append(r.Addrs, a.String())
		}
		c.Interfaces[i.Name] = r
	}
}

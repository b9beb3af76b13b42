package engine

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// LabelExclusive is the label, true or false, of a container that has the CPUs of its --cpuset-cpus for itself alone.
const LabelExclusive = "dev.tare.cpus.exclusive"

func exclusive(r *Record) bool {
	is, err := strconv.ParseBool(r.Config.Labels[LabelExclusive])
	return err == nil && is
}

// A cpuSet is a set of CPUs: cpuset(7), list format.
type cpuSet map[int]bool

// maxCPUs is more than a device has.
const maxCPUs = 1024

func parseCPUs(list string) (cpuSet, error) {
	s := cpuSet{}
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		to := from
		if err == nil && isRange {
			to, err = strconv.Atoi(last)
		}
		if err != nil || from < 0 || to < from || to >= maxCPUs {
			return nil, Errorf(Invalid, "CPUs %q: must be as in 0-3,7", list)
		}
		for n := from; n <= to; n++ {
			s[n] = true
		}
	}
	return s, nil
}

// String is the list of the CPUs.
func (s cpuSet) String() string {
	text := ""
	for n := range maxCPUs {
		if s[n] {
			text += "," + strconv.Itoa(n)
		}
	}
	return strings.TrimPrefix(text, ",")
}

// A cpuUse is what a running container may have of the CPUs.
type cpuUse struct {
	name      string
	cpus      string // "": all that nobody has for itself
	exclusive bool
}

// apart tells whether a container can run beside the others, when some have CPUs for themselves, and which CPUs are
// for those that have no list of their own; "": all.
func apart(own cpuUse, online string, others []cpuUse) (shared string, err error) {
	left, err := parseCPUs(online)
	if err != nil {
		return "", err
	}
	if own.exclusive && own.cpus == "" {
		return "", Errorf(Invalid, "label %s: %s has no list of CPUs (--cpuset-cpus)", LabelExclusive, own.name)
	}
	taken := false
	for _, u := range append(others[:len(others):len(others)], own) {
		if u.cpus == "" {
			continue
		}
		cpus, err := parseCPUs(u.cpus)
		if err != nil {
			return "", fmt.Errorf("%s: %w", u.name, err)
		}
		for n := range cpus {
			if u.exclusive {
				taken = true
				delete(left, n)
			}
		}
		if u != own && own.cpus != "" && (u.exclusive || own.exclusive) && overlap(cpus, own.cpus) {
			return "", Errorf(Conflict, "%s asks for the CPUs %s, and %s has %s: one of them is to have its for itself", own.name, own.cpus, u.name, u.cpus)
		}
	}
	if !taken {
		return "", nil
	}
	if len(left) == 0 && (own.cpus == "" || anyShares(others)) {
		return "", Errorf(Conflict, "no CPU is left for those that have none for themselves")
	}
	return left.String(), nil
}

func overlap(a cpuSet, list string) bool {
	b, err := parseCPUs(list)
	for n := range b {
		if a[n] {
			return true
		}
	}
	return err != nil
}

func anyShares(all []cpuUse) bool {
	for _, u := range all {
		if u.cpus == "" {
			return true
		}
	}
	return false
}

func useOf(r *Record) cpuUse { return cpuUse{r.Name, r.Host.CpusetCpus, exclusive(r)} }

func anyExclusive(all []cpuUse) bool {
	for _, u := range all {
		if u.exclusive {
			return true
		}
	}
	return false
}

// onlineCPUs are the CPUs of the device; without the file the kernel has one.
func onlineCPUs() string {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return "0"
	}
	return strings.TrimSpace(string(text))
}

// cpuUses are what the other containers may have of the CPUs. g.mu is held.
func (e *Engine) cpuUses(but string) (all []cpuUse) {
	for _, c := range e.Containers() {
		if v := c.View(); c.id != but && e.holds(&v) {
			all = append(all, useOf(v.Record))
		}
	}
	return all
}

// shareCPUs has those that have no list of their own run where nobody is alone, when that has changed. g.mu is held.
func (e *Engine) shareCPUs(again bool) {
	shared, err := apart(cpuUse{}, onlineCPUs(), e.cpuUses(""))
	if err != nil {
		shared = "" // no CPU is left, and nobody is there who needs one
	}
	if shared == e.guarantees.shared && !again {
		return
	}
	e.guarantees.shared = shared
	for _, c := range e.Containers() {
		c.post(func() { // after a start that is under way
			if err := c.limitShared(e.sharedCPUs()); err != nil {
				e.log.Warn("keep a container from CPUs that others have for themselves", "container", c.id, "error", err)
			}
		})
	}
}

// sharedCPUs are the CPUs of those that have no list of their own; "": all.
func (e *Engine) sharedCPUs() string {
	e.guarantees.mu.Lock()
	defer e.guarantees.mu.Unlock()
	return e.guarantees.shared
}

// freeCPUs lets others have the CPUs of an exclusive container that has ended.
func (c *Container) freeCPUs() {
	if v := c.View(); exclusive(v.Record) && !v.Running() && v.State != container.StateRestarting {
		c.e.guarantees.mu.Lock()
		defer c.e.guarantees.mu.Unlock()
		c.e.shareCPUs(true)
	}
}

// limitShared has a container without a list of its own run on the CPUs; "": on all. Only own calls it.
func (c *Container) limitShared(cpus string) error {
	v := c.View()
	if !v.Running() || v.Host.CpusetCpus != "" {
		return nil
	}
	r, err := c.e.runtime.Load(c.id)
	if err != nil {
		return err
	}
	return r.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: cmp.Or(cpus, onlineCPUs())}})
}

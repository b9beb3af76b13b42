package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// A Reason is one thing that happened to a container, and the rule or request by which it did.
type Reason struct {
	Time time.Time `json:"time"`
	What string    `json:"what"`
	Why  string    `json:"why,omitempty"`
}

// reasonsKept is how many reasons of a container are kept, in memory: they outlive an engine, not a boot.
const reasonsKept = 32

// because notes a reason.
func (m *Memory) because(what, why string) {
	all := m.Reasons[max(0, len(m.Reasons)-reasonsKept+1):]
	m.Reasons = append(slices.Clone(all), Reason{time.Now().UTC(), what, why}) // others read the old list
}

// Why tells how the container came to be in its state, the last first.
func (c *Container) Why() []Reason {
	v := c.View()
	all := slices.Clone(v.Reasons)
	slices.Reverse(all)
	return append([]Reason{{time.Now().UTC(), "is " + v.describe(), v.standing()}}, all...)
}

// describe is the state in words.
func (v *View) describe() string {
	switch {
	case v.State == container.StateExited:
		return fmt.Sprintf("exited with status %d", v.ExitCode)
	case v.Health != nil && v.Running():
		return fmt.Sprintf("%s, %s", v.State, v.Health.Status)
	}
	return string(v.State)
}

// standing is what has to happen for the state to change, where that is a rule and not a request.
func (v *View) standing() string {
	policy := v.policyText()
	switch v.State {
	case container.StateRestarting:
		return fmt.Sprintf("it waits for its next start, number %d; its restart policy is %s", v.Restarts+1, policy)
	case container.StateExited:
		switch {
		case v.Host.RestartPolicy.Name == container.RestartPolicyUnlessStopped && v.Stopped:
			return "it was stopped by request, and its restart policy is " + policy + ": it stays so, after a boot too"
		case wantedAtBoot(v.Record):
			return "a boot starts it: its restart policy is " + policy
		}
		return "nothing starts it but a request: its restart policy is " + policy
	case container.StateDead:
		return "something of it could not be removed; rm tries again"
	}
	return ""
}

func (v *View) policyText() string {
	p := v.Host.RestartPolicy
	switch {
	case p.Name == "":
		return string(container.RestartPolicyDisabled)
	case p.Name == container.RestartPolicyOnFailure && p.MaximumRetryCount > 0:
		return fmt.Sprintf("%s, %d times at most", p.Name, p.MaximumRetryCount)
	}
	return string(p.Name)
}

// whyEnded is the cause of an end, as far as it can be known.
func (v *View) whyEnded(status unix.WaitStatus, oom, reboot bool) string {
	switch {
	case reboot:
		return "it asked for a reboot"
	case oom && v.Host.Memory > 0:
		return fmt.Sprintf("the kernel killed a process of it, because it had used all of its memory, %d MiB", v.Host.Memory>>20)
	case oom:
		return "the kernel killed a process of it, because the device had no memory left"
	case v.Asked:
		return cmp.Or(v.AskedWhy, "a client asked for its end")
	case status == unknownStatus:
		return "nobody saw how: the keeper was away"
	case status.Signaled():
		return fmt.Sprintf("something else than the engine sent it %s", unix.SignalName(status.Signal()))
	}
	return "by itself"
}

// whyNext is what follows an end, and by which rule.
func (v *View) whyNext(again bool, wait time.Duration, reboot bool, code int) (what, why string) {
	policy := "its restart policy is " + v.policyText()
	p := v.Host.RestartPolicy
	switch {
	case reboot:
		return "is started again at once", "a reboot is a restart of this container alone"
	case again:
		return fmt.Sprintf("is to be started again in %v", wait), policy
	case v.Asked || p.Name == "" || p.IsNone() || code == 0:
		return "", ""
	case p.Name == container.RestartPolicyOnFailure && p.MaximumRetryCount > 0 && v.Restarts >= p.MaximumRetryCount:
		return "is parked", fmt.Sprintf("it failed %d times in a row, and %s", v.Restarts+1, policy)
	}
	return "", ""
}

// endText says how a process ended.
func endText(status unix.WaitStatus) string {
	if status.Signaled() {
		return "ended by " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("ended with status %d", status.ExitStatus())
}

// healthReason is what a change of health is due to.
func healthReason(result *container.HealthcheckResult, streak int) string {
	if result.ExitCode == 0 {
		return "its check succeeded"
	}
	text := fmt.Sprintf("its check failed %d times in a row, the last with status %d", streak, result.ExitCode)
	if out := strings.TrimSpace(result.Output); out != "" {
		line, _, _ := strings.Cut(out, "\n")
		text += ": " + line
	}
	return text
}

package engine

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tare.dev/tare/internal/order"
)

// PressureOptions say when memory counts as short, and how hasty the engine is then. The zero value is for a device.
type PressureOptions struct {
	Off bool
	// Stall is how long in a window some process must have waited for memory; 0 is 150 ms.
	Stall time.Duration
	// Available is how much of the device's memory must be left for it to be enough, in percent; 0 is 20. What waits
	// for memory while there is more has come to a limit of its own.
	Available int
	// Window is what is looked at at a time, once the kernel has told of a stall; 0 is a second.
	Window time.Duration
	// Pause is how long a measure is given to help before the next; it doubles with each, up to a minute; 0 is 3 s.
	Pause time.Duration
	// Calm is how long nothing may have waited until what was slowed down goes on as before; 0 is 30 s.
	Calm time.Duration
}

func (o PressureOptions) filled() PressureOptions {
	o.Stall = cmp.Or(o.Stall, 150*time.Millisecond)
	o.Available = cmp.Or(o.Available, 20)
	o.Window = cmp.Or(o.Window, time.Second)
	o.Pause = cmp.Or(o.Pause, 3*time.Second)
	o.Calm = cmp.Or(o.Calm, 30*time.Second)
	return o
}

// ParsePressure reads "off", or how long something must have waited for memory in a second and what part of it must
// be left: "150ms/20%".
func ParsePressure(text string) (o PressureOptions, err error) {
	if text == "off" {
		return PressureOptions{Off: true}, nil
	}
	stall, part, ok := strings.Cut(text, "/")
	o.Stall, err = time.ParseDuration(stall)
	if err != nil || o.Stall < time.Millisecond || o.Stall >= time.Second {
		return o, fmt.Errorf("%q: must be off, or a time below a second and a part of memory: 150ms/20%%", text)
	}
	if ok {
		o.Available, err = strconv.Atoi(strings.TrimSuffix(part, "%"))
		if err != nil || o.Available < 1 || o.Available > 100 {
			return o, fmt.Errorf("%q: the part of memory must be from 1%% to 100%%", text)
		}
	}
	return o, nil
}

// Bounds of what is done again and again.
const (
	pressureWindows = 3               // that are looked back at
	pressureMost    = time.Minute     // between two measures
	sparedFirst     = 2 * time.Minute // until the same container can be restarted again; doubled each time
	sparedMost      = time.Hour
)

// A measure is what can be done about a lack of memory.
type measure string

const (
	doNothing measure = ""
	doReclaim measure = "reclaim" // logs, our own garbage, and what the least important groups can give
	doSlow    measure = "slow"    // the least important container
	doRestart measure = "restart" // it, when slowing it down has not helped
	doStop    measure = "stop"    // it, when nothing would start it again
	doRelease measure = "release" // what was slowed down
)

// A situation is all that a decision is made of.
type situation struct {
	Now       time.Time
	Stalled   int  // windows of the last three in which something waited for memory for too long
	Short     bool // too little of the device's memory is left
	Reclaimed bool // since it became short
	Next      time.Time
	Calm      time.Time // since when nothing waits; zero: it does
	Running   []subject
}

// A subject is a running container as one that could give way.
type subject struct {
	ID         string
	Importance int
	Memory     uint64 // bytes in use
	Slowed     bool
	Comes      bool      // its restart policy would start it again after a failure
	Spared     time.Time // it was restarted, and is left alone until then
}

// decide tells what is to be done next, and to which container. It knows no order but the declared one: among
// containers of one importance none gives way to another, and nothing that is as important as the most important
// running one, or 100, ever does.
func decide(s *situation, o PressureOptions) (do measure, id string) {
	if s.Stalled == 0 {
		if s.Calm.IsZero() || s.Now.Sub(s.Calm) < o.Calm {
			return doNothing, ""
		}
		for i := range s.Running {
			if s.Running[i].Slowed {
				return doRelease, s.Running[i].ID
			}
		}
		return doNothing, ""
	}
	if s.Stalled < 2 || !s.Short || s.Now.Before(s.Next) {
		return doNothing, ""
	}
	if !s.Reclaimed {
		return doReclaim, ""
	}
	for _, v := range victims(s.Running) {
		switch {
		case !v.Slowed:
			return doSlow, v.ID
		case s.Now.Before(v.Spared):
			continue
		case v.Comes:
			return doRestart, v.ID
		}
		return doStop, v.ID
	}
	return doReclaim, ""
}

// victims are who may have to give way, the first one first: the least important, and of those the largest.
func victims(all []subject) (some []subject) {
	most := 0
	for _, v := range all {
		most = max(most, v.Importance)
	}
	for _, v := range all {
		if v.Importance < most && v.Importance < importanceMost {
			some = append(some, v)
		}
	}
	order.By(some, func(a, b subject) int {
		return cmp.Or(cmp.Compare(a.Importance, b.Importance), cmp.Compare(b.Memory, a.Memory), strings.Compare(a.ID, b.ID))
	})
	return some
}

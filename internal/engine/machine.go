package engine

import "github.com/moby/moby/api/types/container"

// State is what a container is doing, in the API's words.
type State = container.ContainerState

// event is what happens to a container.
type event string

const (
	evStart   event = "start"   // its process was made
	evFail    event = "fail"    // its process could not be made
	evPause   event = "pause"   // its processes were frozen
	evUnpause event = "unpause" // and thawed
	evExit    event = "exit"    // its process ended, for good
	evAgain   event = "again"   // its process ended, and it will be started again
	evGiveUp  event = "give up" // it was to be started again, and will not be
	evRemove  event = "remove"  // it is being taken away
	evStay    event = "stay"    // it could not be taken away
)

// A transition is one line of the machine.
type transition struct {
	From State
	On   event
	To   State
	Why  string
}

// transitions is all that can happen to a container. Nothing else changes its state; docs/design has it
// as a drawing, made from here by a test.
func transitions() []transition {
	return []transition{
		{container.StateCreated, evStart, container.StateRunning, "start"},
		{container.StateCreated, evFail, container.StateCreated, "the program cannot be executed, say"},
		{container.StateCreated, evRemove, container.StateRemoving, "rm"},
		{container.StateRunning, evPause, container.StatePaused, "pause"},
		{container.StateRunning, evExit, container.StateExited, "the process ended, and the policy or a person wants it so"},
		{container.StateRunning, evAgain, container.StateRestarting, "the process ended, and the restart policy has it started again after a while"},
		{container.StatePaused, evUnpause, container.StateRunning, "unpause"},
		{container.StatePaused, evExit, container.StateExited, "killed"},
		{container.StatePaused, evAgain, container.StateRestarting, "killed by something else than a request"},
		{container.StateRestarting, evStart, container.StateRunning, "the while is over, or start"},
		{container.StateRestarting, evFail, container.StateRestarting, "the next while is longer"},
		{container.StateRestarting, evGiveUp, container.StateExited, "stop; too many failures"},
		{container.StateRestarting, evRemove, container.StateRemoving, "rm --force"},
		{container.StateExited, evStart, container.StateRunning, "start, restart, or the boot of the device"},
		{container.StateExited, evFail, container.StateExited, "as before"},
		{container.StateExited, evAgain, container.StateRestarting, "the start at boot failed"},
		{container.StateExited, evRemove, container.StateRemoving, "rm, or its end with --rm"},
		{container.StateRemoving, evStay, container.StateDead, "something could not be removed"},
		{container.StateDead, evRemove, container.StateRemoving, "rm, again"},
	}
}

// next finds the state that follows.
func next(from State, on event) (State, bool) {
	for _, t := range transitions() {
		if t.From == from && t.On == on {
			return t.To, true
		}
	}
	return from, false
}

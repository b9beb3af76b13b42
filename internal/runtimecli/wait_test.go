package runtimecli

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/container"
)

func TestWaitForAStoppedContainer(t *testing.T) {
	g := newStage()
	b := newBox(g.fakeStore, "web", specs.StateStopped)
	seven := 7
	b.state.ExitStatus = &seven
	if status, out, errs := g.run("wait", "web"); status != 7 || out+errs != "" {
		t.Errorf("status %d, output %q %q", status, out, errs)
	}
}

func TestWaitForTheEnd(t *testing.T) {
	cmd := exec.Command("sh", "-c", "read x; exit 3")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g := newStage()
	newBox(g.fakeStore, "web", specs.StateRunning).state.Pid = cmd.Process.Pid
	done := make(chan int)
	go func() {
		status, _, _ := g.run("wait", "web")
		done <- status
	}()
	select {
	case <-done:
		t.Error("did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	in.Close()
	_ = cmd.Wait() // reaps
	// 3 where the kernel tells others than the parent (Linux 6.15), else an error.
	if status := <-done; status != 3 && status != 1 {
		t.Errorf("status %d", status)
	}
}

// steps is a container that is in another state at each look.
type steps struct {
	handle
	states []container.State
}

func (s *steps) ID() string { return "web" }

func (s *steps) State() (container.State, error) {
	now := s.states[0]
	s.states = s.states[1:]
	return now, nil
}

func TestWaitWithoutPidfds(t *testing.T) {
	seven := 7
	running := container.State{State: specs.State{Status: specs.StateRunning}}
	stopped := container.State{State: specs.State{Status: specs.StateStopped}, ExitStatus: &seven}
	if status, err := waitByLooking(&steps{states: []container.State{running, running, stopped}}); status != 7 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	stopped.ExitStatus = nil
	if _, err := waitByLooking(&steps{states: []container.State{stopped}}); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("error %v", err)
	}
}

// Who asks for the process's number waits for it, and must be the one to adopt it.
func TestWhoAsksForTheProcessAdoptsIt(t *testing.T) {
	for flag, want := range map[string]bool{"": false, "--pid-file=/x": true, "--pidfd-socket=/x": true, "--console-socket=/x": false} {
		g := newStage()
		args := []string{"create", "--bundle=/b", "web"}
		if flag != "" {
			args = append([]string{"create", flag}, args[1:]...)
		}
		if status, _, errs := g.run(args...); status != 0 {
			t.Fatalf("%v: status %d, %s", args, status, errs)
		}
		if got := g.fakeStore.created.Adopted; got != want {
			t.Errorf("%v: adopted %t", args, got)
		}
	}
}

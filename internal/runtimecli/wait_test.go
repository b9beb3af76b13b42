package runtimecli

import (
	"os/exec"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
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

package engine

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
)

var update = flag.Bool("update", false, "write docs/states.md")

// TestStatesAreDrawn keeps the document the same as the table.
func TestStatesAreDrawn(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The states of a container\n\n" +
		"What a container can be, in the words of the Docker Engine API, and all that can happen to it. Made from the\n" +
		"table in `internal/engine/machine.go` by `go test ./internal/engine -run Drawn -update`; nothing else changes a state.\n\n" +
		"| from | on | to | when |\n|---|---|---|---|\n")
	for _, l := range transitions() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", l.From, l.On, l.To, l.Why)
	}
	const path = "../../docs/states.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Errorf("%s is not what the table says; -update mends it", path)
	}
}

// TestEveryStateIsLeft: nobody is caught in a state, and each is reached from created.
func TestEveryStateIsLeft(t *testing.T) {
	reached := map[State]bool{container.StateCreated: true}
	for range transitions() {
		for _, l := range transitions() {
			if reached[l.From] {
				reached[l.To] = true
			}
		}
	}
	leaves := map[State]bool{container.StateRemoving: true} // for good
	seen := map[string]bool{}
	for _, l := range transitions() {
		if l.From != l.To {
			leaves[l.From] = true
		}
		key := string(l.From) + " " + string(l.On)
		if seen[key] {
			t.Errorf("%s: two lines", key)
		}
		seen[key] = true
		if err := container.ValidateContainerState(l.To); err != nil {
			t.Error(err)
		}
	}
	for s := range reached {
		if !leaves[s] {
			t.Errorf("nothing leaves %s", s)
		}
	}
	if len(reached) != 7 {
		t.Errorf("reached %v, want all of the API's states", reached)
	}
}

package engine

import (
	"encoding/json"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// TestNull has requests with null where a limit or a network's settings should be: none may reach a start, which
// would end the engine, and at every boot again.
func TestNull(t *testing.T) {
	for _, text := range []string{
		`{"Ulimits":[null]}`, `{"BlkioWeightDevice":[null]}`, `{"BlkioDeviceReadBps":[null]}`,
		`{"BlkioDeviceWriteBps":[null]}`, `{"BlkioDeviceReadIOps":[null]}`, `{"BlkioDeviceWriteIOps":[null]}`,
	} {
		r := &Record{ID: newID(), Config: &container.Config{Image: "box"}, Host: &container.HostConfig{}}
		if err := json.Unmarshal([]byte(text), r.Host); err != nil {
			t.Fatal(err)
		}
		if err := checkCreate(r); err == nil || KindOf(err) != Invalid {
			t.Errorf("%s: %v", text, err)
		}
	}
	r := &Record{
		ID: newID(), Config: &container.Config{Image: "box"}, Host: &container.HostConfig{},
		Networks: map[string]*network.EndpointSettings{"a": nil, "b": nil},
	}
	if err := checkCreate(r); err != nil {
		t.Fatal(err)
	}
	if names := networkOrder(r); len(names) != 2 {
		t.Errorf("networks %q", names)
	}
}

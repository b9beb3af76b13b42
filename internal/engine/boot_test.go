package engine

import (
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestDependencies(t *testing.T) {
	for label, want := range map[string][]dependency{
		"":                          nil,
		"db":                        {{"db", "service_started"}},
		"db:service_healthy:false":  {{"db", "service_healthy"}},
		"a:service_started:true, b": {{"a", "service_started"}, {"b", "service_started"}},
		"m:service_completed_successfully:false,,:x": {{"m", "service_completed_successfully"}},
	} {
		r := &Record{Config: &container.Config{Labels: map[string]string{labelDepends: label}}}
		if got := dependencies(r); !slices.Equal(got, want) {
			t.Errorf("dependencies(%q) = %v, want %v", label, got, want)
		}
	}
}

func TestDependencyIsMet(t *testing.T) {
	checked := &Record{Name: "db", Host: &container.HostConfig{}, Config: &container.Config{
		Healthcheck: &container.HealthConfig{Test: []string{"CMD", "true"}},
	}}
	plain := &Record{Name: "db", Host: &container.HostConfig{}, Config: &container.Config{}}
	running := func(status container.HealthStatus) Memory {
		return Memory{State: container.StateRunning, Runs: 1, Health: &Health{Status: status}}
	}
	created := Memory{State: container.StateCreated}
	ended := func(code int) Memory { return Memory{State: container.StateExited, Runs: 1, ExitCode: code} }
	for _, c := range []struct {
		condition string
		view      View
		coming    bool
		want      bool
		text      string
	}{
		{"service_started", View{plain, created}, true, false, "db is not started"},
		{"service_started", View{plain, created}, false, true, "db is created, and nothing starts it"},
		{"service_started", View{checked, running(container.Starting)}, false, true, "db is started"},
		{"service_started", View{plain, Memory{State: container.StateRestarting, Runs: 3}}, false, true, "db is started"},
		{"service_healthy", View{checked, running(container.Starting)}, false, false, "db is not healthy"},
		{"service_healthy", View{checked, running(container.Unhealthy)}, false, false, "db is not healthy"},
		{"service_healthy", View{checked, running(container.Healthy)}, false, true, "db is healthy"},
		{"service_healthy", View{plain, Memory{State: container.StateRunning, Runs: 1}}, false, true, "db is started"},
		{"service_healthy", View{checked, Memory{State: container.StateRestarting, Runs: 3}}, false, false, "db is not healthy"},
		{"service_healthy", View{checked, ended(1)}, false, true, "db is exited with status 1, and nothing starts it"},
		{"service_completed_successfully", View{plain, running(container.NoHealthcheck)}, false, false, "db is not done"},
		{"service_completed_successfully", View{plain, ended(0)}, false, true, "db is done"},
		{"service_completed_successfully", View{plain, created}, false, true, "db is created, and nothing starts it"},
	} {
		ok, text := dependency{"db", c.condition}.met(&c.view, c.coming)
		if ok != c.want || text != c.text {
			t.Errorf("%s of %s = %v %q, want %v %q", c.condition, c.view.State, ok, text, c.want, c.text)
		}
	}
}

package compose

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryKeyOfTheSpecificationHasARule: the schema is compose-go's own file.
func TestEveryKeyOfTheSpecificationHasARule(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/compose-spec/compose-go/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "schema", "compose-spec.json"))
	if err != nil {
		t.Fatal(err)
	}
	type part struct {
		Properties map[string]json.RawMessage
	}
	var schema struct {
		Properties map[string]json.RawMessage
		Defs       map[string]part `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	all := rules()
	has := func(pattern string) {
		if _, ok := all[pattern]; ok {
			return
		}
		for p := range all {
			if strings.HasPrefix(p, pattern+".") {
				return // there are rules below
			}
		}
		t.Errorf("no rule for %s", pattern)
	}
	count := 0
	for key := range schema.Properties {
		has(key)
	}
	for below, defs := range map[string][]string{
		"services.*": {"service", "container_spec", "workload_spec"}, "services.*.deploy": {"deployment"},
		"networks.*": {"network"}, "volumes.*": {"volume"}, "secrets.*": {"secret"}, "configs.*": {"config"},
	} {
		for _, def := range defs {
			for key := range schema.Defs[def].Properties {
				count++
				has(below + "." + key)
			}
		}
	}
	if count < 120 {
		t.Errorf("only %d keys in the schema: it has another shape", count)
	}
}

func check(t *testing.T, text string) map[string]Finding {
	t.Helper()
	path := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := Check(t.Context(), []string{path})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Finding{}
	for _, f := range found {
		all[f.Key] = f
	}
	return all
}

func TestCheck(t *testing.T) {
	all := check(t, `
name: shop
x-team: {who: us}
services:
  db:
    image: postgres
    restart: always
    mem_limit: 64m
    healthcheck: {test: [CMD, "true"]}
    logging: {driver: syslog, options: {tag: x}}
  web:
    build: .
    image: web
    depends_on: {db: {condition: service_healthy}}
    ports: ["8080:80"]
    deploy:
      replicas: 2
      placement: {constraints: [node.role==manager]}
      resources: {limits: {memory: 32m}, reservations: {memory: 16m, cpus: "0.5"}}
    networks: [front]
networks:
  front: {driver: overlay}
volumes:
  data: {driver: nfs}
`)
	for key, want := range map[string]Verdict{
		"name": Runs, "x-team": Ignored, "services.db.image": Runs, "services.db.restart": Runs, "services.db.healthcheck": Runs,
		"services.db.logging": Ignored, "services.web.build": Refused, "services.web.depends_on": Runs, "services.web.ports": Runs,
		"services.web.deploy.replicas": Runs, "services.web.deploy.placement": Ignored, "services.web.deploy.resources.limits": Runs,
		"services.web.deploy.resources.reservations.cpus": Ignored, "networks.front.driver": Refused, "volumes.data.driver": Refused,
	} {
		if got, ok := all[key]; !ok || got.Verdict != want || want != Runs && got.Why == "" {
			t.Errorf("%s: %+v, want %s", key, got, want)
		}
	}
	for key, f := range all {
		if strings.Contains(f.Why, "no rule") {
			t.Errorf("%s: %s", key, f.Why)
		}
	}
}

func TestAPlainProjectRuns(t *testing.T) {
	all := check(t, "services: {one: {image: busybox, command: sleep 1, volumes: [\"data:/data\"], environment: {A: b}}}\nvolumes: {data: {}}\n")
	for key, f := range all {
		if f.Verdict != Runs {
			t.Errorf("%s: %+v", key, f)
		}
	}
}

func TestBadFilesAreErrors(t *testing.T) {
	for _, text := range []string{"services: [", "services: {one: {imgae: busybox}}", "nonsense: 1", "services: {one: {image: a, ports: 5}}"} {
		path := filepath.Join(t.TempDir(), "compose.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := Check(t.Context(), []string{path}); err == nil || !strings.Contains(err.Error(), "compose.yaml") {
			t.Errorf("%q: %v, %v", text, found, err)
		}
	}
	if _, err := Check(t.Context(), []string{"/nonexistent.yaml"}); err == nil {
		t.Error("a file that is not there is no error")
	}
}

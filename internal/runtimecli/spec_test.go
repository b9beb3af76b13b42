package runtimecli

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestSpecGolden(t *testing.T) {
	rootless := exampleSpec(false)
	makeRootless(rootless, 1000, 1001)
	for name, spec := range map[string]*specs.Spec{
		"spec_v1.json":       exampleSpec(false),
		"spec_v2.json":       exampleSpec(true),
		"spec_rootless.json": rootless,
	} {
		path := filepath.Join(t.TempDir(), "config.json")
		if err := writeSpec(path, spec); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s differs (go test -update rewrites it)", name)
		}
	}
}

// What people edited in runc's example must be there in ours, under the same names.
func TestSpecHasTheShapeOfRuncs(t *testing.T) {
	runc, err := os.ReadFile("testdata/runc_spec.json")
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := json.Unmarshal(runc, &want); err != nil {
		t.Fatal(err)
	}
	ours, err := json.Marshal(exampleSpec(false))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(ours, &got); err != nil {
		t.Fatal(err)
	}
	// Ours has no ambient capabilities: without inheritable ones the kernel refuses them.
	delete(want["process"].(map[string]any)["capabilities"].(map[string]any), "ambient")
	for _, m := range []map[string]any{want, got} {
		delete(m, "ociVersion")
		delete(m, "hostname")
		delete(m["linux"].(map[string]any), "maskedPaths") // ours is longer
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

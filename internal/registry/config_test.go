package registry

import (
	"reflect"
	"testing"
)

func TestReadConfig(t *testing.T) {
	got, err := ReadConfig(writeFile(t, "registries.json", `{"mirrors":{"docker.io":["m.example:5000","[::1]/pre/fix"]},"insecure":["plain.example"],"proxy":"socks5h://p:1"}`))
	want := Options{Mirrors: map[string][]string{"docker.io": {"m.example:5000", "[::1]/pre/fix"}}, Insecure: []string{"plain.example"}, Proxy: "socks5h://p:1"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ReadConfig = %+v, %v, want %+v", got, err, want)
	}
	if got, err := ReadConfig("/nowhere/registries.json"); err != nil || !reflect.DeepEqual(got, Options{}) {
		t.Errorf("without a file: %+v, %v", got, err)
	}
	for text, want := range map[string]string{
		``: "EOF", `{`: "EOF", `[]`: "array", `{"mirror":{}}`: `unknown field "mirror"`, `{} {}`: "more than one",
		`{"mirrors":{"docker.io":["https://m.example"]}}`:     `mirrors of "docker.io": "https://m.example" is not HOST`,
		`{"mirrors":{"":["m"]}}`:                              `"" is not HOST`,
		`{"insecure":["h:"]}`:                                 `insecure: "h:" is not HOST`,
		`{"insecure":["user:password@h"]}`:                    `is not HOST`,
		`{"mirrors":{"docker.io":["m.example/x?ns=a#b"]}}`:    `is not HOST`,
		`{"mirrors":{"docker.io":["a b"],"quay.io":["a b"]}}`: `"a b" is not HOST`,
	} {
		_, err := ReadConfig(writeFile(t, "registries.json", text))
		wantError(t, err, "registries.json: ", want)
	}
}

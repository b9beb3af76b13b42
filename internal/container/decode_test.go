package container

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// documents are specs, whole and broken, and what encoding/json treats in a way of its own.
var documents = []string{
	`{}`, ` { } `, `null`, `[]`, `1`, `"x"`, ``, `{`, `{}x`, `{"a"}`, `{"a":}`, `{,}`, `{"a":1,}`, "\v{}",
	`{"hostname":"a\u00e9\n\u003c\/\"\\b"}`, `{"hostname":"\ud83d\ude00"}`, `{"hostname":"\ud83d"}`, `{"hostname":"\q"}`, `{"hostname":"\u00g0"}`, `{"hostname":"\u+123"}`,
	"{\"hostname\":\"a\xffb\"}", "{\"hostname\":\"a\nb\"}", `{"hostname":1}`, `{"hostname":null}`, `{"Hostname":"x"}`, `{"ho\u017ftname":"x"}`, `{"hoſtname":"x"}`,
	`{"hostname":"a","hostname":"b"}`, `{"hostname":"a","hostname":null}`, `{"process":{"cwd":"/"},"process":{"args":["x"]}}`,
	`{"process":{"terminal":true,"user":{"uid":1,"gid":2,"additionalGids":[3,4]},"args":["a","b"],"env":[],"oomScoreAdj":-5}}`,
	`{"process":{"args":["a"],"args":["b","c"]}}`, `{"process":{"user":{"uid":-1}}}`, `{"process":{"user":{"uid":4294967296}}}`, `{"process":{"user":{"uid":1.0}}}`,
	`{"process":{"user":{"uid":1e2}}}`, `{"process":{"user":{"uid":01}}}`, `{"process":{"user":{"uid":-0}}}`, `{"process":{"user":{"uid":"1"}}}`, `{"process":{"user":{"uid":1}}`,
	`{"process":{"terminal":1}}`, `{"process":{"terminal":tru}}`, `{"process":null,"root":null}`, `{"process":[]}`, `{"mounts":{}}`, `{"mounts":[{}]}`, `{"mounts":[null,{"options":null}]}`,
	`{"annotations":{"a":"b","a":"c","":""}}`, `{"annotations":{"a":null}}`, `{"annotations":{"a":1}}`, `{"annotations":{}}`, `{"annotations":null}`,
	`{"unknown":{"a":[1,2.5e3,{"b":null},true,false,"x"],"c":-0.1}}`, `{"unknown":[1,]}`, `{"unknown":[1 2]}`, `{"unknown":{"a":1,"a":2}}`, `{"unknown":nul}`, `{"unknown":-}`, `{"unknown":1.}`,
	`{"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"}],"memory":{"limit":9223372036854775807},"unified":{"x":"y"}}}}`,
	`{"linux":{"resources":{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":500}],"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}]}}}}`,
	`{"linux":{"resources":{"memory":{"limit":9223372036854775808}}}}`, `{"linux":{"devices":[{"path":"/x","fileMode":438,"uid":0}]}}`,
	`{"linux":{"timeOffsets":{"monotonic":{"secs":1}},"namespaces":[{"type":"pid"}],"rootfsPropagation":"slave","sysctl":{"a":"b"}}}`,
	`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}]}}}`,
	`{"hooks":{"poststop":[{"path":"/x","timeout":5}]},"windows":{"layerFolders":["x"]},"vm":{"kernel":{"path":"/k"}}}`,
}

func sameDecoding(t *testing.T, b []byte) {
	t.Helper()
	for _, fresh := range []func() any{
		func() any { return new(specs.Spec) }, func() any { return new(record) }, func() any { return new(specs.Process) },
	} {
		got, want := fresh(), fresh()
		err, wantErr := decode(b, got), json.Unmarshal(b, want)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || !reflect.DeepEqual(got, want) {
			t.Errorf("decode(%q) into %T = %+v, %v, want %+v, %v", b, got, got, err, want, wantErr)
		}
	}
}

func TestDecodesAsEncodingJSONDoes(t *testing.T) {
	for _, s := range documents {
		sameDecoding(t, []byte(s))
	}
}

// What comes from encoders every day must not need encoding/json.
func TestOrdinarySpecsArePlain(t *testing.T) {
	for _, path := range specFiles(t) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sameDecoding(t, b)
		var s specs.Spec
		d := decoder{b: b, types: map[reflect.Type][]field{}}
		if !d.value(reflect.ValueOf(&s).Elem(), 0) {
			t.Errorf("%s: not plain at byte %d", path, d.at)
		}
	}
}

func specFiles(t testing.TB) []string {
	files, err := filepath.Glob("testdata/spec*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no specs to read: %v", err)
	}
	return files
}

func FuzzDecode(f *testing.F) {
	for _, s := range documents {
		f.Add([]byte(s))
	}
	for _, path := range specFiles(f) {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(sameDecoding)
}

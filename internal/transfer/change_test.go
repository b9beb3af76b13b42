package transfer

import (
	"reflect"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestChangesAreInstructionsOfADockerfile(t *testing.T) {
	set := func(names ...string) map[string]struct{} {
		all := map[string]struct{}{}
		for _, n := range names {
			all[n] = struct{}{}
		}
		return all
	}
	tests := []struct {
		lines []string
		want  v1.ImageConfig
	}{
		{[]string{`CMD ["a", "b c"]`}, v1.ImageConfig{Cmd: []string{"a", "b c"}}},
		{[]string{`cmd a "b c"`}, v1.ImageConfig{Cmd: []string{"/bin/sh", "-c", `a "b c"`}}},
		{[]string{`CMD=/bin/bash`}, v1.ImageConfig{Cmd: []string{"/bin/sh", "-c", "/bin/bash"}}},
		{[]string{`ENTRYPOINT []`, ` ENTRYPOINT ["x"] `}, v1.ImageConfig{Entrypoint: []string{"x"}}},
		{[]string{`ENV A=1 B="2 3" C='4 "5"' D=6\ 7`, `ENV A=8`}, v1.ImageConfig{Env: []string{"A=8", "B=2 3", `C=4 "5"`, "D=6 7"}}},
		{[]string{`ENV A two words`, `ENV=B=1`}, v1.ImageConfig{Env: []string{"A=two words", "B=1"}}},
		{[]string{`ENV A=`, `ENV B=x=y`}, v1.ImageConfig{Env: []string{"A=", "B=x=y"}}},
		{[]string{`LABEL a=1 "b c"=2`}, v1.ImageConfig{Labels: map[string]string{"a": "1", "b c": "2"}}},
		{[]string{`EXPOSE 80 53/udp`}, v1.ImageConfig{ExposedPorts: set("80/tcp", "53/udp")}},
		{[]string{`VOLUME /a /b`, `VOLUME ["/c d"]`}, v1.ImageConfig{Volumes: set("/a", "/b", "/c d")}},
		{[]string{`USER 1:2`, `WORKDIR /x y`, `STOPSIGNAL SIGINT`}, v1.ImageConfig{User: "1:2", WorkingDir: "/x y", StopSignal: "SIGINT"}},
	}
	for _, test := range tests {
		var got v1.ImageConfig
		for _, line := range test.lines {
			if err := Change(&got, line); err != nil {
				t.Errorf("Change(%q) = %v", line, err)
			}
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q gives %+v, want %+v", test.lines, got, test.want)
		}
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	for line, want := range map[string]string{
		"": "want an instruction", "CMD": "want an instruction", "CMD=": "want an instruction", "RUN x": "RUN is not one of",
		"ENV A": "A has no value", "ENV A='1": "is not closed", "ENV A=1 B": "want KEY=VALUE", "LABEL =1": "want KEY=VALUE",
	} {
		if err := Change(&v1.ImageConfig{}, line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Change(%q) = %v, want %q", line, err, want)
		}
	}
}

package reference

import (
	"strings"
	"testing"
)

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	tests := []struct{ in, whole, familiar string }{
		{"nginx", "docker.io/library/nginx:latest", "nginx:latest"},
		{"nginx:1.2", "docker.io/library/nginx:1.2", "nginx:1.2"},
		{"index.docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"},
		{"docker.io/user/app", "docker.io/user/app:latest", "user/app:latest"},
		{"localhost/x", "localhost/x:latest", "localhost/x:latest"},
		{"localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"},
		{"localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"},
		{"host.example/a/b__c/d-----e:T.1-2_3", "host.example/a/b__c/d-----e:T.1-2_3", "host.example/a/b__c/d-----e:T.1-2_3"},
		{"[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"},
		{"[fe80::1]/x", "[fe80::1]/x:latest", "[fe80::1]/x:latest"},
		{"Host/x", "Host/x:latest", "Host/x:latest"},
		{"x@sha256:" + hex64, "docker.io/library/x@sha256:" + hex64, "x@sha256:" + hex64},
		{"h.io/x:1@sha256:" + hex64, "h.io/x:1@sha256:" + hex64, "h.io/x:1@sha256:" + hex64},
		{hex64 + ":1", "docker.io/library/" + hex64 + ":1", hex64 + ":1"},
	}
	for _, test := range tests {
		r, err := Parse(test.in)
		if err != nil || r.String() != test.whole || r.Familiar() != test.familiar {
			t.Errorf("Parse(%q) = %q, %q, %v, want %q, %q", test.in, r, r.Familiar(), err, test.whole, test.familiar)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", ":", "/", "@", "a:", "a@", "A", "a b", "a//b", "-a", "a-", "a..b", "a___b", "a.-b", "a/../b", "http://host/x",
		"host.io:/x", "host.io:123456/x", "[::1/x", "[::1%eth0]:5000/x", "[1.2.3.4]/x", "-h.io/x", "h..io/x",
		"x:-a", "x:.a", "x:" + strings.Repeat("a", 129), strings.Repeat("a", 256), hex64,
		"x@sha256:" + hex64[1:], "x@sha256:" + strings.ToUpper(hex64), "x@md5:" + hex64[:32], "x@y@sha256:" + hex64, "a\x00b", "a\n",
	} {
		if r, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", in, r)
		}
	}
}

func TestParsePlace(t *testing.T) {
	tests := []struct{ in, want string }{
		{"nginx", "docker://docker.io/library/nginx:latest"},
		{"docker://nginx:1", "docker://docker.io/library/nginx:1"},
		{"oci:dir", "oci:dir"},
		{"oci:/a/dir:tag", "oci:/a/dir:tag"},
		{"oci-archive:f.tar:host.io/x:1", "oci-archive:f.tar:host.io/x:1"},
		{"docker-archive:f.tar:nginx", "docker-archive:f.tar:docker.io/library/nginx:latest"},
		{"docker-archive:-", "docker-archive:-"},
	}
	for _, test := range tests {
		p, err := ParsePlace(test.in)
		if err != nil || p.String() != test.want {
			t.Errorf("ParsePlace(%q) = %q, %v, want %q", test.in, p, err, test.want)
		}
	}
	for _, in := range []string{"", "oci:", "oci-archive::x", "docker-archive:f:A B", "docker://", "oci:d:a b", "oci:d:\x1b", "docker-archive:f:@\n"} {
		if p, err := ParsePlace(in); err == nil {
			t.Errorf("ParsePlace(%q) = %q, want an error", in, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"nginx", "localhost:5000/x:1", "[::1]:5000/a/b@sha256:" + hex64, "a__b.c-d", "docker.io/library/a/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		for _, again := range []string{r.String(), r.Familiar()} {
			if got, err := Parse(again); err != nil || got != r {
				t.Fatalf("Parse(%q) = %+v, %v, want %+v as from %q", again, got, err, r, s)
			}
		}
	})
}

func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{"nginx", "docker://h.io/x:1", "oci:dir:tag", "docker-archive:f.tar:x:1", "docker-archive:-:@2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlace(s)
		if err != nil {
			return
		}
		if again, err := ParsePlace(p.String()); err != nil || again != p {
			t.Fatalf("ParsePlace(%q) = %+v, %v, want %+v as from %q", p.String(), again, err, p, s)
		}
	})
}

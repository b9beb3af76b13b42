package engine

import (
	"maps"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/network"
)

func TestParseLinks(t *testing.T) {
	tests := []struct {
		text   string
		want   []network.Link
		refuse bool
	}{
		{"", nil, false},
		{" , ", nil, false},
		{"db", []network.Link{{From: "x", To: "db"}}, false},
		{"db:5432/tcp, cache:6379", []network.Link{{From: "x", To: "db", Proto: "tcp", Port: 5432}, {From: "x", To: "cache", Proto: "tcp", Port: 6379}}, false},
		{"log:514/UDP,", []network.Link{{From: "x", To: "log", Proto: "udp", Port: 514}}, false},
		{"rtp:5000-5010/udp", []network.Link{{From: "x", To: "rtp", Proto: "udp", Port: 5000, End: 5010}}, false},
		{"db:0", nil, true},
		{"db:", nil, true},
		{"db:9-8", nil, true},
		{"db:65536", nil, true},
		{"db:80/sctp", nil, true},
		{"db:80/", []network.Link{{From: "x", To: "db", Proto: "tcp", Port: 80}}, false},
		{"*", nil, true},
		{"db cache", nil, true},
		{"db,-", nil, true},
	}
	for _, tt := range tests {
		got, err := parseLinks("x", tt.text)
		if (err != nil) != tt.refuse || !slices.Equal(got, tt.want) {
			t.Errorf("parseLinks(%q) = %v, %v", tt.text, got, err)
		}
		if err != nil && KindOf(err) != Invalid {
			t.Errorf("parseLinks(%q): kind %v", tt.text, KindOf(err))
		}
	}
}

func TestCheckOption(t *testing.T) {
	tests := []struct {
		driver  string
		options map[string]string
		refuse  bool
	}{
		{"", map[string]string{}, false},
		{"bridge", map[string]string{KeyLinks: "declared"}, false},
		{"", map[string]string{KeyLinks: "all"}, false},
		{"", map[string]string{KeyLinks: "declared", "icc": "0"}, false},
		{"", map[string]string{KeyLinks: "declared", "icc": "true"}, true},
		{"", map[string]string{KeyLinks: "all", "com.docker.network.bridge.enable_icc": "false"}, true},
		{"macvlan", map[string]string{KeyLinks: "declared"}, true},
	}
	for _, tt := range tests {
		n := network.Network{Name: "n", Driver: tt.driver, Options: tt.options}
		if err := checkOption(&n); (err != nil) != tt.refuse {
			t.Errorf("checkOption(%q, %v) = %v", tt.driver, tt.options, err)
		}
	}
}

// A label of an image opens nothing: whom a container reaches is for those to say who run it.
func TestImagesDeclareNoLinks(t *testing.T) {
	c := &container.Config{}
	merge(c, &v1.Image{Config: v1.ImageConfig{Labels: map[string]string{KeyLinks: "db", "other": "x"}}})
	if !maps.Equal(c.Labels, map[string]string{"other": "x"}) {
		t.Errorf("labels %v", c.Labels)
	}
}

func TestWhoMayDeclareLinks(t *testing.T) {
	for mode, refuse := range map[container.NetworkMode]bool{"bridge": false, "shop": false, "none": false, "host": true, "container:x": true} {
		r := &Record{Config: &container.Config{Labels: map[string]string{KeyLinks: "db"}}, Host: &container.HostConfig{NetworkMode: mode}}
		if err := checkLinks(r); (err != nil) != refuse {
			t.Errorf("network %s: %v", mode, err)
		}
	}
}

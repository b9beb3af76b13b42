package enginecli

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

func frameOf(stream byte, text string) string {
	n := len(text)
	return string([]byte{stream, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + text
}

func TestFramesGoWhereTheyBelong(t *testing.T) {
	var out, errs bytes.Buffer
	in := frameOf(1, "one ") + frameOf(2, "two") + frameOf(1, "three")
	if err := copyFrames(&out, &errs, strings.NewReader(in)); err != nil || out.String() != "one three" || errs.String() != "two" {
		t.Errorf("copyFrames = %q, %q, %v", &out, &errs, err)
	}
	for _, bad := range []string{"\x01\x00", frameOf(9, "x"), frameOf(1, "xy")[:9]} {
		if err := copyFrames(io.Discard, io.Discard, strings.NewReader(bad)); err == nil {
			t.Errorf("copyFrames(%q) = nil", bad)
		}
	}
	if err := copyFrames(io.Discard, io.Discard, strings.NewReader(frameOf(1, "xy")[:9])); !errors.Is(err, io.EOF) {
		t.Errorf("a frame that ends early is %v", err)
	}
}

func TestPortsAreReadAsDockerDoes(t *testing.T) {
	for text, want := range map[string]string{
		"80":                "80/tcp  ",
		"8080:80":           "80/tcp  8080",
		"53:53/udp":         "53/udp  53",
		"127.0.0.1:8080:80": "80/tcp 127.0.0.1 8080",
		"127.0.0.1::80":     "80/tcp 127.0.0.1 ",
		"[::1]:8080:80":     "80/tcp ::1 8080",
		"8000-8001:80-81":   "80/tcp  8000,81/tcp  8001",
		"8000-8010:80":      "80/tcp  8000-8010",
		"":                  "",
		"a:80":              "",
		"8080:80/icmp":      "",
		"8000-8001:80-82":   "",
		"99999:80":          "",
		"256.0.0.1:80:80":   "",
	} {
		all, err := parsePublish(text)
		var got []string
		for _, p := range all {
			ip := ""
			if p.binding.HostIP != (netip.Addr{}) {
				ip = p.binding.HostIP.String()
			}
			got = append(got, p.port.String()+" "+ip+" "+p.binding.HostPort)
		}
		if s := strings.Join(got, ","); s != want || (err == nil) != (want != "") {
			t.Errorf("parsePublish(%q) = %q, %v; want %q", text, s, err, want)
		}
	}
}

func TestPortsOfBothFamiliesAreShownOnce(t *testing.T) {
	four, six, local := netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::"), netip.MustParseAddr("127.0.0.1")
	got := portsText([]container.PortSummary{
		{IP: four, PrivatePort: 80, PublicPort: 8080, Type: "tcp"},
		{IP: six, PrivatePort: 80, PublicPort: 8080, Type: "tcp"},
		{IP: local, PrivatePort: 81, PublicPort: 8081, Type: "tcp"},
		{PrivatePort: 443, Type: "tcp"},
	})
	if want := "127.0.0.1:8081->81/tcp, 443/tcp, 8080->80/tcp"; got != want {
		t.Errorf("portsText = %q, want %q", got, want)
	}
}

func TestLinesFitTheScreen(t *testing.T) {
	coloured := red + "abc" + plain + "äöü"
	if got := fit(coloured, 4); got != red+"abc"+plain+"ä" {
		t.Errorf("fit = %q", got)
	}
	if got := fit(coloured, 10); got != coloured {
		t.Errorf("fit = %q", got)
	}
	if got := curve([]float64{0, 5, 10}); got != "▁▅█" {
		t.Errorf("curve = %q", got)
	}
	v := &screen{machine: newMachine(), past: map[string][]float64{}}
	v.add([]sample{{ID: "a", Name: "one", State: "running", CPU: 3}, {ID: "b", Name: "two\x1b[2J", State: "running", CPU: 90}})
	lines := v.lines(10, 60)
	if len(lines) != 10 || !strings.Contains(lines[3], "two [2J") {
		t.Errorf("lines = %q", lines)
	}
	for _, l := range lines {
		if fit(l, 60) != l {
			t.Errorf("the line %q is longer than the screen", l)
		}
	}
	if v.order('n'); v.samples[0].Name != "one" {
		t.Errorf("sorted by name: %+v", v.samples)
	}
}

func TestSpansAreInTheirLargestUnit(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "now", time.Second: "1 second", 119 * time.Second: "1 minute", 3 * time.Hour: "3 hours", 50 * time.Hour: "2 days",
	} {
		if got := ago(d); got != want {
			t.Errorf("ago(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestRestartPoliciesAreChecked(t *testing.T) {
	for text, times := range map[string]int{"": 0, "no": 0, "always": 0, "on-failure": 0, "on-failure:3": 3} {
		if p, err := parseRestart(text); err != nil || p.MaximumRetryCount != times {
			t.Errorf("parseRestart(%q) = %+v, %v", text, p, err)
		}
	}
	for _, text := range []string{"never", "always:3", "on-failure:x", "on-failure:-1"} {
		if _, err := parseRestart(text); err == nil {
			t.Errorf("parseRestart(%q) = nil", text)
		}
	}
}

func TestAMachineIsMeasuredByDifferences(t *testing.T) {
	m := &machine{}
	m.cpu("cpu  100 0 100 800 0 0 0 0 0 0\n")
	m.cpu("cpu  150 0 150 900 0 0 0 0 0 0\n")
	m.memory("MemTotal: 1000 kB\nMemAvailable: 400 kB\n")
	if m.busy != 50 || m.used != 600<<10 || m.total != 1000<<10 {
		t.Errorf("machine = %+v", m)
	}
}

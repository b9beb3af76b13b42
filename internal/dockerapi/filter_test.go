package dockerapi

import (
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// FuzzQuery feeds what clients put in requests to those who read it: no value may do harm.
func FuzzQuery(f *testing.F) {
	for _, text := range []string{
		`{"label":["a=b"],"dangling":["true"]}`, `{"label":{"a=b":true}}`, `null`, `[]`, `{"label":null}`, `{"label":[null]}`,
		"1700000000.5", "10m", "2026-01-02T03:04:05.6Z", "2026-01-02", "-1", "1.-5", "99999999999999999999", ".",
		base64.URLEncoding.EncodeToString([]byte(`{"username":"a","password":"b"}`)), "e30=", "====",
		"name@sha256:", "a:b@c", "host:5000/a", "/",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := httptest.NewRequest("GET", "/?"+url.Values{"filters": {text}}.Encode(), nil)
		if filters, err := parseFilters(r, "label", "dangling"); err == nil {
			_, _, _ = filters.bool("dangling")
			filters.labels(map[string]string{"a": "b"})
		}
		_, _ = parseTime(text, time.Now())
		if c, ok, err := credential(text); err != nil && ok {
			t.Errorf("credential(%q) = %v, %v, %v", text, c, ok, err)
		}
		_, _ = parseRef(text, text)
		matchName(text, []string{"a*", text})
	})
}

func TestTimesAreReadAsClientsSendThem(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	for text, want := range map[string]time.Time{
		"1700000000":           time.Unix(1_700_000_000, 0),
		"1700000000.5":         time.Unix(1_700_000_000, 500_000_000),
		"1700000000.000000001": time.Unix(1_700_000_000, 1),
		"10m":                  now.Add(-10 * time.Minute),
		"2026-01-02T03:04:05Z": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("parseTime(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	if _, err := parseTime("soon", now); err == nil {
		t.Error(`parseTime("soon") = nil`)
	}
}

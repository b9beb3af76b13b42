package dockerapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// parseTime reads a time as docker's clients send it: seconds since 1970 with a fraction of up to nine
// digits, a date with or without time and zone, or how long it is ago ("10m").
func parseTime(s string, now time.Time) (time.Time, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	if n, err := strconv.ParseInt(whole, 10, 64); err == nil {
		nano, err := strconv.ParseUint("0"+(fraction + "000000000")[:9], 10, 64)
		if err == nil {
			return time.Unix(n, int64(nano)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02Z07:00", time.DateOnly} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, statusErrorf(http.StatusBadRequest, "%q: want a time: seconds since 1970, a date, or a duration", s)
}

// Package duration reads times as the configuration, the commands and the admin API write them.
package duration

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Day is 24 hours, whatever the clock does.
const Day = 24 * time.Hour

// ErrSyntax is what [Parse] returns for anything else than a duration.
var ErrSyntax = errors.New(`must be a duration such as "90s", "10m", "1h30m" or "365d"`)

// Parse reads a Go duration, or a whole number of days such as "365d". It may be negative. The error is [ErrSyntax].
func Parse(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 64)
		if err != nil || n > int64(math.MaxInt64/Day) || n < -int64(math.MaxInt64/Day) {
			return 0, ErrSyntax
		}
		return time.Duration(n) * Day, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, ErrSyntax
	}
	return d, nil
}

// Format writes d without the units that it has none of: "1h" and "10m", not "1h0m0s".
func Format(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

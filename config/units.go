package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/duration"
)

// span is a duration from low to high, both included; high 0 means no bound.
func span(low, high time.Duration) kind[time.Duration] {
	const want = `a duration such as "90s", "10m", "1h30m" or "365d"`
	return kind[time.Duration]{name: "duration", env: envText, parse: one(func(v any) (time.Duration, error) {
		s, ok := v.(string)
		if !ok {
			return 0, wrongType(want, v)
		}
		d, err := duration.Parse(s)
		switch {
		case err != nil:
			return 0, err
		case d < 0:
			return 0, errors.New("must not be negative")
		case d < low:
			return 0, fmt.Errorf("must be at least %s", duration.Format(low))
		case high > 0 && d > high:
			return 0, fmt.Errorf("must be at most %s", duration.Format(high))
		}
		return d, nil
	})}
}

// size is a number of bytes from low to high, as "16MiB" or a plain number.
func size(low, high int64) kind[int64] {
	return kind[int64]{name: "size", env: envText, parse: one(func(v any) (int64, error) {
		n, ok := v.(int64)
		if s, isText := v.(string); isText {
			n, ok = parseSize(s)
			if !ok {
				return 0, errSize
			}
		}
		switch {
		case !ok:
			return 0, wrongType(`a size such as "16MiB"`, v)
		case n < 0 && low == 0:
			return 0, errors.New("must not be negative")
		case n < low || n > high:
			return 0, fmt.Errorf("must be from %s to %s", formatSize(low), formatSize(high))
		}
		return n, nil
	})}
}

// wholeMiB is a size from 1 MiB to 1 TiB without a fraction of a MiB.
func wholeMiB() kind[int64] {
	k := size(1<<20, 1<<40)
	parse := k.parse
	k.parse = func(v any) (int64, []fault) {
		n, faults := parse(v)
		if faults == nil && n%(1<<20) != 0 {
			faults = []fault{{err: errors.New(`must be a number of MiB, such as "64MiB"`)}}
		}
		return n, faults
	}
	return k
}

var errSize = errors.New(`must be a size such as "512KiB", "16MiB" or a number of bytes`)

// units of sizes, the longest names first: "B" ends all of them.
var units = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15}, {"B", 1}, {"", 1},
}

func parseSize(s string) (int64, bool) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimRight(digits, " "), 10, 63)
		return int64(n) * u.bytes, err == nil && int64(n) <= math.MaxInt64/u.bytes
	}
	return 0, false
}

func formatSize(n int64) string {
	for _, u := range []string{"GiB", "MiB", "KiB"} {
		if unit, _ := parseSize("1" + u); n%unit == 0 {
			return strconv.FormatInt(n/unit, 10) + u
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

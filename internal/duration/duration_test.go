package duration

import (
	"errors"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "365d": 8760 * time.Hour, "-1d": -24 * time.Hour,
		"106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := Parse(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "1", "d", "1.5d", "106752d", "-106752d", "9999999999999999999d", "1d1h", "1 d", "1D", "1w"} {
		if got, err := Parse(s); err == nil || got != 0 {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "0", "90s", "1h30m", "365d", "-1d", "1.5d", "99999999999999d", "106752d", "d", "1d1h", "1e3s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		if err != nil && (d != 0 || !errors.Is(err, ErrSyntax)) {
			t.Errorf("%q: %v, %v", s, d, err)
		}
		if again, err2 := Parse(d.String()); err == nil && (err2 != nil || again != d) {
			t.Errorf("%q: %v is not %v, %v", s, d, again, err2)
		}
	})
}

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m", 61 * time.Second: "1m1s",
		10 * time.Second: "10s", 10 * time.Minute: "10m", time.Millisecond: "1ms", time.Hour + time.Second: "1h0m1s", 20 * time.Hour: "20h",
	} {
		if got := Format(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

package usage

import (
	"errors"
	"fmt"
	"time"
)

// Month is a month of the calendar in UTC.
type Month int32 // since the year 0

// ErrMonth is returned for what is no month.
var ErrMonth = errors.New("a month is written like 2026-11")

// MonthOf is the month in which t is in UTC.
func MonthOf(t time.Time) Month {
	t = t.UTC()
	return Month(12*t.Year() + int(t.Month()) - 1)
}

// ParseMonth reads a month as String writes it. The error wraps [ErrMonth].
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil {
		return 0, fmt.Errorf("%w, not %.40q", ErrMonth, s)
	}
	return MonthOf(t), nil
}

// String writes the month as ISO 8601 does, such as "2026-11", which sorts by time.
func (m Month) String() string { return m.Begin().Format("2006-01") }

// Begin is the first moment of the month.
func (m Month) Begin() time.Time {
	return time.Date(int(m)/12, time.Month(int(m)%12+1), 1, 0, 0, 0, 0, time.UTC)
}

// End is the first moment of the month after it.
func (m Month) End() time.Time { return (m + 1).Begin() }

package dbpool

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// toStored gives a value the form in which the driver gets it: a time becomes text, see timeForm; a bool becomes 1 or
// 0 in SQLite, which has no type for it. The error names the type, never the value.
func toStored(v any) (any, error) {
	stored, _, err := storedAs(v)
	return stored, err
}

// storedAs is toStored, and says whether the form is another one.
func storedAs(in any) (stored any, other bool, err error) {
	switch v := in.(type) {
	case nil, bool, int64, string, []byte:
		return in, false, nil
	case int:
		return int64(v), true, nil
	case float64:
		if math.IsNaN(v) {
			return nil, false, errors.New("not a number (NaN) cannot be stored; use nil for a value that is missing")
		}
		return in, false, nil
	case time.Time:
		if y := v.UTC().Year(); y < 0 || y > 9999 {
			return nil, false, errors.New("a time outside the years 0 to 9999 cannot be stored")
		}
		return formatTime(v), true, nil
	default:
		return nil, false, fmt.Errorf("a value of type %T cannot be stored; use nil, bool, int, int64, float64, string, []byte or time.Time", in)
	}
}

// sizeOf is what a value of an answer counts against the limit of bytes.
func sizeOf(v any) int {
	switch v := v.(type) {
	case string:
		return len(v) + 8
	case []byte:
		return len(v) + 8
	default:
		return 8
	}
}

// timeForm is how a time is stored: RFC 3339, UTC, always nine digits of a second, so that text sorts as time does.
const timeForm = "2006-01-02T15:04:05.000000000Z"

func formatTime(t time.Time) string { return t.UTC().Format(timeForm) }

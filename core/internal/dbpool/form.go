package dbpool

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// form is how a value is sent to a column of a database that has strict types.
type form int

const (
	letters form = iota // a string
	whole               // an int64
	float               // a float64
	truth               // a bool
	octets              // a []byte
	asText              // a string that the database turns into the column's type
)

// of gives a stored value the form, as SQLite would by a column's affinity; what has it already stays. The error says
// what kind of value it is, never which.
func (f form) of(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	switch f {
	case whole:
		return toWhole(v)
	case float:
		return toFloat(v)
	case truth:
		return toTruth(v)
	case octets:
		return toOctets(v)
	default:
		return toText(v)
	}
}

func toText(v any) (any, error) {
	switch s := v.(type) {
	case string:
		if !utf8.ValidString(s) {
			return nil, errors.New("a text that is not UTF-8")
		}
		return v, nil
	case []byte:
		if !utf8.Valid(s) {
			return nil, errors.New("bytes that are no text")
		}
		return string(s), nil
	default:
		return plainText(v), nil
	}
}

// plainText writes a number, or a bool as 1 or 0, as every database of ours reads it.
func plainText(v any) string {
	switch v := v.(type) {
	case bool:
		if v {
			return "1"
		}
		return "0"
	case float64:
		if math.IsInf(v, 0) {
			return strings.TrimPrefix(strconv.FormatFloat(v, 'g', -1, 64), "+") + "inity"
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

func toWhole(v any) (any, error) {
	switch n := v.(type) {
	case int64:
		return v, nil
	case bool:
		if n {
			return int64(1), nil
		}
		return int64(0), nil
	case float64:
		if n == math.Trunc(n) && math.Abs(n) < 1<<63 {
			return int64(n), nil
		}
		return nil, errors.New("a number with a fraction, for a column of whole numbers")
	case string:
		if i, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64); err == nil {
			return i, nil
		}
	}
	return nil, errors.New("a value that is no whole number")
}

func toFloat(v any) (any, error) {
	switch n := v.(type) {
	case float64:
		return v, nil
	case int64:
		return float64(n), nil
	case bool:
		i, err := toWhole(n)
		return float64(i.(int64)), err
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(n), 64); err == nil && !math.IsNaN(f) {
			return f, nil
		}
	}
	return nil, errors.New("a value that is no number")
}

func toTruth(v any) (any, error) {
	switch b := v.(type) {
	case bool:
		return v, nil
	case int64:
		if b == 0 || b == 1 {
			return b == 1, nil
		}
	case string:
		if t, err := strconv.ParseBool(b); err == nil {
			return t, nil
		}
	}
	return nil, errors.New("a value that is neither yes nor no")
}

func toOctets(v any) (any, error) {
	switch b := v.(type) {
	case []byte:
		return v, nil
	case string:
		return []byte(b), nil
	}
	return nil, errors.New("a value that is no bytes")
}

// tooLong says that a text has more letters than its column takes. Blanks at the end do not count: the database drops
// them.
func tooLong(c *column, s string) error {
	if c.most > 0 && len(s) > c.most && utf8.RuneCountInString(strings.TrimRight(s, " ")) > c.most {
		return fmt.Errorf("a text that is longer than the column takes (%d)", c.most)
	}
	return nil
}

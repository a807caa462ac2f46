package main

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hostd/hostd/core/sdk/exam"
)

// kind is what the values of a column are.
type kind int

// Kinds of values.
const (
	kindText    kind = iota
	kindNumber       // a float64
	kindInteger      // an int64
	kindTime         // date and time of day as a clock on the wall shows it: a text, see wallForm
	kindInstant      // a time.Time
	kindDate         // a text YYYY-MM-DD
	kindBytes
	kindEither // a number or a text: of a source, never of a column
	kindAny    // what a look-up gives
)

// String names the kind as `as` does, or as a sentence may.
func (k kind) String() string {
	return [...]string{"text", "number", "integer", "time", "utc", "date", "bytes", "number or text", "anything"}[k]
}

// wallForm is ISO 8601 without a zone, which every database reads in the same way.
const wallForm = "2006-01-02T15:04:05"

// maxWhole is the largest whole number that a float64 has exactly.
const maxWhole = 1 << 53

// converter gives a value the form of its column. An error says what the value is not, and never the value.
type converter func(any) (any, error)

// Errors of converters.
var (
	errNoNumber  = errors.New("is not a number")
	errNoInteger = errors.New("is not a whole number")
	errNoTime    = errors.New("is not a date with a time")
	errNoDate    = errors.New("is not a whole date")
	errNoText    = errors.New("is not a text")
	errNoWord    = errors.New("is not a word of map")
)

// conversion is what `as` says.
type conversion struct {
	kind     kind
	decimals int // of a decimal, else -1
}

// conversions are those that `as` may name, besides decimal.
var conversions = []kind{kindText, kindNumber, kindInteger, kindTime, kindInstant, kindDate}

// asOf reads `as`.
func (c *compiler) asOf(key string, written any) (out conversion, ok bool) {
	text, isText := written.(string)
	if n, found := strings.CutPrefix(text, "decimal("); isText && found {
		if digits, err := strconv.Atoi(strings.TrimSuffix(n, ")")); err == nil && strings.HasSuffix(n, ")") && digits >= 0 && digits <= 9 {
			return conversion{kindNumber, digits}, true
		}
		c.add(key, "must be decimal(0) to decimal(9)")
		return out, false
	}
	var names []string
	for _, k := range conversions {
		if isText && k.String() == text {
			return conversion{k, -1}, true
		}
		names = append(names, k.String())
	}
	c.add(key, "must be one of %s, decimal(2)", strings.Join(names, ", "))
	return out, false
}

// converter makes what turns a value into the kind; nil is nothing.
func (c *compiler) converter(to conversion) converter {
	switch to.kind {
	case kindText:
		return toText
	case kindNumber:
		if to.decimals >= 0 {
			return rounded(to.decimals)
		}
		return toNumber
	case kindInteger:
		return toInteger
	case kindTime:
		return wall(c.zone)
	case kindInstant:
		return instant(c.zone)
	case kindDate:
		return dateOf(c.zone)
	case kindAny:
		return plain
	default:
		return nil
	}
}

func toText(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if clean(v) {
			return any(v), nil
		}
		return text(v), nil
	case float64:
		return exam.Number(v).String(), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case bool:
		return strconv.FormatBool(v), nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case []byte:
		if utf8.Valid(v) {
			return text(string(v)), nil
		}
	}
	return nil, errNoText
}

// plain takes any value that a database gives, and texts as every database takes them.
func plain(v any) (any, error) {
	if s, ok := v.(string); ok && !clean(s) {
		return text(s), nil
	}
	return v, nil
}

// clean says whether every database takes the text as it is.
func clean(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func toNumber(v any) (any, error) {
	switch n := v.(type) {
	case float64:
		return v, nil
	case int64:
		return float64(n), nil
	}
	return parseNumber(v)
}

// parseNumber reads a plain decimal: no exponent, no hexadecimal, no word.
func parseNumber(v any) (any, error) {
	var s string
	switch t := v.(type) {
	case string:
		s = t
	case []byte:
		s = string(t)
	default:
		return nil, errNoNumber
	}
	s = strings.TrimSpace(s)
	digits := !strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != '-' && r != '+' })
	f, err := strconv.ParseFloat(s, 64)
	if !digits || err != nil || math.IsInf(f, 0) {
		return nil, errNoNumber
	}
	return f, nil
}

// rounded rounds to the decimals; a half goes away from zero.
func rounded(decimals int) converter {
	scale := math.Pow10(decimals)
	return func(v any) (any, error) {
		n, err := toNumber(v)
		if err != nil {
			return nil, err
		}
		f := n.(float64)
		if s := f * scale * (1 + 4e-16); math.Abs(s) < maxWhole { // 0.285 is a little less than itself in a float64
			f = math.Round(s) / scale
		}
		if f == 0 {
			f = 0 // and not minus zero
		}
		return f, nil
	}
}

func toInteger(v any) (any, error) {
	if _, ok := v.(int64); ok {
		return v, nil
	}
	n, err := toNumber(v)
	if err != nil {
		return nil, errNoInteger
	}
	f := n.(float64)
	if f != math.Trunc(f) || math.Abs(f) >= maxWhole {
		return nil, errNoInteger
	}
	return int64(f), nil
}

// isoForms are the forms of exam.Exam.TakenAt that name a day, without the zone.
var isoForms = []string{"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02", "2006-01-02 15:04:05.999999999"}

// moment reads a time. One without a zone stands in bare, one with a zone or of the host is shown in zone; a day alone
// begins at midnight.
func moment(v any, bare, zone *time.Location) (time.Time, error) {
	switch v := v.(type) {
	case time.Time:
		return v.In(zone), nil
	case string:
		for _, form := range isoForms {
			if t, err := time.ParseInLocation(form, v, bare); err == nil {
				return t, nil
			}
			if t, err := time.Parse(form+"Z07:00", v); err == nil {
				return t.In(zone), nil
			}
		}
	}
	return time.Time{}, errNoTime
}

// wall makes the time of a clock in zone, with milliseconds where there are any. What has no zone stays as it is, also
// in an hour that the clocks of zone leave out.
func wall(zone *time.Location) converter {
	return func(v any) (any, error) {
		t, err := moment(v, time.UTC, zone)
		if err != nil {
			return nil, err
		}
		form := wallForm
		if t.Nanosecond() >= int(time.Millisecond) {
			form += ".000"
		}
		return t.Format(form), nil
	}
}

func instant(zone *time.Location) converter {
	return func(v any) (any, error) {
		t, err := moment(v, zone, zone)
		if err != nil {
			return nil, err
		}
		return t.UTC(), nil
	}
}

func dateOf(zone *time.Location) converter {
	return func(v any) (any, error) {
		t, err := moment(v, time.UTC, zone)
		if err != nil {
			return nil, errNoDate
		}
		return t.Format(time.DateOnly), nil
	}
}

// words is the converter that `map` makes: what stands for each text.
func words(m map[string]any) converter {
	return func(v any) (any, error) {
		s, err := toText(v)
		if err != nil {
			return nil, errNoWord
		}
		word, ok := m[s.(string)]
		if !ok {
			return nil, errNoWord
		}
		return word, nil
	}
}

// constant is a value that stands in the configuration.
func (c *compiler) constant(key string, written any) (v any, k kind, ok bool) {
	switch w := written.(type) {
	case string:
		return text(w), kindText, true
	case json.Number:
		if n, err := strconv.ParseInt(w.String(), 10, 64); err == nil && n < maxWhole && n > -maxWhole {
			return n, kindInteger, true
		}
		if f, err := strconv.ParseFloat(w.String(), 64); err == nil && !math.IsInf(f, 0) {
			return f, kindNumber, true
		}
	}
	c.add(key, "must be a text or a number; for yes and no write what the column has, such as 1 or 'Y'")
	return nil, 0, false
}

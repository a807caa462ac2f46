package logs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sirupsen/logrus"
)

// Limits of a line.
const (
	maxLine   = 64 << 10 // bytes, with its end
	maxFields = 64
	maxKey    = 64 // bytes
	cutMark   = "..."
)

func formatOf(word string) (logrus.Formatter, error) {
	switch word {
	case "text":
		return &logrus.TextFormatter{
			DisableColors: true, FullTimestamp: true, TimestampFormat: timeFormat, QuoteEmptyFields: true,
			SortingFunc: func(keys []string) { slices.SortStableFunc(keys, byRank) },
		}, nil
	case "json":
		return &logrus.JSONFormatter{TimestampFormat: timeFormat, DisableHTMLEscape: true}, nil
	default:
		return nil, fmt.Errorf("open log: %w: format %q; text and json are known", ErrLevel, word)
	}
}

// byRank puts the fixed fields first, then component, device and sink, then the others by name.
func byRank(a, b string) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

func rank(key string) int {
	at := slices.Index([]string{logrus.FieldKeyTime, logrus.FieldKeyLevel, logrus.FieldKeyMsg, fieldComponent, fieldDevice, fieldSink}, key)
	if at < 0 {
		return maxFields
	}
	return at
}

// lineFormatter is the last step before a line is written: it masks, tidies and cuts, whatever came before it.
type lineFormatter struct{ inner logrus.Formatter }

// Format makes the line. The entry is the logger's own copy.
func (f *lineFormatter) Format(e *logrus.Entry) ([]byte, error) {
	e.Message = Mask(e.Message)
	e.Data = tidy(e.Data)
	line, err := f.inner.Format(e)
	for limit := maxLine / 2; err == nil && len(line) > maxLine && limit >= maxKey; limit /= 2 {
		e.Message = cut(e.Message, limit)
		for k, v := range e.Data {
			if s, ok := v.(string); ok {
				e.Data[k] = cut(s, limit)
			}
		}
		if e.Buffer != nil {
			e.Buffer.Reset()
		}
		line, err = f.inner.Format(e)
	}
	return line, err
}

// tidy gives fields with masked values, keys that cannot break a line, and not too many of them.
func tidy(data logrus.Fields) logrus.Fields {
	out := make(logrus.Fields, min(len(data), maxFields+1))
	for i, k := range slices.SortedFunc(maps.Keys(data), byRank) {
		if i == maxFields {
			out["left_out"] = len(data) - maxFields
			break
		}
		out[tidyKey(k)] = maskAny(data[k])
	}
	return out
}

// tidyKey replaces what logrus would write as it is.
func tidyKey(key string) string {
	key = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("_.-/", r):
			return r
		}
		return '_'
	}, Mask(key))
	return key[:min(len(key), maxKey)]
}

// cut shortens a text to the limit in bytes, at a letter.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit - len(cutMark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + cutMark
}

// maskAny masks a text, and a number that has the form of what is masked.
func maskAny(v any) any {
	switch x := v.(type) {
	case string:
		return Mask(x)
	case int64:
		return maskNumber(v, strconv.FormatInt(x, 10))
	case uint64:
		return maskNumber(v, strconv.FormatUint(x, 10))
	case float64:
		return maskNumber(v, strconv.FormatFloat(x, 'f', -1, 64))
	case bool, int:
		return v
	default:
		return Mask(fmt.Sprint(v))
	}
}

func maskNumber(v any, text string) any {
	if m := Mask(text); m != text {
		return m
	}
	return v
}

package sdk

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// origin says how a value is written: a decoder of JSON or YAML gives typed values, a tag only text.
type origin int

const (
	fromDecoder origin = iota
	fromText
)

// parse makes the Go value of a setting: string, bool, int64, float64, time.Duration, []string or map[string]string; of a
// block or a tree a map[string]any, and of blocks a []any, whose contents are not looked at. A text says what is wrong,
// without the value.
func (s *Setting) parse(v any, from origin) (value any, text string) {
	if v == nil {
		return nil, "is empty: write a value, or leave the key out"
	}
	switch s.Type {
	case TypeString:
		return s.parseString(v)
	case TypeBool:
		return parseBool(v, from)
	case TypeInt, TypeFloat:
		return s.parseNumber(v, from)
	case TypeDuration:
		return s.parseDuration(v)
	case TypeList:
		return parseList(v, from)
	case TypeMap:
		return parseMap(v)
	case TypeBlock, TypeTree:
		if m := asBlock(v); m != nil {
			return m, ""
		}
		return nil, mustBeBlock
	case TypeBlocks:
		return s.parseBlocks(v)
	}
	return nil, fmt.Sprintf("the plugin describes it as %q, which this host does not know", string(s.Type))
}

func (s *Setting) parseString(v any) (any, string) {
	t, ok := v.(string)
	switch {
	case !ok:
		return nil, "must be text: write it in quotes"
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, t):
		return nil, "must be one of " + strings.Join(s.Enum, ", ")
	case s.Required && t == "":
		return nil, "must not be empty"
	}
	return t, ""
}

func parseBool(v any, from origin) (any, string) {
	if b, ok := v.(bool); ok {
		return b, ""
	}
	if t, ok := v.(string); ok && from == fromText {
		if b, err := strconv.ParseBool(t); err == nil {
			return b, ""
		}
	}
	return nil, "must be true or false"
}

func (s *Setting) parseNumber(v any, from origin) (any, string) {
	what := "a number"
	if s.Type == TypeInt {
		what = "a whole number"
	}
	n, ok := number(v, from)
	if !ok || (s.Type == TypeInt && (n != math.Trunc(n) || math.Abs(n) >= 1<<53)) {
		return nil, "must be " + what + s.inUnit()
	}
	if text := s.inBounds(n, func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }); text != "" {
		return nil, text
	}
	if s.Type == TypeInt {
		return int64(n), ""
	}
	return n, ""
}

// number takes what decoders give for numbers.
func number(v any, from origin) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case float64:
		return n, !math.IsNaN(n) && !math.IsInf(n, 0)
	case json.Number:
		return number(n.String(), fromText)
	case string:
		f, err := strconv.ParseFloat(n, 64)
		return f, err == nil && from == fromText && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	return 0, false
}

func (s *Setting) parseDuration(v any) (any, string) {
	t, ok := v.(string)
	if !ok {
		return nil, `must be a time with its unit: write for example "5s"`
	}
	d, err := time.ParseDuration(t)
	if err != nil {
		return nil, `must be a time with its unit: write for example "5s"`
	}
	seconds := func(f float64) string { return time.Duration(f * float64(time.Second)).String() }
	if text := s.inBounds(d.Seconds(), seconds); text != "" {
		return nil, text
	}
	return d, ""
}

func parseList(v any, from origin) (any, string) {
	if t, ok := v.(string); ok && from == fromText {
		return strings.Split(t, ","), ""
	}
	list, ok := v.([]any)
	if !ok {
		if texts, ok := v.([]string); ok {
			return texts, ""
		}
		return nil, "must be a list of texts: write [one, two]"
	}
	texts := make([]string, len(list))
	for i, e := range list {
		if texts[i], ok = e.(string); !ok {
			return nil, "must be a list of texts: write each in quotes"
		}
	}
	return texts, ""
}

func parseMap(v any) (any, string) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, "must be a map of texts: write {name: text}"
	}
	texts := make(map[string]string, len(m))
	for k, e := range m {
		t, ok := e.(string)
		if !ok {
			return nil, "must be a map of texts: write each value in quotes"
		}
		texts[k] = t
	}
	return texts, ""
}

const mustBeBlock = "must be a block: write its keys below it, each with its value"

func (s *Setting) parseBlocks(v any) (any, string) {
	list, ok := v.([]any)
	switch {
	case !ok:
		return nil, "must be a list of blocks: begin each with a dash"
	case s.Required && len(list) == 0:
		return nil, "must not be empty"
	}
	return list, ""
}

// asBlock is v where it is a map, else nil.
func asBlock(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// asList is v where it is a list, else nil.
func asList(v any) []any {
	l, _ := v.([]any)
	return l
}

func (s *Setting) inUnit() string {
	if s.Unit == "" {
		return ""
	}
	return " (" + s.Unit + ")"
}

func (s *Setting) inBounds(n float64, show func(float64) string) string {
	switch {
	case s.Min != nil && s.Max != nil && (n < *s.Min || n > *s.Max):
		return "must be " + show(*s.Min) + " to " + show(*s.Max) + s.inUnit()
	case s.Min != nil && n < *s.Min:
		return "must be at least " + show(*s.Min) + s.inUnit()
	case s.Max != nil && n > *s.Max:
		return "must be at most " + show(*s.Max) + s.inUnit()
	}
	return ""
}

package mapped

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// JSON reads a JSON file: it is one exam, or holds a list of exams where the mapping says so.
func JSON(data []byte, m *Mapping, opt Options) (*Reader, *exam.Reject) {
	t, reject := open(data, opt, true)
	switch {
	case reject != nil:
		return nil, reject
	case !json.Valid(t.body):
		return nil, t.reject(exam.RejectMalformed, "not JSON, or cut off")
	}
	root := bytes.TrimSpace(t.body)
	if m.Items == "" {
		done := false
		return &Reader{next: func() (Item, bool) {
			if done {
				return Item{}, false
			}
			done = true
			i := t.item(m, valueIn(root), 0, len(t.body))
			return i, true
		}}, nil
	}
	list := root
	if m.Items != "." {
		list = find(root, m.Items)
	}
	if len(list) == 0 || list[0] != '[' {
		return nil, t.reject(exam.RejectMalformed, "there is no list at items in map")
	}
	rest, from := inside(list), 0
	return &Reader{next: func() (Item, bool) {
		if len(rest) == 0 {
			return Item{}, false
		}
		n := skip(rest)
		from = cap(t.body) - cap(rest)
		item := t.item(m, valueIn(rest[:n]), from, from+n)
		rest = behind(rest[n:])
		return item, true
	}}, nil
}

// valueIn finds texts and numbers in an element by their path.
func valueIn(element []byte) func(place string) string {
	return func(place string) string {
		v := find(element, place)
		switch {
		case len(v) == 0 || v[0] == '{' || v[0] == '[' || string(v) == "null":
			return ""
		case v[0] == '"':
			return unescape(v)
		}
		return string(v)
	}
}

func unescape(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "" // it was valid
	}
	return s
}

// The functions below walk through valid JSON without making anything of it.

// find is the value at a path in a value, or nil.
func find(v []byte, path string) []byte {
	for path != "" && len(v) > 0 {
		var name string
		name, path, _ = strings.Cut(path, ".")
		switch v[0] {
		case '{':
			v = member(v, name)
		case '[':
			v = element(v, name)
		default:
			return nil
		}
	}
	return v
}

func member(object []byte, name string) []byte {
	for rest := inside(object); len(rest) > 0; {
		n := skip(rest)
		key := rest[:n]
		rest = blank(rest[n:])[1:] // the colon
		rest = blank(rest)
		n = skip(rest)
		if unescape(key) == name {
			return rest[:n]
		}
		rest = behind(rest[n:])
	}
	return nil
}

func element(list []byte, name string) []byte {
	at, ok := number(name)
	if !ok {
		return nil
	}
	for rest := inside(list); len(rest) > 0; at-- {
		n := skip(rest)
		if at == 0 {
			return rest[:n]
		}
		rest = behind(rest[n:])
	}
	return nil
}

// inside is what stands in an object or list, from its first value on; empty where there is none.
func inside(v []byte) []byte {
	v = blank(v[1:])
	if v[0] == '}' || v[0] == ']' {
		return nil
	}
	return v
}

// behind is what follows the comma at the start of v, or empty at the end of the object or list.
func behind(v []byte) []byte {
	if v = blank(v); len(v) == 0 || v[0] != ',' {
		return nil
	}
	return blank(v[1:])
}

func blank(v []byte) []byte { return bytes.TrimLeft(v, " \t\r\n") }

// skip is the length of the value at the start of v.
func skip(v []byte) int {
	depth := 0
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '"':
			for i++; v[i] != '"'; i++ {
				if v[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i
			}
		case depth == 0 && strings.IndexByte(", \t\r\n:", c) >= 0:
			return i
		}
	}
	return len(v)
}

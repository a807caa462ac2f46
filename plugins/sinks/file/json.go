package main

import "unicode/utf8"

// maxDepth bounds the nesting that validLine follows; encoding/json gives up at 10,000.
const maxDepth = 256

// plain are the bytes that stand in a JSON string as they are: all but the controls, the quote and the backslash.
// Bytes above 0x7f are parts of UTF-8, which is checked apart.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

// validLine says whether b can stand in a line as it is: one JSON object or array (RFC 8259) from its first byte to its
// last, UTF-8, without a newline or carriage return.
//
// It is the whole grammar and no guess, so what it lets through can neither end the line nor change how the rest of the
// line reads: strings hold no raw controls, and between tokens only blank and tab are taken. It says no to some valid
// JSON (pretty-printed, a bare number, very deep), which is then kept as a string: that is correct, too. It takes about
// a third of the time of json.Valid.
func validLine(b []byte) bool {
	if len(b) < 2 || b[0] != '{' && b[0] != '[' || !utf8.Valid(b) {
		return false
	}
	return value(b, 0, 0) == len(b)
}

// value reads one value at b[i] and returns the index after it, or -1. So do the functions below.
func value(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '{':
		return object(b, i+1, depth+1)
	case '[':
		return array(b, i+1, depth+1)
	case '"':
		return quoted(b, i+1)
	case 't':
		return word(b, i, "true")
	case 'f':
		return word(b, i, "false")
	case 'n':
		return word(b, i, "null")
	}
	return number(b, i)
}

func object(b []byte, i, depth int) int {
	if depth > maxDepth {
		return -1
	}
	i = blank(b, i)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for i < len(b) && b[i] == '"' {
		if i = quoted(b, i+1); i < 0 {
			return -1
		}
		if i = blank(b, i); i >= len(b) || b[i] != ':' {
			return -1
		}
		if i = value(b, blank(b, i+1), depth); i < 0 {
			return -1
		}
		if i = blank(b, i); i >= len(b) {
			return -1
		}
		if b[i] == '}' {
			return i + 1
		}
		if b[i] != ',' {
			return -1
		}
		i = blank(b, i+1)
	}
	return -1
}

func array(b []byte, i, depth int) int {
	if depth > maxDepth {
		return -1
	}
	i = blank(b, i)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = value(b, i, depth); i < 0 {
			return -1
		}
		if i = blank(b, i); i >= len(b) {
			return -1
		}
		if b[i] == ']' {
			return i + 1
		}
		if b[i] != ',' {
			return -1
		}
		i = blank(b, i+1)
	}
}

// quoted reads a string whose opening quote is before i.
func quoted(b []byte, i int) int {
	for i < len(b) {
		if plain[b[i]] {
			i++
			continue
		}
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			if i = escape(b, i+1); i < 0 {
				return -1
			}
		default:
			return -1
		}
	}
	return -1
}

func escape(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if i+5 > len(b) {
			return -1
		}
		for _, c := range b[i+1 : i+5] {
			if !digit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return -1
			}
		}
		return i + 5
	}
	return -1
}

func number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = digits(b, i); i < 0 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = digits(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digits(b, i)
	}
	return i
}

// digits reads one or more.
func digits(b []byte, i int) int {
	from := i
	for i < len(b) && digit(b[i]) {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func word(b []byte, i int, w string) int {
	if len(b)-i < len(w) || string(b[i:i+len(w)]) != w {
		return -1
	}
	return i + len(w)
}

func blank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	return i
}

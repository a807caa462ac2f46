package xmlexam

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf8"
)

const blanks = " \t\r\n"

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func skipBlanks(b []byte, at int) int {
	for at < len(b) && isBlank(b[at]) {
		at++
	}
	return at
}

// plainDoctype allows quoted identifiers, but no internal subset and no tag.
func plainDoctype(b []byte) bool {
	return !bytes.ContainsAny(b, "[<") && bytes.Count(b, []byte(`"`))%2 == 0 && bytes.Count(b, []byte("'"))%2 == 0
}

// nameAt is the name at the start of b, with at most one colon, or nil.
func nameAt(b []byte) []byte {
	colons, i := 0, 0
	for i < len(b) {
		c := b[i]
		size := 1
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case c == ':':
			colons++
		case i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.'):
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(b[i:])
			if !letter(r) {
				return nil
			}
			size = n
		default:
			return finishName(b[:i], colons)
		}
		i += size
	}
	return finishName(b, colons)
}

// letter allows the letters of Latin, kana, Han and Hangul: those that XML 1.0 has in names, and that a maker may use.
func letter(r rune) bool {
	return r >= 0xc0 && r <= 0x131 && r != 0xd7 && r != 0xf7 || r >= 0x3041 && r <= 0x3094 || r >= 0x30a1 && r <= 0x30fa ||
		r >= 0x4e00 && r <= 0x9fa5 || r >= 0xac00 && r <= 0xd7a3
}

func finishName(name []byte, colons int) []byte {
	if len(name) == 0 || colons > 1 {
		return nil
	}
	return name
}

// attributes passes over attributes from src[at] to the '>' or '/>' of the tag and returns where that stands; each, if
// not nil, is told every name and raw value and stops the walk by returning false.
func attributes(src []byte, at int, each func(name, value []byte) bool) (end int, ok bool) {
	for {
		at = skipBlanks(src, at)
		if at == len(src) {
			return 0, false
		}
		if src[at] == '>' || src[at] == '/' && at+1 < len(src) && src[at+1] == '>' {
			return at, true
		}
		name := nameAt(src[at:])
		if name == nil {
			return 0, false
		}
		at = skipBlanks(src, at+len(name))
		if at == len(src) || src[at] != '=' {
			return 0, false
		}
		at = skipBlanks(src, at+1)
		if at == len(src) || src[at] != '"' && src[at] != '\'' {
			return 0, false
		}
		n := bytes.IndexByte(src[at+1:], src[at])
		if n < 0 {
			return 0, false
		}
		value := src[at+1 : at+1+n]
		if bytes.IndexByte(value, '<') >= 0 || !legal(value) || !entities(value) {
			return 0, false
		}
		at += n + 2
		if each != nil && !each(name, value) {
			return at, true
		}
	}
}

// legal says whether b holds only characters of XML 1.0 section 2.2; b is UTF-8.
func legal(b []byte) bool {
	for i, c := range b {
		switch {
		case c < 0x20 && !isBlank(c):
			return false
		case c == 0xef && i+2 < len(b) && b[i+1] == 0xbf && b[i+2] >= 0xbe: // U+FFFE, U+FFFF
			return false
		}
	}
	return true
}

// entities says whether every & in b begins one of the five entities of XML or a character by its number.
func entities(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '&')
		if i < 0 {
			return true
		}
		_, n := entity(b[i:])
		if n == 0 {
			return false
		}
		b = b[i+n:]
	}
}

// maxEntity is the longest entity worth reading: &#x10FFFF; with zeros before it.
const maxEntity = 16

// entity reads the entity at the start of b: its character and length, or 0, 0.
func entity(b []byte) (rune, int) {
	end := bytes.IndexByte(b[:min(len(b), maxEntity)], ';')
	if end < 2 {
		return 0, 0
	}
	switch string(b[1:end]) {
	case "lt":
		return '<', end + 1
	case "gt":
		return '>', end + 1
	case "amp":
		return '&', end + 1
	case "apos":
		return '\'', end + 1
	case "quot":
		return '"', end + 1
	}
	if b[1] != '#' {
		return 0, 0
	}
	digits, base := b[2:end], 10
	if len(digits) > 0 && digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(string(digits), base, 32)
	if err != nil || !isChar(rune(n)) {
		return 0, 0
	}
	return rune(n), end + 1
}

func isChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd ||
		r >= 0x10000 && r <= unicode.MaxRune
}

// unescape makes text of an element's content: entities become characters, character data stay, comments and processing
// instructions go. The content was parsed before.
func unescape(b []byte) string {
	if bytes.IndexByte(b, '&') < 0 && bytes.IndexByte(b, '<') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		switch {
		case b[0] == '&':
			r, n := entity(b)
			if n == 0 {
				return string(out)
			}
			out, b = utf8.AppendRune(out, r), b[n:]
		case bytes.HasPrefix(b, []byte("<![CDATA[")):
			var body []byte
			body, b, _ = bytes.Cut(b[len("<![CDATA["):], []byte("]]>"))
			out = append(out, body...)
		case bytes.HasPrefix(b, []byte("<!--")):
			_, b, _ = bytes.Cut(b[len("<!--"):], []byte("-->"))
		case b[0] == '<':
			_, b, _ = bytes.Cut(b, []byte("?>"))
		default:
			n := bytes.IndexAny(b, "&<")
			if n < 0 {
				n = len(b)
			}
			out, b = append(out, b[:n]...), b[n:]
		}
	}
	return string(out)
}

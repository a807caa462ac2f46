package textenc

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// sniffUTF16 tells UTF-16 by its mark or by a first character of ASCII: order is utf-16le, utf-16be or empty, bom the
// length of the mark.
func sniffUTF16(data []byte) (order string, bom int) {
	if len(data) < 2 {
		return "", 0
	}
	switch a, b := data[0], data[1]; {
	case a == 0xff && b == 0xfe:
		return "utf-16le", 2
	case a == 0xfe && b == 0xff:
		return "utf-16be", 2
	case b == 0 && opensXML(a):
		return "utf-16le", 0
	case a == 0 && opensXML(b):
		return "utf-16be", 0
	}
	return "", 0
}

func opensXML(c byte) bool { return c == '<' || c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// fromUTF16 transcodes strictly: half a pair of surrogates and half a character are errors.
func fromUTF16(body []byte, order string) (Text, error) {
	hi := 0 // where a unit's high byte stands
	if order == "utf-16le" {
		hi = 1
	}
	size, ok := utf16Size(body, hi)
	if !ok {
		return Text{}, fmt.Errorf("decode text: %w", ErrUndecodable)
	}
	out := make([]byte, 0, size)
	for i := 0; i < len(body); i += 2 {
		r := unit(body, i, hi)
		if utf16.IsSurrogate(r) {
			i += 2
			r = utf16.DecodeRune(r, unit(body, i, hi))
		}
		out = utf8.AppendRune(out, r)
	}
	text := Text{UTF8: out, Charset: order}
	if from, to := label(out); from != to {
		switch name := normalize(string(out[from:to])); name {
		case "utf-16", order:
		default:
			text.Mislabelled = true
		}
		text.UTF8 = blankLabel(out, false)
	}
	return text, nil
}

func unit(body []byte, i, hi int) rune { return rune(body[i+hi])<<8 | rune(body[i+1-hi]) }

// utf16Size is how many bytes of UTF-8 body becomes, so that nothing has to grow.
func utf16Size(body []byte, hi int) (size int, ok bool) {
	if len(body)%2 != 0 {
		return 0, false
	}
	for i := 0; i < len(body); i += 2 {
		r := unit(body, i, hi)
		if utf16.IsSurrogate(r) {
			if i += 2; i == len(body) {
				return 0, false
			}
			if r = utf16.DecodeRune(r, unit(body, i, hi)); r == utf8.RuneError {
				return 0, false
			}
		}
		size += utf8.RuneLen(r)
	}
	return size, true
}

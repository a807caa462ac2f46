package hl7

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/protocols/textenc"
)

// Text decodes a part of the message, as the views give it: its escapes (HL7 v2.5.1 section 2.7), and its character set
// (MSH-18, or what Options say). A raw line end in it becomes \n; an unknown escape stays as it is. The error is
// textenc.ErrUndecodable.
func (m *Message) Text(raw []byte) (string, error) {
	var memory []byte
	return m.text(raw, &memory)
}

// text is Text with memory that is used again for short texts.
func (m *Message) text(raw []byte, memory *[]byte) (string, error) {
	if m.isPlain(raw) {
		return string(raw), nil
	}
	b := raw
	if bytes.IndexByte(raw, m.d.Escape) >= 0 {
		b = m.d.unescape(raw)
	}
	text, err := m.set.decode(b, memory)
	if err != nil {
		return "", fmt.Errorf("decode text: %w", err)
	}
	if strings.IndexByte(text, '\r') >= 0 {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	return text, nil
}

// isPlain says whether raw is what it means: ASCII without escapes and line ends.
func (m *Message) isPlain(raw []byte) bool {
	for _, c := range raw {
		if c >= 0x80 || c == m.d.Escape || c == esc || c == '\r' {
			return false
		}
	}
	return true
}

// unescape expands the escapes of b into the character set of the message. The result is not longer than b.
func (d Delimiters) unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for {
		i := d.index(b, d.Escape)
		if i < 0 {
			return append(out, b...)
		}
		out = append(out, b[:i]...)
		b = b[i+1:]
		j := d.index(b, d.Escape)
		if j < 0 {
			return append(append(out, d.Escape), b...)
		}
		expanded, ok := d.expand(out, b[:j])
		if !ok { // the mark behind it may begin the next escape
			out = append(append(out, d.Escape), b[:j]...)
			b = b[j:]
			continue
		}
		out = expanded
		if b[0] == 'M' {
			out, b = copyWide(out, b[j+1:], d.Escape)
		} else {
			b = b[j+1:]
		}
	}
}

// copyWide copies the two-byte characters behind a designation, in which an escape character is no mark.
func copyWide(out, b []byte, escape byte) (copied, rest []byte) {
	if set, n := designationAt(out[bytes.LastIndexByte(out, esc):]); n == 0 || !set.wide || set.right {
		return out, b
	}
	i := 0
	for i+1 < len(b) && b[i] != escape && b[i] > ' ' {
		i += 2
	}
	return append(out, b[:i]...), b[i:]
}

// expand appends what the escape seq stands for.
func (d Delimiters) expand(out, seq []byte) ([]byte, bool) {
	if len(seq) == 0 {
		return out, false
	}
	if len(seq) > 1 {
		switch seq[0] {
		case 'X':
			return appendHex(out, seq[1:])
		case 'C', 'M':
			if len(seq) != 5 && len(seq) != 7 {
				return out, false
			}
			return appendHex(append(out, esc), seq[1:])
		case '.':
			return d.format(out, strings.ToLower(string(seq[1:min(len(seq), 8)])), len(seq))
		}
		return out, false
	}
	switch seq[0] {
	case 'F':
		return append(out, d.Field), true
	case 'S':
		return append(out, d.Component), true
	case 'T':
		return append(out, d.Subcomponent), true
	case 'R':
		return append(out, d.Repetition), true
	case 'E':
		return append(out, d.Escape), true
	case 'P':
		return append(out, d.Truncation), true
	case 'H', 'N': // highlighting on and off
		return out, true
	}
	return out, false
}

func appendHex(out, digits []byte) ([]byte, bool) {
	n := len(out)
	out = append(out, make([]byte, hex.DecodedLen(len(digits)))...)
	if _, err := hex.Decode(out[n:], digits); err != nil {
		return out[:n], false
	}
	return out, true
}

// format expands .br and .sp n; at most as many lines as the escape has characters.
func (d Delimiters) format(out []byte, word string, most int) ([]byte, bool) {
	count := 1
	if number, ok := strings.CutPrefix(word, "sp"); ok {
		if number = strings.TrimLeft(number, " +"); number != "" {
			n, err := strconv.Atoi(number)
			if err != nil || n < 0 {
				return out, false
			}
			count = n
		}
	} else if word != "br" {
		return out, false
	}
	return append(out, bytes.Repeat([]byte{'\n'}, min(count, most))...), true
}

// appendEscaped writes text between delimiters: they are escaped, and what is no printable ASCII becomes a question mark.
func (d Delimiters) appendEscaped(dst []byte, text string) []byte {
	for i := range len(text) {
		c := text[i]
		name := byte(0)
		switch c {
		case d.Field:
			name = 'F'
		case d.Component:
			name = 'S'
		case d.Subcomponent:
			name = 'T'
		case d.Repetition:
			name = 'R'
		case d.Escape:
			name = 'E'
		}
		switch {
		case name != 0:
			dst = append(dst, d.Escape, name, d.Escape)
		case c < ' ' || c > '~':
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// maxShort is the length of a text up to which the memory for it is used again, in bytes.
const maxShort = 4 << 10

// decode makes UTF-8 of bytes in the character set.
func (c charset) decode(b []byte, memory *[]byte) (string, error) {
	if bytes.IndexByte(b, esc) >= 0 {
		return c.decodeISO2022(b)
	}
	if len(b) > maxShort {
		return textenc.String(c.page, b)
	}
	text, err := textenc.Append((*memory)[:0], c.page, b)
	*memory = text
	return string(text), err
}

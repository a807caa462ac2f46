package hl7

import (
	"bytes"
	"iter"
)

// Delimiters are the characters that MSH-1 and MSH-2 declare (HL7 v2.5.1 section 2.5.4). One that MSH-2 leaves out is the
// recommended one.
type Delimiters struct {
	Field, Component, Repetition, Escape, Subcomponent byte
	Truncation                                         byte // HL7 v2.7: the fifth of MSH-2, else #

	shift shift
}

// shift says how bytes that look like delimiters may be parts of characters.
type shift byte

const (
	plain   shift = iota // never
	double               // the byte behind one of 0x81 and up: GBK, GB 18030, Big5
	sjis                 // the same, but for one-byte katakana
	iso2022              // between ESC $ B and ESC ( B
)

func delimitersOf(b []byte) (Delimiters, error) {
	d := Delimiters{Component: '^', Repetition: '~', Escape: '\\', Subcomponent: '&', Truncation: '#'}
	if len(b) >= 3 && (string(b[:3]) == "FHS" || string(b[:3]) == "BHS") {
		return d, ErrBatch
	}
	if len(b) < 5 || string(b[:3]) != "MSH" || !isDelimiter(b[3]) || isEnd(b[4]) {
		return d, ErrNotHL7
	}
	d.Field = b[3]
	for i, into := range []*byte{&d.Component, &d.Repetition, &d.Escape, &d.Subcomponent, &d.Truncation} {
		if len(b) <= 4+i || b[4+i] == d.Field || !isDelimiter(b[4+i]) {
			break
		}
		*into = b[4+i]
	}
	return d, nil
}

// isDelimiter says whether c may be one: a printable character of ASCII that is no letter, digit or blank.
func isDelimiter(c byte) bool {
	return c > ' ' && c < 0x7f && !isUpper(c) && !isDigit(c) && (c < 'a' || c > 'z')
}

// cut splits b at the first sep that is no part of a character. more says that there was one.
func (d Delimiters) cut(b []byte, sep byte) (head, rest []byte, more bool) {
	i := d.index(b, sep)
	if i < 0 {
		return b, nil, false
	}
	return b[:i:i], b[i+1:], true
}

// index is bytes.IndexByte where a delimiter may be a part of a character.
func (d Delimiters) index(b []byte, sep byte) int {
	if d.shift != plain {
		return d.indexWide(b, sep)
	}
	const short = 16 // a call costs more than so many bytes
	for i, c := range b[:min(len(b), short)] {
		if c == sep {
			return i
		}
	}
	if len(b) <= short {
		return -1
	}
	if i := bytes.IndexByte(b[short:], sep); i >= 0 {
		return short + i
	}
	return -1
}

func (d Delimiters) indexWide(b []byte, sep byte) int {
	wide := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case d.shift == double && c >= 0x81, d.shift == sjis && (c >= 0x81 && c < 0xa0 || c >= 0xe0):
			i++
		case d.shift == iso2022 && c == esc:
			if set, n := designationAt(b[i:]); n > 0 {
				wide = wide && set.right || !set.right && set.page != ""
				i += n - 1
			}
		case c == sep && !wide:
			return i
		}
	}
	return -1
}

// nth is the part n of b, from 1, or nil.
func (d Delimiters) nth(b []byte, sep byte, n int) []byte {
	if b == nil || n < 1 {
		return nil
	}
	for {
		head, rest, more := d.cut(b, sep)
		if n--; n == 0 {
			return head
		}
		if !more {
			return nil
		}
		b = rest
	}
}

// Segment is a view of one segment, with what belongs to it.
type Segment struct {
	raw []byte
	d   Delimiters
}

// Bytes is the segment as sent, without its line end.
func (s Segment) Bytes() []byte { return s.raw }

// ID is its name: MSH, PID, OBX.
func (s Segment) ID() []byte { return s.raw[:3] }

// Is says whether it has the name id.
func (s Segment) Is(id string) bool { return string(s.raw[:3]) == id }

// Broken says that its value goes over several lines.
func (s Segment) Broken() bool {
	return bytes.IndexByte(s.raw, '\r') >= 0 || bytes.IndexByte(s.raw, '\n') >= 0
}

// body is what stands behind the name and the separator; nil where there is nothing.
func (s Segment) body() []byte {
	if len(s.raw) < 4 {
		return nil
	}
	return s.raw[4:]
}

// isHeader says whether field 1 is the separator itself.
func (s Segment) isHeader() bool { return s.Is("MSH") }

// Field is the field n, from 1. MSH-1 is the separator, MSH-2 the other delimiters.
func (s Segment) Field(n int) Field {
	if !s.isHeader() {
		return Field{s.d.nth(s.body(), s.d.Field, n), s.d}
	}
	if n == 1 {
		return Field{s.raw[3:4:4], s.d}
	}
	return Field{s.d.nth(s.body(), s.d.Field, n-1), s.d}
}

// Fields goes through the fields with their numbers.
func (s Segment) Fields() iter.Seq2[int, Field] {
	return func(yield func(int, Field) bool) {
		n, rest, more := 1, s.body(), len(s.raw) > 3
		if s.isHeader() {
			if !yield(1, s.Field(1)) {
				return
			}
			n = 2
		}
		if s.d.shift == plain { // the same as below, without a call for each field
			from, sep := 0, s.d.Field
			for i, c := range rest {
				if c == sep {
					if !yield(n, Field{rest[from:i:i], s.d}) {
						return
					}
					from = i + 1
					n++
				}
			}
			if more {
				yield(n, Field{rest[from:], s.d})
			}
			return
		}
		for more {
			var raw []byte
			raw, rest, more = s.d.cut(rest, s.d.Field)
			if !yield(n, Field{raw, s.d}) {
				return
			}
			n++
		}
	}
}

// split puts the fields, from the first on, into list; what list has no room for is left out, and what the segment does not
// have stays as it was.
func (s Segment) split(list [][]byte) {
	rest, more := s.body(), len(s.raw) > 3
	for i := 0; more && i < len(list); i++ {
		list[i], rest, more = s.d.cut(rest, s.d.Field)
	}
}

// Field is a view of one field.
type Field struct {
	raw []byte
	d   Delimiters
}

// Bytes is the field as sent, with all repetitions; nil where it is absent.
func (f Field) Bytes() []byte { return f.raw }

// Repetition is the repetition n, from 1.
func (f Field) Repetition(n int) Repetition {
	return Repetition{f.d.nth(f.raw, f.d.Repetition, n), f.d}
}

// Component is the component n, from 1, of the first repetition.
func (f Field) Component(n int) Component { return f.Repetition(1).Component(n) }

// Repetitions goes through the repetitions; an absent field has none.
func (f Field) Repetitions() iter.Seq[Repetition] {
	return func(yield func(Repetition) bool) {
		for rest, more := f.raw, f.raw != nil; more; {
			var raw []byte
			raw, rest, more = f.d.cut(rest, f.d.Repetition)
			if !yield(Repetition{raw, f.d}) {
				return
			}
		}
	}
}

// Repetition is a view of one repetition of a field.
type Repetition struct {
	raw []byte
	d   Delimiters
}

// Bytes is the repetition as sent; nil where it is absent.
func (r Repetition) Bytes() []byte { return r.raw }

// Component is the component n, from 1.
func (r Repetition) Component(n int) Component {
	return Component{r.d.nth(r.raw, r.d.Component, n), r.d}
}

// Components goes through the components.
func (r Repetition) Components() iter.Seq[Component] {
	return func(yield func(Component) bool) {
		for rest, more := r.raw, r.raw != nil; more; {
			var raw []byte
			raw, rest, more = r.d.cut(rest, r.d.Component)
			if !yield(Component{raw, r.d}) {
				return
			}
		}
	}
}

// Component is a view of one component.
type Component struct {
	raw []byte
	d   Delimiters
}

// Bytes is the component as sent; nil where it is absent.
func (c Component) Bytes() []byte { return c.raw }

// Sub is the subcomponent n, from 1, as sent; nil where it is absent.
func (c Component) Sub(n int) []byte { return c.d.nth(c.raw, c.d.Subcomponent, n) }

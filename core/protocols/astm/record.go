package astm

import (
	"bytes"
	"iter"
	"strconv"
	"strings"
)

// Delimiters are what parts a message's fields, repeats and components, and what begins and ends an escape: the second to
// fifth character of its header (E1394 section 6.4.2). 0 is none.
type Delimiters struct{ Field, Repeat, Component, Escape byte }

// Standard are the delimiters of nearly everybody.
var Standard = Delimiters{Field: '|', Repeat: '\\', Component: '^', Escape: '&'}

// Header reads the delimiters out of an H record. Where it names two besides the field's, they are repeat and component, or
// component and escape where the first is ^; one alone is the component's. ok is false for what is no header.
func Header(record []byte) (d Delimiters, ok bool) {
	if len(record) < 2 || record[0] != 'H' || !punctuation(record[1]) {
		return Delimiters{}, false
	}
	d.Field = record[1]
	rest := record[2:]
	if i := bytes.IndexByte(rest, d.Field); i >= 0 {
		rest = rest[:i]
	}
	rest = bytes.TrimRight(rest, "\r\n")
	switch {
	case len(rest) >= 3:
		d.Repeat, d.Component, d.Escape = rest[0], rest[1], rest[2]
	case len(rest) == 2 && rest[0] == '^':
		d.Component, d.Escape = rest[0], rest[1]
	case len(rest) == 2:
		d.Repeat, d.Component = rest[0], rest[1]
	case len(rest) == 1:
		d.Component = rest[0]
	}
	return d, true
}

func punctuation(c byte) bool {
	return c > ' ' && c < 0x7f && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
}

// Message is records as they were sent, one after the other, each ended by CR (LF and CR LF are taken, too). It is a view:
// nothing is copied, and all its records with their ends are its bytes again.
type Message []byte

// Record is a view of one record.
type Record struct {
	Delimiters
	Text []byte // without its end
	At   int    // of its first byte in the message
	Next int    // of the first byte behind it and its end
}

// Records gives the records in order; those without a character are skipped. A header changes the delimiters of what follows it.
func (m Message) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		d := Standard
		for at := 0; at < len(m); {
			end, next := len(m), len(m)
			if i := lineEnd(m[at:]); i >= 0 {
				end, next = at+i, at+i+1
			}
			text := m[at:end]
			if h, ok := Header(text); ok {
				d = h
			}
			if len(text) > 0 && !yield(Record{Delimiters: d, Text: text, At: at, Next: next}) {
				return
			}
			at = next
		}
	}
}

// lineEnd is the place of the first CR or LF, or -1. It looks at little more than what comes before that.
func lineEnd(b []byte) int {
	for window := 256; ; window *= 4 {
		w := b[:min(len(b), window)]
		i := bytes.IndexByte(w, CR)
		if i >= 0 {
			w = w[:i]
		}
		if j := bytes.IndexByte(w, LF); j >= 0 {
			return j
		}
		if i >= 0 || window >= len(b) {
			return i
		}
	}
}

// Type is the record's letter: H, P, O, R, C, M, S, Q, L, or what stands there.
func (r *Record) Type() byte {
	if len(r.Text) == 0 {
		return 0
	}
	return r.Text[0]
}

// Field is field n as E1394 counts: 1 is the type, 2 of a header its delimiters. Nil where the record has no such field. It
// does not allocate.
func (r *Record) Field(n int) []byte {
	text := r.Text
	if n < 1 || len(text) == 0 {
		return nil
	}
	if text[0] == 'H' && len(text) > 1 && text[1] == r.Delimiters.Field {
		switch {
		case n == 1:
			return text[:1]
		case n == 2: // the delimiters themselves, with the field's
			if i := bytes.IndexByte(text[2:], r.Delimiters.Field); i >= 0 {
				return text[1 : 2+i]
			}
			return text[1:]
		}
	}
	return part(text, r.Delimiters.Field, n)
}

// Component is component c of repeat k of a field, each counted from 1. Nil where there is none.
func (r *Record) Component(field, k, c int) []byte {
	return part(part(r.Field(field), r.Repeat, k), r.Delimiters.Component, c)
}

// part is part n, counted from 1, of text.
func part(text []byte, delimiter byte, n int) []byte {
	if delimiter == 0 {
		if n == 1 {
			return text
		}
		return nil
	}
	for ; text != nil; n-- {
		i := bytes.IndexByte(text, delimiter)
		switch {
		case n == 1 && i >= 0:
			return text[:i]
		case n == 1:
			return text
		case i < 0:
			return nil
		}
		text = text[i+1:]
	}
	return nil
}

// Get gives what stands at a path: R.4, O[2].3, R.3.4 for a component, R.7[2].1 for one of a repeat; each number counts from
// 1. Nil where there is nothing, or the path is none. It does not allocate.
func (m Message) Get(path string) []byte {
	head, rest, _ := strings.Cut(path, ".")
	letter, nth := index(head)
	field, rest, deep := strings.Cut(rest, ".")
	number, repeat := index(field)
	n, err := strconv.Atoi(number)
	if len(letter) != 1 || nth < 1 || repeat < 1 || err != nil {
		return nil
	}
	for r := range m.Records() {
		if r.Type() != letter[0] {
			continue
		}
		if nth--; nth > 0 {
			continue
		}
		if !deep {
			if number == field {
				return r.Field(n)
			}
			return part(r.Field(n), r.Repeat, repeat)
		}
		c, err := strconv.Atoi(rest)
		if err != nil {
			return nil
		}
		return r.Component(n, repeat, c)
	}
	return nil
}

// index parts "O[2]" into O and 2; without brackets it is 1.
func index(s string) (name string, n int) {
	name, rest, found := strings.Cut(s, "[")
	if !found {
		return s, 1
	}
	n, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	if err != nil {
		return name, 0
	}
	return name, n
}

// Unescape appends text to dst with its escapes resolved (E1394 section 6.4.6.5): F, S, R and E are the delimiters, X and
// hexadecimal digits are bytes. Others stay as they are.
func (d *Delimiters) Unescape(dst, text []byte) []byte {
	for d.Escape != 0 {
		i := bytes.IndexByte(text, d.Escape)
		if i < 0 {
			break
		}
		n := bytes.IndexByte(text[i+1:], d.Escape)
		if n < 0 {
			break
		}
		dst = append(dst, text[:i]...)
		whole := text[i : i+n+2]
		var known bool
		if dst, known = d.resolve(dst, whole[1:n+1]); !known {
			dst = append(dst, whole[:n+1]...) // its end may begin the next one
			text = text[i+n+1:]
			continue
		}
		text = text[i+n+2:]
	}
	return append(dst, text...)
}

func (d *Delimiters) resolve(dst, what []byte) ([]byte, bool) {
	switch string(what) {
	case "F":
		return append(dst, d.Field), true
	case "S":
		return append(dst, d.Component), true
	case "R":
		return append(dst, d.Repeat), true
	case "E":
		return append(dst, d.Escape), true
	}
	if len(what) < 3 || len(what)%2 == 0 || what[0] != 'X' {
		return dst, false
	}
	for _, c := range what[1:] {
		if digit(c) < 0 {
			return dst, false
		}
	}
	for i := 1; i < len(what); i += 2 {
		dst = append(dst, byte(digit(what[i])<<4|digit(what[i+1])))
	}
	return dst, true
}

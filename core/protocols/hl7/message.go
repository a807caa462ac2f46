package hl7

import (
	"bytes"
	"iter"
)

// Message is a view of one HL7 v2 message. It keeps the bytes that it was parsed from; nobody may change them while it
// is used. Its methods may be called side by side.
type Message struct {
	raw    []byte
	spans  []span
	head   [22]span // of the fields of MSH, by their number; zero is none
	d      Delimiters
	set    charset
	broken bool
}

type span struct{ from, to uint32 }

// Parse reads b as one message: segments end with CR, LF or both, the last one need not; a byte order mark and blank
// lines before MSH are passed over. A line that does not begin with a segment id belongs to the value before it, see
// Broken. The error is ErrEmpty, ErrNotHL7, ErrBatch or ErrTooLarge. The Message shares memory with b.
func Parse(b []byte) (*Message, error) { return Options{}.Parse(b) }

// Parse is the function Parse with the character sets of o for what MSH-18 leaves open.
func (o Options) Parse(b []byte) (*Message, error) {
	if len(b) > MaxMessage {
		return nil, ErrTooLarge
	}
	at := skipBlank(b)
	if at == len(b) {
		return nil, ErrEmpty
	}
	d, err := delimitersOf(b[at:])
	if err != nil {
		return nil, err
	}
	m := &Message{raw: b, d: d}
	if err := m.split(at); err != nil {
		return nil, err
	}
	m.index()
	m.set = o.charsetOf(m.Header(18), d.Repetition, b)
	if m.d.shift = m.set.shift; m.d.shift != plain {
		m.index()
	}
	return m, nil
}

// index finds the fields of MSH, which are asked for again and again.
func (m *Message) index() {
	clear(m.head[:])
	at := m.spans[0].from + 3
	m.head[1] = span{at, at + 1}
	for n, f := range m.Segment(0).Fields() {
		if n > 1 && n < len(m.head) {
			at++ // behind the separator
			m.head[n] = span{at, at + uint32(len(f.raw))}
			at += uint32(len(f.raw))
		}
	}
}

// skipBlank is where the message begins, behind a byte order mark, blanks and line ends.
func skipBlank(b []byte) int {
	at := 0
	if bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
		at = 3
	}
	for at < len(b) && (b[at] == ' ' || b[at] == '\t' || isEnd(b[at])) {
		at++
	}
	return at
}

// split finds the segments of what begins at at, counting them first so that the list is made once.
func (m *Message) split(at int) error {
	count := 0
	for l := newLines(m.raw, at); l.next(); {
		if m.opens(l.from, l.to) {
			count++
			if count > 1 && l.to-l.from > 3 && string(m.raw[l.from:l.from+3]) == "MSH" {
				return ErrBatch
			}
		}
	}
	m.spans = make([]span, 0, count)
	for l := newLines(m.raw, at); l.next(); {
		switch {
		case l.from == l.to:
		case m.opens(l.from, l.to):
			m.spans = append(m.spans, span{uint32(l.from), uint32(l.to)})
		default:
			m.broken = true
			last := len(m.spans) - 1
			for ; m.spans[last].to-m.spans[last].from == 3; last-- { // a name alone, and text behind it: text, too
				m.spans = m.spans[:last]
			}
			m.spans[last].to = uint32(l.to)
		}
	}
	return nil
}

// opens says whether a line begins with a segment id and a separator, or is a segment id.
func (m *Message) opens(from, to int) bool {
	return isSegment(m.raw[from:to]) && (to-from == 3 || m.raw[from+3] == m.d.Field)
}

// isSegment says whether a line begins like a segment: a capital letter, and two capitals or digits.
func isSegment(line []byte) bool {
	return len(line) >= 3 && isUpper(line[0]) && (isUpper(line[1]) || isDigit(line[1])) && (isUpper(line[2]) || isDigit(line[2]))
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isEnd(c byte) bool   { return c == '\r' || c == '\n' }

// lines goes through the lines of b, each of which ends with CR or LF: CR LF is a line and an empty one.
type lines struct {
	b        []byte
	at       int
	cr, lf   int // the next of them at or behind at, or len(b)
	from, to int
}

func newLines(b []byte, at int) *lines { return &lines{b: b, at: at, cr: -1, lf: -1} }

func (l *lines) next() bool {
	if l.at >= len(l.b) {
		return false
	}
	if l.cr < l.at {
		l.cr = indexFrom(l.b, l.at, '\r')
	}
	if l.lf < l.at {
		l.lf = indexFrom(l.b, l.at, '\n')
	}
	l.from, l.to = l.at, min(l.cr, l.lf)
	l.at = l.to + 1
	return true
}

func indexFrom(b []byte, at int, c byte) int {
	if i := bytes.IndexByte(b[at:], c); i >= 0 {
		return at + i
	}
	return len(b)
}

// Bytes is the message as it came, all of it.
func (m *Message) Bytes() []byte { return m.raw }

// Delimiters are those of MSH-1 and MSH-2.
func (m *Message) Delimiters() Delimiters { return m.d }

// Broken says that a line without a segment id was found, and taken as a part of the value before it: a raw CR in a text.
func (m *Message) Broken() bool { return m.broken }

// Len is the number of segments, 1 at least.
func (m *Message) Len() int { return len(m.spans) }

// Segment is the segment i, from 0: MSH.
func (m *Message) Segment(i int) Segment {
	s := m.spans[i]
	return Segment{raw: m.raw[s.from:s.to], d: m.d}
}

// Segments goes through the segments, beginning with MSH.
func (m *Message) Segments() iter.Seq[Segment] {
	return func(yield func(Segment) bool) {
		for i := range m.spans {
			if !yield(m.Segment(i)) {
				return
			}
		}
	}
}

// Header is the whole field MSH-n as sent, nil where it is absent.
func (m *Message) Header(n int) []byte {
	if n < 1 || n >= len(m.head) {
		return m.Segment(0).Field(n).Bytes()
	}
	if at := m.head[n]; at.to > 0 {
		return m.raw[at.from:at.to:at.to]
	}
	return nil
}

// header is the field MSH-n.
func (m *Message) header(n int) Field { return Field{m.Header(n), m.d} }

// Type is the message type and the trigger event of MSH-9, joined by ^ whatever the delimiters are: ORU^R01. It may be
// any text that the sender writes there.
func (m *Message) Type() string {
	f := m.header(9).Repetition(1)
	kind, event := f.Component(1).Bytes(), f.Component(2).Bytes()
	if len(event) == 0 {
		return string(kind)
	}
	return string(kind) + "^" + string(event)
}

// Messages goes through the messages of a file or frame that holds several of them, wrapped in batches (FHS, BHS, BTS,
// FTS; HL7 v2.5.1 section 2.10.3) or not: each begins with its MSH segment. What stands before the first one is left out.
func Messages(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		from := -1
		for l := newLines(b, skipBlank(b)); l.next(); {
			if !isWrap(b[l.from:l.to]) {
				continue
			}
			if from >= 0 && !yield(b[from:l.from]) {
				return
			}
			from = -1
			if b[l.from] == 'M' {
				from = l.from
			}
		}
		if from >= 0 {
			yield(b[from:])
		}
	}
}

// isWrap says whether a line begins a message, or begins or ends a batch.
func isWrap(line []byte) bool {
	if len(line) < 3 || len(line) > 3 && !isDelimiter(line[3]) {
		return false
	}
	switch string(line[:3]) {
	case "MSH", "FHS", "BHS":
		return len(line) > 3
	case "BTS", "FTS":
		return true
	}
	return false
}

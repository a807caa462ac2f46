package mapped

import (
	"bytes"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// maxColumns bounds the memory of a forged file.
const maxColumns = 4096

var separators = map[string]byte{"": ',', "comma": ',', "semicolon": ';', "tab": '\t', "pipe": '|'}

// table is a CSV file that is being read.
type table struct {
	*text
	m       *Mapping
	sep     byte
	at      int // the next byte of body
	head    []byte
	columns map[string]int // by place
	fields  [][]byte       // of the row
	missing bool           // a column of the mapping is not in the header
}

// CSV reads a CSV file: each row is an exam. A file whose header has none of the findings' columns is a reject.
func CSV(data []byte, m *Mapping, opt Options) (*Reader, *exam.Reject) {
	t := &table{m: m, sep: separators[m.Separator], columns: map[string]int{}}
	var reject *exam.Reject
	if t.text, reject = open(data, opt, t.sep == '|'); reject != nil {
		return nil, reject
	}
	for range m.Skip {
		t.at += lineEnd(t.body[t.at:])
	}
	if reject = t.header(); reject != nil {
		return nil, reject
	}
	return &Reader{next: t.next}, nil
}

// header finds the columns of the mapping.
func (t *table) header() *exam.Reject {
	if !t.m.Header {
		for _, place := range t.m.places() {
			if n, ok := number(place); ok && n > 0 {
				t.columns[place] = n - 1
			}
		}
		return nil
	}
	from := t.at
	if !t.row() {
		return t.reject(exam.RejectMalformed, "the header is no line of CSV")
	}
	t.head = t.body[from:t.at]
	names := make([]string, 0, min(len(t.fields), maxColumns))
	for _, f := range t.fields {
		names = append(names, strings.TrimSpace(t.string(unquote(f))))
	}
	for _, place := range t.m.places() {
		if i := slices.Index(names, place); i >= 0 {
			t.columns[place] = i
		} else {
			t.missing = true
		}
	}
	for i := range t.m.Observations {
		if _, there := t.columns[t.m.Observations[i].From]; there {
			return nil
		}
	}
	return t.reject(exam.RejectMalformed, "the header has no column of a finding in map: see separator, header and skip")
}

// next is the next row that is not blank.
func (t *table) next() (Item, bool) {
	for t.at < len(t.body) {
		from := t.at
		whole := t.row()
		line := bytes.TrimRight(t.body[from:t.at], "\r\n")
		if len(bytes.Trim(line, " \t\x00\x1a")) == 0 {
			continue
		}
		to := from + len(line)
		if !whole {
			return Item{Reject: t.part(exam.RejectMalformed, "a quote that does not end, or too many columns", from, to), Head: t.head, Body: line}, true
		}
		i := t.item(t.m, t.value, from, to)
		if i.Head = t.head; i.Exam != nil && t.missing {
			i.Exam.Warn(exam.WarnBrokenSegment)
		}
		return i, true
	}
	return Item{}, false
}

// value is the text in the column of place.
func (t *table) value(place string) string {
	i, ok := t.columns[place]
	if !ok || i >= len(t.fields) {
		return ""
	}
	return t.string(unquote(t.fields[i]))
}

// row reads the fields of the row at t.at, and goes behind its line end. Of one that is no CSV it passes the line, and says
// false.
func (t *table) row() bool {
	start := t.at
	t.fields = t.fields[:0]
	for len(t.fields) < maxColumns {
		rest := t.body[t.at:]
		n := t.fieldEnd(rest)
		if n < 0 {
			break
		}
		t.fields = append(t.fields, rest[:n])
		if t.at += n; t.at == len(t.body) {
			return true
		}
		t.at++
		if t.body[t.at-1] == '\n' {
			return true
		}
	}
	t.at = start + lineEnd(t.body[start:])
	return false
}

// fieldEnd is where the separator or line feed behind the field at the start of b is, or -1 where a quote does not end.
func (t *table) fieldEnd(b []byte) int {
	from := 0
	if len(b) > 0 && b[0] == '"' {
		for from = 1; ; from += 2 {
			n := bytes.IndexByte(b[from:], '"')
			if n < 0 {
				return -1
			}
			if from += n; from+1 >= len(b) || b[from+1] != '"' {
				break
			}
		}
	}
	for i, c := range b[from:] {
		if c == t.sep || c == '\n' {
			return from + i
		}
	}
	return len(b)
}

// lineEnd is the length of the line at the start of b, with its line feed.
func lineEnd(b []byte) int {
	if n := bytes.IndexByte(b, '\n'); n >= 0 {
		return n + 1
	}
	return len(b)
}

// unquote takes the quotes off a field.
func unquote(f []byte) []byte {
	f = bytes.TrimSpace(f)
	if len(f) < 2 || f[0] != '"' || f[len(f)-1] != '"' {
		return f
	}
	if f = f[1 : len(f)-1]; bytes.Contains(f, []byte(`""`)) {
		f = bytes.ReplaceAll(f, []byte(`""`), []byte(`"`))
	}
	return f
}

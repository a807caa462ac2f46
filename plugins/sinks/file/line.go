package main

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hostd/hostd/core/sdk"
)

// lineEncoder writes records as lines of JSON, by hand: encoding/json costs more than all the rest of this sink.
type lineEncoder struct {
	raw      bool // keep Record.Raw
	taken    stamp
	received stamp
}

// append adds the line of r, with its newline, to b. No other byte of the line is a newline, whatever r holds.
func (e *lineEncoder) append(b []byte, r *sdk.Record) []byte {
	b = appendText(append(b, `{"id":`...), r.ID)
	b = appendText(append(b, `,"device":`...), r.Source)
	b = appendText(append(b, `,"kind":`...), r.Kind)
	b = strconv.AppendUint(append(b, `,"seq":`...), r.Seq, 10)
	b = e.taken.append(append(b, `,"time":`...), r.Time)
	b = e.received.append(append(b, `,"received_at":`...), r.Received.UTC())
	if r.ContentType != "" {
		b = appendText(append(b, `,"content_type":`...), r.ContentType)
	}
	if len(r.Labels) > 0 {
		b = appendLabels(append(b, `,"labels":{`...), r.Labels)
	}
	if r.Amends != "" {
		b = appendText(append(b, `,"amends":`...), r.Amends)
	}
	if r.Unassigned {
		b = append(b, `,"unassigned":true`...)
	}
	b = appendData(append(b, `,"data":`...), r)
	if e.raw && len(r.Raw) > 0 {
		b = appendBase64(append(b, `,"raw":`...), r.Raw)
	}
	if len(r.Attachments) > 0 {
		b = appendAttachments(append(b, `,"attachments":[`...), r.Attachments)
	}
	return append(b, '}', '\n')
}

// appendData writes the data, so that a reader gets back exactly its bytes. Only an object or array stands in the line as it is:
// a bare JSON string could not be told from text.
func appendData(b []byte, r *sdk.Record) []byte {
	switch {
	case len(r.Data) == 0 && slices.ContainsFunc(r.Attachments, isData):
		return append(b, `null`...)
	case isJSON(r.ContentType) && validLine(r.Data):
		return append(b, r.Data...)
	case isText(r.Data):
		return appendEscaped(b, r.Data)
	}
	return append(appendBase64(b, r.Data), `,"encoding":"base64"`...)
}

func isData(a sdk.Attachment) bool { return a.Role == "data" }

func isJSON(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/json")
	return ok && (rest == "" || rest[0] == ';')
}

// isText says whether data is better kept as a string: control bytes of text protocols are fine, but NUL is a sign of
// something binary, which base64 keeps shorter.
func isText(data []byte) bool { return utf8.Valid(data) && !slices.Contains(data, 0) }

func appendLabels(b []byte, labels map[string]string) []byte {
	if len(labels) == 1 {
		for k, v := range labels {
			b = appendText(append(appendText(b, k), ':'), v)
		}
		return append(b, '}')
	}
	for i, k := range slices.Sorted(maps.Keys(labels)) { // sorted: the same record is always the same line
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(appendText(b, k), ':'), labels[k])
	}
	return append(b, '}')
}

func appendAttachments(b []byte, list []sdk.Attachment) []byte {
	for i := range list {
		a := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"name":`...), a.Name)
		b = appendText(append(b, `,"content_type":`...), a.ContentType)
		b = strconv.AppendInt(append(b, `,"size":`...), a.Size, 10)
		b = appendText(append(b, `,"hash":`...), a.Hash)
		b = append(appendText(append(b, `,"role":`...), a.Role), '}')
	}
	return append(b, ']')
}

func appendBase64(b, data []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), data), '"')
}

// appendText writes s as a JSON string; what is not UTF-8 becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	return appendEscaped(b, s)
}

// appendEscaped writes s, which is UTF-8, as a JSON string: RFC 8259 section 7, and nothing escaped that need not be.
func appendEscaped[T string | []byte](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if plain[c] {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[from:]...), '"')
}

// stamp writes times, and remembers the second it wrote last: the next record's time is mostly in the same one.
type stamp struct {
	second int64 // of text, Unix
	offset int   // of its zone
	text   []byte
}

const (
	stampLayout = `"2006-01-02T15:04:05.000000000Z07:00"`
	stampNanos  = len(`"2006-01-02T15:04:05.`)
)

// append writes t as RFC 3339 with nanoseconds and its own zone, or null where that cannot say it: the zero time, and
// years of more than four digits. A zone that is not of whole minutes becomes UTC.
func (s *stamp) append(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, `null`...)
	}
	_, offset := t.Zone()
	if offset%60 != 0 || offset <= -24*3600 || offset >= 24*3600 {
		t, offset = t.UTC(), 0
	}
	if len(s.text) == 0 || t.Unix() != s.second || offset != s.offset {
		if y := t.Year(); y < 0 || y > 9999 {
			return append(b, `null`...)
		}
		s.second, s.offset, s.text = t.Unix(), offset, t.AppendFormat(s.text[:0], stampLayout)
	}
	at := len(b) + stampNanos
	b = append(b, s.text...)
	n := t.Nanosecond()
	for i := at + 8; i >= at; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

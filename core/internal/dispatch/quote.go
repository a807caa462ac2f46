package dispatch

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hostd/hostd/core/internal/spool"
)

// Limits of a sink's text.
const (
	maxText  = 4 << 10 // bytes that are kept of it
	minWord  = 4       // bytes of a word that is looked for: shorter ones are in every record
	hidden   = "***"
	cutShort = "..."
)

// known are words of a record's form, which stand in its bytes and are no data: the keys of an exam, kinds, and the tables and
// columns of the shipped schema that share a name with one. The last ones are frequent in errors, and in letters of a clinic.
var known = map[string]bool{
	"patient": true, "name": true, "birth": true, "device": true, "make": true, "model": true, "serial": true, "taken_at": true, "taken": true,
	"observations": true, "code": true, "value": true, "unit": true, "method": true, "text": true, "flags": true, "warnings": true,
	"exam": true, "reject": true, "document": true, "record": true, "observation": true, "attachment": true, "reason": true, "offset": true, "length": true,
	"byte": true, "bytes": true, "line": true, "column": true, "table": true, "that": true, "this": true, "with": true, "than": true, "from": true,
}

// withoutData gives a sink's text without the words that stand in the records it is about: a driver's error may quote the
// row, and the text goes to the log, the page and the dead letter. What a sink read elsewhere, in an attachment or a
// database, cannot be told from its own words.
func withoutData(text string, records []spool.Ref) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + cutShort
	}
	h := hider{records: records, seen: map[string]bool{}}
	return each(text, isWide, func(word string) string {
		if h.data(word) {
			return hidden
		}
		return each(word, isNarrow, func(part string) string {
			if part != word && h.data(part) {
				return hidden
			}
			return part
		})
	})
}

// hider remembers which words are in the records.
type hider struct {
	records []spool.Ref
	seen    map[string]bool
}

func (h *hider) data(word string) bool {
	if len(word) < minWord || known[word] {
		return false
	}
	found, asked := h.seen[word]
	for i := 0; i < len(h.records) && !asked && !found; i++ {
		found = bytes.Contains(h.records[i].Payload, []byte(word))
	}
	h.seen[word] = found
	return found
}

// isWide is a letter of a word with its inner marks, as in 1899-12-31 or name@host; isNarrow is one of its parts.
func isWide(r rune) bool {
	return isNarrow(r) || strings.ContainsRune("-._@+", r)
}

func isNarrow(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

// each replaces every longest run of letters that are in.
func each(text string, in func(rune) bool, by func(string) string) string {
	var out strings.Builder
	for len(text) > 0 {
		n := strings.IndexFunc(text, in)
		if n < 0 {
			n = len(text)
		}
		out.WriteString(text[:n])
		text = text[n:]
		end := 0
		for end < len(text) {
			r, size := utf8.DecodeRuneInString(text[end:])
			if !in(r) {
				break
			}
			end += size
		}
		if end > 0 {
			out.WriteString(by(text[:end]))
			text = text[end:]
		}
	}
	return out.String()
}

// quietError is a sink's failure without its records' data, with the class that it has.
type quietError struct {
	text string
	err  error
}

// Error is the text that may be shown.
func (e *quietError) Error() string { return e.text }

// Unwrap gives the failure.
func (e *quietError) Unwrap() error { return e.err }

func quiet(failure error, records []spool.Ref) error {
	return &quietError{withoutData(failure.Error(), records), failure}
}

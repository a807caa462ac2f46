// Package exam is the clinical record that device plugins make and sinks understand: one visit of one person at one
// instrument, as observations with code, eye, value, unit, method and sequence number.
//
//	instrument's bytes -> [ protocol decoder ] -> Exam -> Encode -> sdk.Record.Data -> Decode -> sink
//
// The JSON form is described by exam.schema.json. The package uses the standard library only.
package exam

import (
	"slices"
	"time"
)

// Kind is the sdk.Record.Kind of a record whose Data is an encoded Exam.
const Kind = "exam"

// ContentType is the sdk.Record.ContentType of a record whose Data is an encoded Exam.
const ContentType = "application/json"

// Exam is what one instrument found at one sitting. Every text is UTF-8.
type Exam struct {
	Patient Patient `json:"patient"`
	Device  Device  `json:"device"`
	// TakenAt is the instrument's own clock as ISO 8601, without a zone unless the instrument sent one; only the date
	// if no time came; empty if nothing came. Such clocks lie: never sort or deduplicate by it alone.
	TakenAt string `json:"taken_at"`
	// Observations are unique in (Code, Eye, Method, Seq); their order is the instrument's.
	Observations []Observation `json:"observations"`
	// Warnings are words of the Warn constants: what a reader should know before he trusts the exam. Nil when all is well.
	Warnings []string `json:"warnings,omitempty"`
}

// Patient is the person as the instrument named her; any field may be empty. A blank ID is normal: such an exam waits
// until someone assigns it.
type Patient struct {
	ID    string `json:"id"`
	Name  string `json:"name"`  // family name, one blank, given name
	Birth string `json:"birth"` // YYYY-MM-DD, or YYYY-MM or YYYY where no more is known
	Sex   string `json:"sex"`   // M, F, O or empty
}

// Device is the instrument as it named itself; any field may be empty.
type Device struct {
	Make   string `json:"make"`
	Model  string `json:"model"`
	Serial string `json:"serial"` // the machine's number, never a running number of exams
}

// Observation is one finding.
type Observation struct {
	Code   string `json:"code"`   // a Code constant, or the source's own code where no constant fits
	Eye    string `json:"eye"`    // R, L or B: both eyes, or not tied to an eye
	Value  Value  `json:"value"`  // never empty: an instrument that sent nothing made no observation
	Unit   string `json:"unit"`   // UnitOf(Code), or the source's own unit for a foreign code; empty if it has none
	Method string `json:"method"` // a Method constant, or empty
	// Seq is 0 for the instrument's own summary (median, average or the only value), 1 and up for single shots.
	Seq int `json:"seq"`
	// Text is the value as the instrument sent it, where that differs from Value's own text ("0,25", "+1.50"); else empty.
	Text string `json:"text,omitempty"`
	// Flags are the source's marks on this value, as sent (abnormal, corrected). Nil is none.
	Flags []string `json:"flags,omitempty"`
}

// ParseTakenAt reads a TakenAt; without a zone it is in this computer's, whose clock the clinic's instruments are set by. It is
// the zero time where the text says nothing, or a year that no instrument can mean.
func ParseTakenAt(text string) time.Time {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly, time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil && t.Year() > 1900 && t.Year() < 2200 {
			return t
		}
	}
	return time.Time{}
}

// Warn adds a word of the Warn constants to e.Warnings, once.
func (e *Exam) Warn(word string) {
	if !slices.Contains(e.Warnings, word) {
		e.Warnings = append(e.Warnings, word)
	}
}

// Eyes of an observation.
const (
	Right = "R"
	Left  = "L"
	Both  = "B"
)

// Result is what a decoder makes of one input: any number of exams, and what it could not read. A decoder never
// returns an Exam without an observation.
type Result struct {
	Exams   []*Exam
	Rejects []Reject
}

// Reject is a part of an input that no decoder could read. It is not an exam; the bytes are kept as evidence.
type Reject struct {
	Reason string // a Reject constant
	Offset int64  // first byte of the unreadable part in the input
	Length int64  // its length in bytes
	Detail string // for the log: where and why, never the input's own words
}

package hl7

import (
	"bytes"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// value is what OBX-5 holds.
type value struct {
	value   exam.Value
	sent    string // as it was sent, where that says more or is written otherwise
	method  string // attachment, or empty
	numeric bool   // may be a sentinel
	deleted bool   // "": an earlier value is to be deleted
	files   []Attachment
}

// valueOf reads OBX-5 by its type in OBX-2 (HL7 v2.5.1 chapter 2.A); false where there is none.
func (e *examiner) valueOf(x *obx) (v value, found bool) {
	raw := x[obxValue]
	if len(bytes.TrimSpace(raw)) == 0 {
		return value{}, false
	}
	if string(raw) == `""` {
		return value{deleted: true}, true
	}
	switch string(bytes.TrimSpace(x[obxType])) {
	case "NM":
		return e.number(raw), true
	case "SN":
		return e.single(e.field(x, obxValue), (*examiner).structured, true)
	case "CE", "CWE", "CNE", "CF":
		return e.single(e.field(x, obxValue), (*examiner).coded, false)
	case "ED":
		return e.document(e.field(x, obxValue))
	case "RP":
		v, found = e.single(e.field(x, obxValue), (*examiner).pointer, false)
		v.method, v.sent = exam.MethodAttachment, ""
		return v, found
	case "DT", "TM", "TS", "DTM", "HD", "EI", "CX", "ID", "IS":
		return value{value: exam.Text(e.text(raw))}, true
	}
	text := e.text(raw)
	v = value{value: exam.ParseValue("", strings.TrimSpace(text)), numeric: true}
	if !v.value.IsNumber() {
		return value{value: exam.Text(text)}, true
	}
	return v.withSent(text), true
}

// withSent keeps what was sent where it is not what the value says anyway.
func (v value) withSent(text string) value {
	if len(text) <= maxSent && text != v.value.String() {
		v.sent = text
	}
	return v
}

// number reads an NM: blanks around it and behind the sign, and a decimal comma, are allowed; what is no number stays text.
func (e *examiner) number(raw []byte) value {
	text := e.text(raw)
	s := strings.TrimSpace(text)
	if s[0] == '+' || s[0] == '-' {
		s = s[:1] + strings.TrimLeft(s[1:], " ")
	}
	if strings.Count(s, ",") == 1 && !strings.Contains(s, ".") {
		s = strings.Replace(s, ",", ".", 1)
	}
	v := value{value: exam.ParseValue("", s), numeric: true}
	if !v.value.IsNumber() {
		v.value = exam.Text(strings.TrimSpace(text))
	}
	return v.withSent(text)
}

// single reads a field that does not repeat; several repetitions are the text that they are.
func (e *examiner) single(f Field, read func(*examiner, Repetition) string, numeric bool) (value, bool) {
	if f.Repetition(2).raw != nil {
		text := e.text(f.raw)
		return value{value: exam.Text(text)}, strings.Trim(text, blankValue) != ""
	}
	text := read(e, f.Repetition(1))
	if text == "" {
		return value{}, false
	}
	v := value{value: exam.ParseValue("", text), numeric: numeric}
	if len(f.raw) <= maxSent {
		v = v.withSent(e.text(f.raw))
	}
	return v, true
}

// blankValue are the characters of a value in which nothing stands.
const blankValue = "^~& \t\r\n"

// structured is an SN: comparator, number, separator, number (HL7 v2.5.1 chapter 2.A, SN).
func (e *examiner) structured(r Repetition) string {
	if len(r.raw) > maxNumbers {
		return strings.TrimSpace(e.text(r.raw))
	}
	var text [4]string
	for i := range text {
		text[i] = strings.TrimSpace(e.text(r.Component(i + 1).Bytes()))
	}
	return strings.Join(text[:], "")
}

// coded is the text of a coded value, else its original text, else the code, else the alternates.
func (e *examiner) coded(r Repetition) string {
	for _, n := range []int{2, 9, 1, 5, 4} {
		if text := e.value(r.Component(n).Bytes()); text != "" {
			return text
		}
	}
	return ""
}

// pointer is where an RP points to.
func (e *examiner) pointer(r Repetition) string { return e.value(r.Component(1).Bytes()) }

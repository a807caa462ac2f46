package exam

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

//go:embed exam.schema.json
var schema string

// Schema is the JSON Schema (draft 2020-12) of the JSON form.
func Schema() string { return schema }

// Encode makes the JSON form of e, always the same bytes for the same exam. It fails where Validate does.
func Encode(e *Exam) ([]byte, error) {
	b, err := Append(make([]byte, 0, 256+128*len(e.Observations)), e)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Append is Encode into dst, which may be nil. On an error dst is returned unchanged.
func Append(dst []byte, e *Exam) ([]byte, error) {
	if err := Validate(e); err != nil {
		return dst, err
	}
	b := appendString(append(dst, `{"patient":{"id":`...), e.Patient.ID)
	b = appendString(append(b, `,"name":`...), e.Patient.Name)
	b = appendString(append(b, `,"birth":`...), e.Patient.Birth)
	b = appendString(append(b, `,"sex":`...), e.Patient.Sex)
	b = appendString(append(b, `},"device":{"make":`...), e.Device.Make)
	b = appendString(append(b, `,"model":`...), e.Device.Model)
	b = appendString(append(b, `,"serial":`...), e.Device.Serial)
	b = appendString(append(b, `},"taken_at":`...), e.TakenAt)
	b = append(b, `,"observations":[`...)
	for i := range e.Observations {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendObservation(b, &e.Observations[i])
	}
	b = append(b, ']')
	if len(e.Warnings) > 0 {
		b = appendStrings(append(b, `,"warnings":`...), e.Warnings)
	}
	return append(b, '}'), nil
}

func appendObservation(b []byte, o *Observation) []byte {
	b = appendString(append(b, `{"code":`...), o.Code)
	b = appendString(append(b, `,"eye":`...), o.Eye)
	b = append(b, `,"value":`...)
	if o.Value.isNum {
		b = appendNumber(b, o.Value.number)
	} else {
		b = appendString(b, o.Value.text)
	}
	b = appendString(append(b, `,"unit":`...), o.Unit)
	b = appendString(append(b, `,"method":`...), o.Method)
	b = strconv.AppendInt(append(b, `,"seq":`...), int64(o.Seq), 10)
	if o.Text != "" {
		b = appendString(append(b, `,"text":`...), o.Text)
	}
	if len(o.Flags) > 0 {
		b = appendStrings(append(b, `,"flags":`...), o.Flags)
	}
	return append(b, '}')
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendString escapes what RFC 8259 section 7 demands and nothing else; Validate has seen that s is UTF-8.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
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
		from = i + 1
	}
	return append(append(b, s[from:]...), '"')
}

// MarshalJSON writes a number or a string.
func (v Value) MarshalJSON() ([]byte, error) {
	if !v.finite() {
		return nil, errors.New("encode value: not a finite number")
	}
	if v.isNum {
		return appendNumber(nil, v.number), nil
	}
	return json.Marshal(v.text)
}

// UnmarshalJSON reads a number or a string; null is an error.
func (v *Value) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*v = Value{}
		return json.Unmarshal(data, &v.text)
	}
	f, err := strconv.ParseFloat(string(data), 64)
	if err != nil {
		return errors.New("value is neither a number nor a text")
	}
	*v = Number(f)
	return nil
}

// Decode reads what Encode made, in any order of keys; unknown keys are skipped. An error is one that trying again
// cannot cure (a sink marks it sdk.Permanent), and names the place but never a value of the input.
func Decode(data []byte) (*Exam, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("decode exam: not UTF-8")
	}
	e, own := decodeOwn(string(data))
	if !own {
		var err error
		if e, err = decodeAny(data); err != nil {
			return nil, fmt.Errorf("decode exam: %w", err)
		}
	}
	if err := Validate(e); err != nil {
		return nil, fmt.Errorf("decode exam: %w", err)
	}
	return e, nil
}

func decodeAny(data []byte) (*Exam, error) {
	var in struct {
		Patient      *Patient       `json:"patient"`
		Device       *Device        `json:"device"`
		TakenAt      *string        `json:"taken_at"`
		Observations *[]Observation `json:"observations"`
		Warnings     []string       `json:"warnings"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, plainError(err)
	}
	for _, key := range []struct {
		name    string
		missing bool
	}{
		{"patient", in.Patient == nil},
		{"device", in.Device == nil},
		{"taken_at", in.TakenAt == nil},
		{"observations", in.Observations == nil},
	} {
		if key.missing {
			return nil, fmt.Errorf("%s is missing", key.name)
		}
	}
	return &Exam{Patient: *in.Patient, Device: *in.Device, TakenAt: *in.TakenAt, Observations: *in.Observations, Warnings: in.Warnings}, nil
}

// PatientID is the patient's id of what Encode made, without decoding or checking the rest of it; empty where the exam
// names none.
func PatientID(data []byte) (string, error) {
	const head = `{"patient":{"id":"`
	if rest, ok := bytes.CutPrefix(data, []byte(head)); ok {
		if end := bytes.IndexByte(rest, '"'); end >= 0 && bytes.IndexByte(rest[:end], '\\') < 0 {
			return string(rest[:end]), nil
		}
	}
	var in struct {
		Patient *Patient `json:"patient"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return "", fmt.Errorf("decode exam: %w", plainError(err))
	}
	if in.Patient == nil {
		return "", errors.New("decode exam: patient is missing")
	}
	return in.Patient.ID, nil
}

// plainError rewrites an error of encoding/json so that no value of the input stands in it.
func plainError(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		got, _, _ := strings.Cut(kind.Value, " ")
		return fmt.Errorf("%s is a %s at byte %d", kind.Field, got, kind.Offset)
	}
	return err
}

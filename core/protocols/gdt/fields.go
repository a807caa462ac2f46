package gdt

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

// record is what was read of one record.
type record struct {
	begun         bool
	from, length  int    // its first byte; its length as field 8100 says, 0 where it does not
	page          string // of its text, empty where it names none
	patient       exam.Patient
	family, given string
	stored, taken [2]string // date and time of storing, and of the test
	test          struct{ id, name, value, unit string }
	texts, notes  int
	files         int
	observations  []exam.Observation
	warnings      []string
}

// field reads one line of the record.
func (d *decoder) field(field string, raw []byte) {
	r := &d.record
	switch field {
	case "8100":
		if n, err := strconv.Atoi(string(raw)); err == nil {
			r.length = n
		}
	case "9206":
		r.charset(string(raw))
	case "3000":
		r.patient.ID = d.textOf(raw)
	case "3101":
		r.family = d.textOf(raw)
	case "3102":
		r.given = d.textOf(raw)
	case "3103":
		r.patient.Birth = day(string(raw))
	case "3110":
		r.patient.Sex = xmlexam.Sex(string(raw))
	case "6200":
		r.stored[0] = day(string(raw))
	case "6201":
		r.stored[1] = clock(string(raw))
	case "8432":
		r.taken[0] = day(string(raw))
	case "8439":
		r.taken[1] = clock(string(raw))
	case "8402":
		r.add(exam.CodeExamType, 0, exam.Text(d.textOf(raw)))
	case "6220", "6228":
		r.texts += r.add(exam.CodeText, r.texts+1, exam.Text(d.textOf(raw)))
	case "6227":
		r.notes += r.add(exam.CodeNote, r.notes+1, exam.Text(d.textOf(raw)))
	case "6305":
		r.files += r.add(exam.CodeAttachment, r.files, exam.Text(d.textOf(raw)))
	case "8410", "8411", "8420", "8421":
		d.testField(field, raw)
	default:
		if !isKnown(field) {
			r.warn(exam.WarnUnknownSegment)
		}
	}
}

// testField reads the fields of a test: its id, its name, a value, the value's unit.
func (d *decoder) testField(field string, raw []byte) {
	t, text := &d.record.test, d.textOf(raw)
	switch field {
	case "8410":
		d.record.endTest()
		t.id, t.name = text, ""
	case "8411":
		t.name = text
	case "8420":
		d.record.endTest()
		t.value = text
	case "8421":
		t.unit = text
	}
}

// endTest adds the value that was read of a test; its id stays for a second one.
func (r *record) endTest() {
	t := &r.test
	code, value := t.id, t.value
	if code == "" {
		code = t.name
	}
	switch {
	case value == "":
	case code == "":
		r.warn(exam.WarnBrokenSegment)
		r.texts += r.add(exam.CodeText, r.texts+1, exam.Text(value))
	default:
		v, seq := xmlexam.Number(value, code, ""), 0
		for i := range r.observations {
			if o := &r.observations[i]; o.Code == code {
				seq = max(seq, o.Seq+1)
			}
		}
		r.add(code, seq, v)
		o := &r.observations[len(r.observations)-1]
		if o.Unit == "" {
			o.Unit = t.unit
		}
		if !v.Is(value) {
			o.Text = value
		}
	}
	t.value, t.unit = "", ""
}

// add adds a finding of no eye and says how many that were: an empty one is none.
func (r *record) add(code string, seq int, v exam.Value) int {
	if v.String() == "" {
		return 0
	}
	unit, _ := exam.UnitOf(code)
	r.observations = append(r.observations, exam.Observation{Code: code, Eye: exam.Both, Value: v, Unit: unit, Seq: seq})
	return 1
}

func (r *record) warn(word string) {
	if !slices.Contains(r.warnings, word) {
		r.warnings = append(r.warnings, word)
	}
}

// exam is what the record says, or nil where it has no finding.
func (r *record) exam() *exam.Exam {
	r.endTest()
	if len(r.observations) == 0 {
		return nil
	}
	e := &exam.Exam{Patient: r.patient, Observations: r.observations}
	e.Patient.Name = strings.TrimSpace(r.family + " " + r.given)
	at := r.taken
	if at[0] == "" {
		at = r.stored
	}
	if e.TakenAt = at[0]; at[0] != "" {
		e.TakenAt += at[1]
	}
	if e.Patient.ID == "" {
		e.Warn(exam.WarnPatientIDBlank)
	}
	for _, w := range r.warnings {
		e.Warn(w)
	}
	return e
}

// charset takes over what field 9206 says: 1 is 7-bit, which UTF-8 covers.
func (r *record) charset(word string) {
	switch strings.TrimSpace(word) {
	case "1":
		r.page = "us-ascii"
	case "2":
		r.page = "cp437"
	case "3":
		r.page = "iso-8859-1"
	default:
		r.warn(exam.WarnCharsetUndeclared)
	}
}

// day makes YYYY-MM-DD of DDMMYYYY.
func day(s string) string {
	if s = strings.TrimSpace(s); len(s) != 8 || !digits([]byte(s)) {
		return ""
	}
	return s[4:] + "-" + s[2:4] + "-" + s[:2]
}

// clock makes Thh:mm:ss of HHMMSS or HHMM, empty of anything else.
func clock(s string) string {
	if s = strings.TrimSpace(s); len(s) != 6 && len(s) != 4 || !digits([]byte(s)) {
		return ""
	}
	out := "T" + s[:2] + ":" + s[2:4]
	if len(s) == 6 {
		out += ":" + s[4:]
	}
	return out
}

// isKnown says that a field is about the transfer, or about the person's address and insurance: the raw file keeps it.
func isKnown(field string) bool {
	switch field {
	case "9218", "8315", "8316", "6302", "6303", "6304", "0102", "0103", "0132", "3622", "3623":
		return true
	}
	return strings.HasPrefix(field, "31")
}

// Package mapped reads CSV and JSON files as a declared mapping says: which column or path is which finding of which eye.
//
//	file -> text -> [ row | element -> values by column or path -> Mapping ] -> exam, with the bytes that it came from
//
// CSV is that of RFC 4180 with any of four separators; JSON is that of RFC 8259.
package mapped

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Mapping says what a file's values are. A place is a column's name, or its number from 1 where there is no header; in JSON
// it is the names of members with dots between, and numbers from 0 for elements of an array (eyes.0.sphere). An empty place
// is none.
type Mapping struct {
	Separator    string `setting:"separator" default:"comma" enum:"comma,semicolon,tab,pipe" help:"CSV: what stands between two columns"`
	Header       bool   `setting:"header" default:"true" help:"CSV: the first line names the columns; false counts them from 1"`
	Skip         int    `setting:"skip" default:"0" min:"0" max:"1000" help:"CSV: lines before the header"`
	DecimalComma bool   `setting:"decimal_comma" default:"true" help:"a comma in a number is its decimal point; false keeps such a value as text"`
	Items        string `setting:"items" help:"JSON: path of the list whose elements are the exams; . is a list as the whole file, nothing is one exam in a file"`

	PatientID    string  `setting:"patient_id" help:"place of the patient's id"`
	PatientName  string  `setting:"patient_name" help:"place of the name, or of the family name"`
	PatientGiven string  `setting:"patient_given" help:"place of the given name, where it has one of its own"`
	PatientBirth string  `setting:"patient_birth" help:"place of the birth date"`
	PatientSex   string  `setting:"patient_sex" help:"place of the sex"`
	Date         string  `setting:"date" help:"place of the exam's date, with or without its time"`
	Time         string  `setting:"time" help:"place of its time, where it has one of its own"`
	DateOrder    string  `setting:"date_order" default:"ymd" enum:"ymd,dmy,mdy" help:"order of day, month and year in dates"`
	ExamNo       string  `setting:"exam_no" help:"place of the instrument's running number"`
	Eye          string  `setting:"eye" help:"place of the eye, where a row or an element is one eye: OD, OS, OU, R, L, B, right, left, both"`
	Make         string  `setting:"make" help:"maker of the instrument, as it shall stand in the exam"`
	Model        string  `setting:"model" help:"its model"`
	Serial       string  `setting:"serial" help:"place of its serial number"`
	Observations []Field `setting:"observations" help:"the findings"`
}

// Field is the mapping of one finding.
type Field struct {
	From   string `setting:"from,required" help:"place of the value"`
	Code   string `setting:"code,required" help:"what it is: sphere, cylinder, axis, iop, cct ..., or a code of your own"`
	Eye    string `setting:"eye" enum:"R,L,B" help:"the eye; nothing takes it from the place that is named as eye, else both"`
	Method string `setting:"method" help:"how it was measured: autoref, lensmeter, kerato, tono ..."`
	Unit   string `setting:"unit" help:"unit of the value in the file; lengths and pressures are converted"`
	Seq    int    `setting:"seq" default:"0" min:"0" max:"9999" help:"0 is a summary or the only value, 1 and up are single shots"`
}

// Check says what is wrong with the mapping: every fault at once.
func (m *Mapping) Check() error {
	var faults []error
	if len(m.Observations) == 0 {
		faults = append(faults, errors.New("map.observations is empty: name the columns or paths of the findings"))
	}
	if !m.Header {
		for _, place := range m.places() {
			if n, ok := number(place); m.Items == "" && (!ok || n == 0) {
				faults = append(faults, fmt.Errorf("map: %q is no number of a column, and header is false", place))
			}
		}
	}
	for i, f := range m.Observations {
		same := func(o Field) bool {
			return o.Code == f.Code && o.Eye == f.Eye && o.Method == f.Method && o.Seq == f.Seq
		}
		if slices.ContainsFunc(m.Observations[:i], same) {
			faults = append(faults, fmt.Errorf("map.observations[%d]: code, eye, method and seq are those of an earlier one", i))
		}
	}
	return errors.Join(faults...)
}

// places are all that the mapping names.
func (m *Mapping) places() (list []string) {
	for _, p := range []string{
		m.PatientID, m.PatientName, m.PatientGiven, m.PatientBirth, m.PatientSex, m.Date, m.Time, m.ExamNo, m.Eye, m.Serial,
	} {
		if p != "" {
			list = append(list, p)
		}
	}
	for _, f := range m.Observations {
		list = append(list, f.From)
	}
	return list
}

// exam makes an exam of the values that at finds by their place; nil where there is no finding.
func (m *Mapping) exam(at func(place string) string) *exam.Exam {
	get := func(place string) string {
		if place == "" {
			return ""
		}
		return strings.TrimSpace(at(place))
	}
	e := &exam.Exam{Device: exam.Device{Make: m.Make, Model: m.Model, Serial: get(m.Serial)}}
	e.Patient = exam.Patient{
		ID: get(m.PatientID), Name: strings.Join(strings.Fields(get(m.PatientName)+" "+get(m.PatientGiven)), " "),
		Birth: xmlexam.Day(get(m.PatientBirth), m.order()), Sex: xmlexam.Sex(get(m.PatientSex)),
	}
	e.TakenAt = xmlexam.Moment(get(m.Date), get(m.Time), m.order())
	if e.Patient.ID == "" {
		e.Warn(exam.WarnPatientIDBlank)
	}
	eye := exam.Both
	if m.Eye != "" {
		var ok bool
		if eye, ok = eyeOf(get(m.Eye)); !ok {
			e.Warn(exam.WarnUnknownSegment)
		}
	}
	for i := range m.Observations {
		m.observe(e, &m.Observations[i], get(m.Observations[i].From), eye)
	}
	if len(e.Observations) == 0 {
		return nil
	}
	if no := get(m.ExamNo); no != "" {
		e.Observations = append(e.Observations, exam.Observation{Code: exam.CodeExamNo, Eye: exam.Both, Value: exam.Text(no)})
	}
	return e
}

// observe adds one finding; a blank or dashed value is none. One with the key of another gets the next free number.
func (m *Mapping) observe(e *exam.Exam, f *Field, text, eye string) {
	if xmlexam.IsNothing(text) {
		return
	}
	if f.Eye != "" {
		eye = f.Eye
	}
	v := exam.Text(text)
	if m.DecimalComma || !strings.Contains(text, ",") {
		v = xmlexam.Number(text, f.Code, f.Unit)
	}
	unit, known := exam.UnitOf(f.Code)
	if !known {
		unit = f.Unit
	}
	o := exam.Observation{Code: f.Code, Eye: eye, Value: v, Unit: unit, Method: f.Method, Seq: f.Seq}
	for slices.ContainsFunc(e.Observations, func(p exam.Observation) bool {
		return p.Code == o.Code && p.Eye == o.Eye && p.Method == o.Method && p.Seq == o.Seq
	}) {
		o.Seq++
		e.Warn(exam.WarnDuplicate)
	}
	if !v.Is(text) {
		o.Text = text
	}
	e.Observations = append(e.Observations, o)
}

// order is the order of dates as xmlexam.Moment wants it.
func (m *Mapping) order() string { return strings.ToUpper(m.DateOrder) }

func eyeOf(word string) (eye string, known bool) {
	switch strings.ToLower(word) {
	case "od", "r", "right", "re":
		return exam.Right, true
	case "os", "l", "left", "le":
		return exam.Left, true
	case "ou", "b", "both", "":
		return exam.Both, word != ""
	}
	return exam.Both, false
}

// number reads a number without sign of up to six digits.
func number(s string) (n int, ok bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, s != "" && len(s) <= 6
}

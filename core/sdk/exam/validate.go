package exam

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// manyObservations is where looking for a duplicate changes from comparing all pairs to a map.
const manyObservations = 32

// Validate says what is wrong with e, or nil: text that is not UTF-8, a value that is empty or that JSON cannot hold,
// an eye other than R, L and B, a code missing, a second observation with the same code, eye, method and seq, a time,
// birth date or sex in another form. The error names the place, never a value.
func Validate(e *Exam) error {
	if e == nil {
		return errors.New("exam is nil")
	}
	if err := validateHead(e); err != nil {
		return err
	}
	for i := range e.Observations {
		if err := e.Observations[i].validate(); err != nil {
			return fmt.Errorf("observation %d: %w", i, err)
		}
	}
	if i := duplicate(e.Observations); i >= 0 {
		return fmt.Errorf("observation %d: code, eye, method and seq as in an earlier one", i)
	}
	return nil
}

func validateHead(e *Exam) error {
	for _, s := range [...]string{e.Patient.ID, e.Patient.Name, e.Device.Make, e.Device.Model, e.Device.Serial} {
		if !utf8.ValidString(s) {
			return errors.New("patient or device is not UTF-8")
		}
	}
	if !isDate(e.Patient.Birth) {
		return errors.New("patient.birth is not YYYY-MM-DD")
	}
	switch e.Patient.Sex {
	case "", "M", "F", "O":
	default:
		return errors.New("patient.sex is not M, F, O or empty")
	}
	if !isTime(e.TakenAt) {
		return errors.New("taken_at is not ISO 8601")
	}
	for _, w := range e.Warnings {
		if !isWord(w) {
			return errors.New("a warning is not a word of a-z and _")
		}
	}
	return nil
}

func (o *Observation) validate() error {
	switch {
	case o.Code == "":
		return errors.New("code is empty")
	case o.Eye != Right && o.Eye != Left && o.Eye != Both:
		return errors.New("eye is not R, L or B")
	case o.Seq < 0:
		return errors.New("seq is negative")
	case !o.Value.finite():
		return errors.New("value is not a finite number")
	case !o.Value.isNum && o.Value.text == "":
		return errors.New("value is empty")
	}
	for _, s := range [...]string{o.Code, o.Value.text, o.Unit, o.Method, o.Text} {
		if !utf8.ValidString(s) {
			return errors.New("text is not UTF-8")
		}
	}
	for _, s := range o.Flags {
		if !utf8.ValidString(s) {
			return errors.New("flag is not UTF-8")
		}
	}
	return nil
}

func (o *Observation) same(p *Observation) bool {
	return o.Seq == p.Seq && o.Eye == p.Eye && o.Code == p.Code && o.Method == p.Method
}

// duplicate is the index of the first observation with the key of an earlier one, or -1.
func duplicate(list []Observation) int {
	if len(list) <= manyObservations {
		for i := range list {
			for j := range list[:i] {
				if list[i].same(&list[j]) {
					return i
				}
			}
		}
		return -1
	}
	type key struct {
		code, eye, method string
		seq               int
	}
	seen := make(map[key]struct{}, len(list))
	for i := range list {
		o := &list[i]
		seen[key{o.Code, o.Eye, o.Method, o.Seq}] = struct{}{}
		if len(seen) == i {
			return i
		}
	}
	return -1
}

// isDate accepts empty, YYYY, YYYY-MM and YYYY-MM-DD.
func isDate(s string) bool {
	return s == "" || matches(s, "0000") || matches(s, "0000-00") || matches(s, "0000-00-00")
}

// isTime accepts a date, or YYYY-MM-DDThh:mm[:ss[.fraction]] with or without a zone.
func isTime(s string) bool {
	if isDate(s) {
		return true
	}
	const date = len("0000-00-00")
	if len(s) < date || !matches(s[:date], "0000-00-00") {
		return false
	}
	s = s[date:]
	if n := len(s); n > 0 && s[n-1] == 'Z' {
		s = s[:n-1]
	} else if n > 6 && (matches(s[n-6:], "+00:00") || matches(s[n-6:], "-00:00")) {
		s = s[:n-6]
	}
	if matches(s, "T00:00") || matches(s, "T00:00:00") {
		return true
	}
	const second = len("T00:00:00.")
	return len(s) > second && matches(s[:second], "T00:00:00.") && digits(s[second:])
}

// matches compares s with a form in which 0 stands for any digit.
func matches(s, form string) bool {
	if len(s) != len(form) {
		return false
	}
	for i := range len(s) {
		if form[i] == '0' && (s[i] < '0' || s[i] > '9') || form[i] != '0' && s[i] != form[i] {
			return false
		}
	}
	return true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return s != ""
}

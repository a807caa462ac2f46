package lineprofile

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Values fill the places of a profile's sample.
type Values struct {
	No    string      // {no} or {no:5}: the running number
	ID    string      // {id} or {id:13}: the patient's id
	Time  time.Time   // {time}, in the form of the profile's dates
	Digit func() byte // {d}: any digit
}

var place = regexp.MustCompile(`\{(no|id|time|d)(?::(\d{1,3}))?\}`)

// Play makes a frame of the profile's sample, with its checksum. A width fills up: {no:5} with zeros in front, others with
// blanks behind. It is for simulated instruments.
func (p *Profile) Play(v Values) ([]byte, error) {
	text, err := Bytes(strings.Join(p.Sample, ""))
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, errors.New("the profile has no sample: write a frame in it, see docs/devices/line-serial.md")
	}
	frame := place.ReplaceAllFunc(text, func(b []byte) []byte {
		m := place.FindSubmatch(b)
		width, _ := strconv.Atoi(string(m[2])) // digits, or nothing: 0
		switch string(m[1]) {
		case "no":
			return fmt.Appendf(nil, "%s%s", strings.Repeat("0", max(0, width-len(v.No))), v.No)
		case "id":
			return fmt.Appendf(nil, "%-*s", width, v.ID)
		case "time":
			return fmt.Appendf(nil, "%-*s", width, written(p.Date, v.Time))
		}
		return []byte{v.Digit()}
	})
	return p.sum(frame), nil
}

// Numbered says whether the exam of a sample tells its Values.No or Values.ID: not every instrument sends a number.
func (p *Profile) Numbered() bool {
	const number = "K-000001"
	frame, err := p.Play(Values{No: number, ID: number, Digit: func() byte { return '1' }})
	if err != nil {
		return false
	}
	for _, e := range p.Decode(frame).Exams {
		told := func(o exam.Observation) bool { return o.Value.Is(number) }
		if e.Patient.ID == number || slices.ContainsFunc(e.Observations, told) {
			return true
		}
	}
	return false
}

// sum puts the checksum into a frame without one.
func (p *Profile) sum(frame []byte) []byte {
	c := &p.Checksum
	if c.Kind == "" || len(frame) < len(p.start)+len(p.end) {
		return frame
	}
	end := len(frame) - len(p.end)
	digits := c.write(p.checksumOf(frame[len(p.start):end]))
	if c.Place == "behind" {
		return append(frame, digits...)
	}
	return append(append(frame[:end:end], digits...), p.end...)
}

// written is a time in the form of the profile's dates.
func written(form string, at time.Time) string {
	var b strings.Builder
	for form != "" {
		t := token(form)
		if t < 0 {
			b.WriteByte(form[0])
			form = form[1:]
			continue
		}
		b.WriteString(at.Format([...]string{"2006", "06", "01", "02", "15", "04", "05"}[t]))
		form = form[len(tokens[t]):]
	}
	return b.String()
}

package nidekrs

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Form is how a refractor wants its preset.
type Form uint8

// Forms of a preset: that of the manual MRT10*RTZ001J/E, and what a real RT-3100 took: additions as RA and LA, and no ETB
// before the EOT.
const (
	Manual Form = iota
	RT3100
)

// maxPatient is the most characters of a patient id in a preset.
const maxPatient = 12

// Preset makes the frame that hands the lenses of an exam to a refractor as the point from which to begin: patient id, the
// autorefractor's medians, the lensmeter's lenses; what the exam does not have is left out. A pupil distance is rounded to
// whole mm, for which the frame has room. An error says what does not fit, without quoting it; nothing is cut.
func Preset(e *exam.Exam, form Form) ([]byte, error) {
	p := preset{exam: e, form: form}
	if id := e.Patient.ID; len(id) > maxPatient || visible(id) < len(id) {
		p.fail("the patient id is not of at most %d ASCII characters", maxPatient)
	} else if id != "" {
		p.block("DRL", fmt.Sprintf("ID%*s", maxPatient, id))
	}
	p.block("DRM", p.lens("OR", exam.Right, exam.MethodAutoref), p.lens("OL", exam.Left, exam.MethodAutoref), p.pupils(exam.MethodAutoref))
	const lm = exam.MethodLensmeter
	right, left := "AR", "AL"
	if form == RT3100 {
		right, left = "RA", "LA"
	}
	p.block("DLM", p.lens(" R", exam.Right, lm), p.lens(" L", exam.Left, lm),
		p.power(right, exam.CodeAdd, exam.Right, lm), p.power(left, exam.CodeAdd, exam.Left, lm),
		p.prism("PR", exam.CodePrismH, exam.Right, "IO"), p.prism("PR", exam.CodePrismV, exam.Right, "UD"),
		p.prism("PL", exam.CodePrismH, exam.Left, "IO"), p.prism("PL", exam.CodePrismV, exam.Left, "UD"), p.pupils(lm))
	text := "\x01" + p.out.String()
	if !p.lenses {
		p.fail("the exam has no lens for a refractor")
	}
	if form == RT3100 {
		text = strings.TrimSuffix(text, "\x17")
	}
	return []byte(text + "\x04"), p.err
}

// preset is a frame in the making.
type preset struct {
	exam   *exam.Exam
	form   Form
	out    strings.Builder
	lenses bool
	err    error
}

func (p *preset) fail(format string, args ...any) {
	p.err = errors.Join(p.err, fmt.Errorf(format, args...))
}

// block writes a block of the segments that are not empty.
func (p *preset) block(head string, segments ...string) {
	for _, s := range segments {
		if s == "" {
			continue
		}
		if head != "" {
			p.out.WriteString(head + "\x02")
			head = ""
		}
		p.out.WriteString(s + "\x17")
	}
}

// find is the number that stands for the eye.
func (p *preset) find(code, eye, method string) (float64, bool) {
	for i := range p.exam.Observations {
		if o := &p.exam.Observations[i]; o.Code == code && o.Eye == eye && o.Method == method && o.Seq == 0 {
			return o.Value.Float()
		}
	}
	return 0, false
}

// dioptres are six characters, such as -01.50.
func (p *preset) dioptres(v float64, code string) string {
	if math.Abs(v) >= 99.995 {
		p.fail("%s is out of bounds", code)
	}
	return fmt.Sprintf("%+06.2f", v)
}

func (p *preset) power(name, code, eye, method string) string {
	v, ok := p.find(code, eye, method)
	if !ok {
		return ""
	}
	return name + p.dioptres(v, code)
}

// lens is a lens with a sphere; one without a cylinder is a sphere.
func (p *preset) lens(name, eye, method string) string {
	sph := p.power(name, exam.CodeSphere, eye, method)
	if sph == "" {
		return ""
	}
	p.lenses = true
	cyl, _ := p.find(exam.CodeCylinder, eye, method)
	axis, _ := p.find(exam.CodeAxis, eye, method)
	if axis < 0 || axis > 180 || axis != math.Trunc(axis) {
		p.fail("%s is out of bounds", exam.CodeAxis)
	}
	return sph + p.dioptres(cyl, exam.CodeCylinder) + fmt.Sprintf("%03.0f", axis)
}

func (p *preset) pupils(method string) string {
	v, ok := p.find(exam.CodePD, exam.Both, method)
	if !ok {
		return ""
	}
	if v < 10 || v >= 99.5 {
		p.fail("%s is out of bounds", exam.CodePD)
	}
	return fmt.Sprintf("PD%02.0f", math.Round(v))
}

// prism is an amount and the letter of its base; bases has that of + and that of -.
func (p *preset) prism(name, code, eye, bases string) string {
	v, ok := p.find(code, eye, exam.MethodLensmeter)
	if !ok || v == 0 {
		return ""
	}
	if math.Abs(v) >= 99.995 {
		p.fail("%s is out of bounds", code)
	}
	letter := bases[:1]
	if v < 0 {
		letter = bases[1:]
	}
	return fmt.Sprintf("%s%05.2f%s", name, math.Abs(v), letter)
}

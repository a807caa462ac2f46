package nidekrs_test

import (
	"os"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk/exam"
)

func observe(code, eye, method string, v float64) exam.Observation {
	unit, _ := exam.UnitOf(code)
	return exam.Observation{Code: code, Eye: eye, Method: method, Value: exam.Number(v), Unit: unit}
}

// prescribed is the exam of the sample pc_to_rt_preset.bin.
func prescribed() *exam.Exam {
	const ar, lm = exam.MethodAutoref, exam.MethodLensmeter
	e := &exam.Exam{Patient: exam.Patient{ID: "990421"}}
	add := func(eye, method string, sph, cyl, axis float64) {
		e.Observations = append(e.Observations, observe(exam.CodeSphere, eye, method, sph), observe(exam.CodeCylinder, eye, method, cyl),
			observe(exam.CodeAxis, eye, method, axis))
	}
	add(exam.Right, ar, -1.5, -1, 85)
	add(exam.Left, ar, -1.75, -0.25, 175)
	add(exam.Right, lm, -1, -0.5, 90)
	add(exam.Left, lm, -1.25, -0.25, 100)
	e.Observations = append(e.Observations, observe(exam.CodePD, exam.Both, ar, 62), observe(exam.CodeAdd, exam.Right, lm, 1.25),
		observe(exam.CodeAdd, exam.Left, lm, 1.25))
	return e
}

func TestPreset(t *testing.T) {
	want, err := os.ReadFile("testdata/nidek-rt/pc_to_rt_preset.bin")
	if err != nil {
		t.Fatal(err)
	}
	got, err := nidekrs.Preset(prescribed(), nidekrs.Manual)
	if err != nil || string(got) != string(want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	old := strings.NewReplacer("AR+", "RA+", "AL+", "LA+", "\x17\x04", "\x04").Replace(string(want))
	if got, err := nidekrs.Preset(prescribed(), nidekrs.RT3100); err != nil || string(got) != old {
		t.Errorf("RT-3100: %q, %v, want %q", got, err, old)
	}
	e := prescribed()
	e.Patient.ID = ""
	e.Observations = []exam.Observation{
		observe(exam.CodeSphere, exam.Left, exam.MethodLensmeter, 2), observe(exam.CodePrismH, exam.Left, exam.MethodLensmeter, -0.25),
		observe(exam.CodePrismV, exam.Left, exam.MethodLensmeter, 0.5), observe(exam.CodePD, exam.Both, exam.MethodLensmeter, 62.5),
	}
	const one = "\x01DLM\x02 L+02.00+00.00000\x17PL00.25O\x17PL00.50U\x17PD63\x17\x04"
	if got, err := nidekrs.Preset(e, nidekrs.Manual); err != nil || string(got) != one {
		t.Errorf("%q, %v, want %q", got, err, one)
	}
}

// TestPresetRefuses holds that nothing is cut or rounded to fit, and that an error does not quote the exam.
func TestPresetRefuses(t *testing.T) {
	for want, change := range map[string]func(e *exam.Exam){
		"12 ASCII characters":       func(e *exam.Exam) { e.Patient.ID = "S-00000990421" },
		"ASCII":                     func(e *exam.Exam) { e.Patient.ID = "\x04" },
		"no lens":                   func(e *exam.Exam) { e.Observations = e.Observations[12:] },
		"sphere is out of bounds":   func(e *exam.Exam) { e.Observations[0].Value = exam.Number(-100) },
		"cylinder is out of bounds": func(e *exam.Exam) { e.Observations[1].Value = exam.Number(100) },
		"axis is out of bounds":     func(e *exam.Exam) { e.Observations[2].Value = exam.Number(181) },
		"pd is out of bounds":       func(e *exam.Exam) { e.Observations[12].Value = exam.Number(100) },
		"prism_h is out of bounds": func(e *exam.Exam) {
			e.Observations = append(e.Observations, observe(exam.CodePrismH, exam.Left, exam.MethodLensmeter, 100))
		},
	} {
		e := prescribed()
		change(e)
		got, err := nidekrs.Preset(e, nidekrs.Manual)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "9904") {
			t.Errorf("%s: %q, %v", want, got, err)
		}
	}
}

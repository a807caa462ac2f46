package nidek

import (
	"strings"

	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

// ophthalmology reads <Ophthalmology> of lensmeters and refractors.
func ophthalmology(d *xmlexam.Draft, root xmlexam.Node) {
	d.Head(root.Child("Common"))
	for m := range root.All("Measure") {
		for c := range m.Children() {
			block(d, c)
		}
	}
}

func block(d *xmlexam.Draft, c xmlexam.Node) {
	session := xmlexam.Key{Eye: exam.Both, Method: exam.MethodRefractor}
	switch c.Name() {
	case "LM":
		d.Lenses(c)
	case "PD":
		d.PD(c, exam.MethodLensmeter)
	case "Phoropter":
		for n := range c.All("Corrected") {
			corrected(d, n)
		}
	case "KM":
		d.Kerato(c)
	case "TM":
		d.Tono(c)
	case "PACHY":
		xmlexam.Eyes(c, func(eye xmlexam.Node, letter string) { d.Pachy(eye, letter, "List", "Average") })
	case "Test_Time":
		d.Number(c, session.At(exam.CodeTestTime))
	case "SystemNo":
		systemNo(d, c)
	}
}

// systemNo adds the number of the unit; 0 is a unit that stands alone.
func systemNo(d *xmlexam.Draft, n xmlexam.Node) {
	if strings.Trim(n.Text(), "0") != "" {
		d.Text(n, xmlexam.Key{Code: exam.CodeSystemNo, Eye: exam.Both})
	}
}

// corrected reads one stage of a refraction.
func corrected(d *xmlexam.Draft, n xmlexam.Node) {
	method, known := methodOf(n)
	if !known {
		d.Exam.Warn(exam.WarnUnknownSegment)
	}
	both := xmlexam.Key{Eye: exam.Both, Method: method}
	d.Number(n.Child("VD"), both.At(exam.CodeVertexDistance))
	d.Number(n.Child("WorkingDistance"), both.At(exam.CodeWorkingDistance))
	for eye := range n.All("R", "L", "B") {
		k := xmlexam.Key{Eye: eye.Name(), Method: method}
		d.Refraction(eye, k)
		d.Acuity(eye.Child("VA"), k.At(exam.CodeVA))
		d.Acuity(eye.Child("PHVA"), k.At(exam.CodeVAPinhole))
		d.Number(eye.Child("PD"), k.At(exam.CodePD))
	}
}

// methodOf puts the three attributes of a stage into one word; false where one of them says something unknown.
func methodOf(n xmlexam.Node) (method string, known bool) {
	known = true
	switch n.Attr("CorrectionType") {
	case "LM_Base":
		method = exam.MethodLensmeter
	case "REF_Base":
		method = exam.MethodAutoref
	case "Full":
		method = exam.MethodFullCorrection
	case "Best":
		method = exam.MethodBestCorrection
	default:
		method, known = exam.MethodSubjective, false
	}
	switch n.Attr("Vision") {
	case "Distant", "":
	case "Near":
		method += exam.Near
	default:
		known = false
	}
	switch situation := strings.ToLower(n.Attr("Situation")); {
	case situation == "standard" || situation == "":
	case strings.Contains(situation, "night"), strings.Contains(situation, "dim"), strings.Contains(situation, "dark"):
		method += exam.Night
	default:
		known = false
	}
	return method, known
}

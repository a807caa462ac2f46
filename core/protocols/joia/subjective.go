package joia

import (
	"strings"

	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

// far is the shortest test distance, in cm, that is not near.
const far = 100

// methodOf translates a TypeName; an unknown one is subjective, and stays unread, which raises a warning.
func methodOf(typeName string) (method string, known bool) {
	switch strings.ToLower(strings.Join(strings.Fields(typeName), " ")) {
	case "full correction":
		return exam.MethodFullCorrection, true
	case "best correction":
		return exam.MethodBestCorrection, true
	case "prescription":
		return exam.MethodPrescription, true
	case "unaided data":
		return exam.MethodUnaided, true
	case "objective data":
		return exam.MethodObjective, true
	case "current spectacles":
		return exam.MethodCurrentSpectacles, true
	case "last prescription":
		return exam.MethodLastPrescription, true
	case "":
		return exam.MethodSubjective, true
	}
	return exam.MethodSubjective, false
}

// subjective reads one Type of a RefractionTest.
func subjective(d *xmlexam.Draft, t xmlexam.Node) {
	method, known := methodOf(t.Child("TypeName").Text())
	if !known {
		d.Exam.Warn(exam.WarnUnknownSegment)
	}
	for n := range t.All("ExamDistance") {
		examDistance(d, n, method)
	}
}

func examDistance(d *xmlexam.Draft, n xmlexam.Node, method string) {
	if cm, ok := xmlexam.Value(n.Child("Distance"), exam.CodeExamDistance).Float(); ok && cm < far {
		method += exam.Near
	}
	both := xmlexam.Key{Eye: exam.Both, Method: method}
	d.Number(n.Child("Distance"), both.At(exam.CodeExamDistance))
	data := n.Child("RefractionData")
	xmlexam.Eyes(data, func(eye xmlexam.Node, letter string) {
		d.Refraction(eye, xmlexam.Key{Eye: letter, Method: method})
	})
	d.Number(data.Child("VD"), both.At(exam.CodeVertexDistance))
	for c := range n.Child("VA").All("R", "L", "B") {
		d.Acuity(c, xmlexam.Key{Code: exam.CodeVA, Eye: c.Name(), Method: method})
	}
	d.PD(n.Child("PD"), method)
}

// Package topascope reads the XML of the Tomey TOP-1000 tonometer, which Rodenstock sells as TopaScope.
//
//	Measurement[@iop_unit @cct_unit](Company, Model, PatientID, DateTime, Eye[@type=OD|OS](IOP[@quality].., IOPAvg, CCT, CIOP), Message)
//
// The grammar is that of the maker's examples, see testdata; no capture of a unit has gone through this parser yet.
package topascope

import (
	"strings"

	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Decode makes an exam of one whole file, or a reject with the whole file as its extent. It does no I/O, keeps nothing of
// data, and may be called from several goroutines at once.
func Decode(data []byte, opt xmlexam.Options) exam.Result {
	return xmlexam.Decode(data, opt, Read)
}

// Read is Decode for a document that was parsed from data.
func Read(doc *xmlexam.Doc, data []byte, opt xmlexam.Options) exam.Result {
	root := doc.Root()
	if !root.Is("Measurement") {
		return xmlexam.Unfit(data)
	}
	d := xmlexam.NewDraft(doc, data)
	d.Exam.Device = exam.Device{Make: root.Child("Company").Text(), Model: root.Child("Model").Text()}
	d.Exam.Patient.ID = root.Child("PatientID").Text()
	d.Moment(root.Child("DateTime"))
	pressure, thickness := root.Attr("iop_unit"), root.Attr("cct_unit")
	for n := range root.All("Eye") {
		switch n.Attr("type", "Type") {
		case "OD":
			eye(d, n, exam.Right, pressure, thickness)
		case "OS":
			eye(d, n, exam.Left, pressure, thickness)
		}
	}
	return d.Finish(opt)
}

// eye reads the shots of one eye, each with its quality, their average, and what was corrected for the thickness.
func eye(d *xmlexam.Draft, n xmlexam.Node, letter, pressure, thickness string) {
	measured, corrected := exam.CodeIOP, exam.CodeIOPCorr
	if strings.HasSuffix(pressure, "Pa") {
		measured, corrected = exam.CodeIOPKPa, exam.CodeIOPCorrKP
	}
	k := xmlexam.Key{Eye: letter, Method: exam.MethodTono}
	for shot := range n.All("IOP") {
		k.Seq++
		quality := shot.Attr("quality")
		if d.NumberIn(shot, k.At(measured), pressure) && quality != "" {
			d.Add(k.At(exam.CodeQuality), exam.Text(quality), quality)
		}
	}
	k.Seq = 0
	d.NumberIn(n.Child("IOPAvg"), k.At(measured), pressure)
	d.NumberIn(n.Child("CIOP"), xmlexam.Key{Code: corrected, Eye: letter, Method: exam.MethodTonoCorrected}, pressure)
	d.NumberIn(n.Child("CCT"), xmlexam.Key{Code: exam.CodeCCT, Eye: letter, Method: exam.MethodPachy}, thickness)
}

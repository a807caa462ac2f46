// Package myah reads the XML export of the Topcon MYAH biometer, in UTF-16:
//
//	XMLDataPolarExportation(Patient(ID, LastName, FirstName, BirthDate, Sex),
//	                        PatientEyeData(PatientID, Eye, Date, Data(FlatK, FlatAngle, SteepK, SteepAngle, AxialLength, WTW))..)
//
// Eye is OD or OS; FlatK and SteepK are radii in mm. The element paths are reported ones; the sample in testdata is made up
// from them, and no capture of a unit has gone through this parser yet.
package myah

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
	if !root.Is("XMLDataPolarExportation") {
		return xmlexam.Unfit(data)
	}
	d := xmlexam.NewDraft(doc, data)
	d.Exam.Device = exam.Device{Make: "Topcon", Model: "MYAH"}
	d.Exam.Patient = patient(root.Child("Patient"))
	for n := range root.All("PatientEyeData") {
		d.Skip(n.Child("ID"))
		if id := n.Child("PatientID").Text(); d.Exam.Patient.ID == "" {
			d.Exam.Patient.ID = id
		} else if id != "" && id != d.Exam.Patient.ID {
			return xmlexam.Rejected(&exam.Reject{Reason: exam.RejectNoise, Length: int64(len(data)), Detail: "eyes of different patients in one file"})
		}
		at := xmlexam.Moment(n.Child("Date").Text(), n.Child("Time").Text(), "")
		if d.Exam.TakenAt == "" {
			d.Exam.TakenAt = at
		}
		if eye := eyeOf(n.Child("Eye").Text()); eye != "" {
			biometry(d, n.Child("Data"), eye)
		}
	}
	return d.Finish(opt)
}

func patient(p xmlexam.Node) exam.Patient {
	name := strings.Fields(p.Child("LastName").Text() + " " + p.Child("FirstName").Text())
	return exam.Patient{
		ID: p.Child("ID").Text(), Name: strings.Join(name, " "), Birth: xmlexam.Day(p.Child("BirthDate").Text(), ""),
		Sex: xmlexam.Sex(p.Child("Sex").Text()),
	}
}

func eyeOf(word string) string {
	switch strings.ToUpper(word) {
	case "OD", "R", "RIGHT":
		return exam.Right
	case "OS", "L", "LEFT":
		return exam.Left
	}
	return ""
}

// biometry reads one eye. The matrices of the topography stay in the file; so does the place of the pupil.
func biometry(d *xmlexam.Draft, n xmlexam.Node, eye string) {
	k, length := xmlexam.Key{Eye: eye, Method: exam.MethodKerato}, xmlexam.Key{Eye: eye, Method: exam.MethodBiometry}
	d.Number(n.Child("FlatK"), k.At(exam.CodeK1Radius))
	d.Number(n.Child("FlatAngle"), k.At(exam.CodeK1Axis))
	d.Number(n.Child("SteepK"), k.At(exam.CodeK2Radius))
	d.Number(n.Child("SteepAngle"), k.At(exam.CodeK2Axis))
	d.Number(n.Child("AxialLength"), length.At(exam.CodeAxialLength))
	white := n.Child("WTW")
	if !white.IsLeaf() {
		d.Skip(white.Child("OffsetX"))
		d.Skip(white.Child("OffsetY"))
		white = white.Child("Diameter")
	}
	d.Number(white, length.At(exam.CodeCornealSize))
	d.Skip(n.Child("PupilCenter"))
	for c := range n.Children() {
		if c.Child("Rows").There() && c.Child("Cols").There() {
			d.Skip(c)
		}
	}
}

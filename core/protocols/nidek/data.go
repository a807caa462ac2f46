package nidek

import (
	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

// data reads <Data> of refractometers, keratometers and tonometers.
func data(d *xmlexam.Draft, root xmlexam.Node) {
	d.Head(root)
	both := xmlexam.Key{Eye: exam.Both, Method: exam.MethodAutoref}
	d.Number(root.Child("VD"), both.At(exam.CodeVertexDistance))
	d.Number(root.Child("WorkingDistance"), both.At(exam.CodeWorkingDistance))
	xmlexam.Eyes(root, func(eye xmlexam.Node, letter string) {
		for c := range eye.Children() {
			eyeBlock(d, c, letter)
		}
	})
	pupilDistances(d, root.Child("PD"))
}

func eyeBlock(d *xmlexam.Draft, c xmlexam.Node, letter string) {
	k := xmlexam.Key{Eye: letter}
	switch c.Name() {
	case "AR":
		autoref(d, c, letter)
	case "VA":
		acuities(d, c, letter)
	case "SR":
		d.Skip(c.Child("WorkingDistance"))
		k.Method = exam.MethodSubjective
		d.Refraction(c, k)
	case "LM":
		k.Method = exam.MethodLensmeter
		d.Lens(c, k)
	case "KM":
		k.Method = exam.MethodKerato
		xmlexam.Series(c, "KMList", []string{"KMMedian"}, func(n xmlexam.Node, seq int) {
			k.Seq = seq
			d.Curvature(n, k)
		})
	case "CS", "PS":
		sizes(d, c, letter)
	case "AC":
		k.Method = exam.MethodAutoref
		d.Number(c.Child("Sphere"), k.At(exam.CodeAccommodation))
		d.Number(c.Child("MaxPS"), k.At(exam.CodePupilMax))
		d.Number(c.Child("MinPS"), k.At(exam.CodePupilMin))
		images(d, c, "AccImage", letter, exam.MethodAttachment)
	case "RI":
		images(d, c, "RetroImage", letter, exam.MethodAttachment)
	case "NT":
		tono(d, c, letter)
	case "PACHY":
		d.Pachy(c, letter, "PACHYList", "PACHYAverage")
		images(d, c, "PACHYImage", letter, exam.MethodPachyImage)
	}
}

func autoref(d *xmlexam.Draft, n xmlexam.Node, letter string) {
	k := xmlexam.Key{Eye: letter, Method: exam.MethodAutoref}
	xmlexam.Series(n, "ARList", []string{"ARMedian"}, func(n xmlexam.Node, seq int) {
		k.Seq = seq
		d.Refraction(n, k)
		d.Error(n, k)
	})
	d.Refraction(n.Child("TrialLens"), xmlexam.Key{Eye: letter, Method: exam.MethodAutorefTrialLens})
	d.Refraction(n.Child("ContactLens"), xmlexam.Key{Eye: letter, Method: exam.MethodAutorefContactLens})
	images(d, n, "RingImage", letter, exam.MethodRingImage)
}

// acuities reads the uncorrected and the best corrected acuity; the distance of the near test has no place of its own.
func acuities(d *xmlexam.Draft, n xmlexam.Node, letter string) {
	d.Skip(n.Child("WorkingDistance"))
	k := xmlexam.Key{Code: exam.CodeVA, Eye: letter, Method: exam.MethodUnaided}
	d.Acuity(n.Child("UCVA"), k)
	k.Method = exam.MethodCorrected
	d.Acuity(n.Child("BCVA"), k)
}

// sizes reads the sizes of cornea and pupil.
func sizes(d *xmlexam.Draft, n xmlexam.Node, letter string) {
	k := xmlexam.Key{Eye: letter, Method: exam.MethodKerato}
	xmlexam.Series(n, "CSList", nil, func(n xmlexam.Node, seq int) {
		k.Seq = seq
		d.Number(n.Child("Size"), k.At(exam.CodeCornealSize))
	})
	xmlexam.Series(n, "PSList", nil, func(n xmlexam.Node, seq int) {
		k.Seq = seq
		d.Number(n.Child("Size"), k.At(exam.CodePupilSize))
		d.Text(n.Child("Lamp"), k.At(exam.CodeLamp))
	})
}

func tono(d *xmlexam.Draft, n xmlexam.Node, letter string) {
	xmlexam.Series(n, "NTList", []string{"NTAverage"}, func(n xmlexam.Node, seq int) {
		d.Pressure(n, xmlexam.Key{Eye: letter, Method: exam.MethodTono, Seq: seq}, exam.CodeIOP, exam.CodeIOPKPa)
	})
	d.Corrected(n.Child("CorrectedIOP"), letter)
}

// images adds the names of image files, which may stand between line breaks.
func images(d *xmlexam.Draft, n xmlexam.Node, name, letter, method string) {
	for c := range n.All(name) {
		d.Text(c, xmlexam.Key{Code: exam.CodeAttachment, Eye: letter, Method: method})
	}
}

// pupilDistances reads PDList: the only one is a summary, several are shots.
func pupilDistances(d *xmlexam.Draft, n xmlexam.Node) {
	lists := 0
	for range n.All("PDList") {
		lists++
	}
	xmlexam.Series(n, "PDList", nil, func(n xmlexam.Node, seq int) {
		if lists == 1 {
			seq = 0
		}
		k := xmlexam.Key{Code: exam.CodePD, Eye: exam.Both, Method: exam.MethodAutoref, Seq: seq}
		d.Number(n.Child("FarPD"), k)
		d.Number(n.Child("NearPD"), k.Near())
		k.Eye = exam.Right
		d.Number(n.Child("RPD"), k)
		k.Eye = exam.Left
		d.Number(n.Child("LPD"), k)
	})
}

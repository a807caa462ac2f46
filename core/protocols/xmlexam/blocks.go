package xmlexam

import (
	"strconv"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Eyes calls f for each R and L inside n, with the eye's letter.
func Eyes(n Node, f func(eye Node, letter string)) {
	for c := range n.All("R", "L") {
		f(c, c.Name())
	}
}

// Shot is the number of a single shot: its attribute No, else its place among its like, from 1.
func Shot(n Node, place int) int {
	if no, err := strconv.Atoi(n.Attr("No", "No.")); err == nil && no > 0 {
		return no
	}
	return place
}

// Series reads the shots of an eye, one element of name list each, and its summary; read gets each with its number.
func Series(eye Node, list string, summary []string, read func(n Node, seq int)) {
	place := 0
	for n := range eye.All(list) {
		place++
		read(n, Shot(n, place))
	}
	for n := range eye.All(summary...) {
		read(n, 0)
	}
}

// Error adds the device's word for a failed shot.
func (d *Draft) Error(n Node, k Key) { d.Text(n.Child("Error"), k.At(exam.CodeError)) }

// Refraction reads the elements of one refraction or lens, whichever of them are there; k.Code is not used.
func (d *Draft) Refraction(n Node, k Key) {
	for c := range n.Children() {
		switch string(c.local()) {
		case "Sphere", "Sphare", "Sph":
			d.Number(c, k.At(exam.CodeSphere))
		case "Cylinder", "Cyl":
			d.Number(c, k.At(exam.CodeCylinder))
		case "Axis":
			d.Number(c, k.At(exam.CodeAxis))
		case "SE":
			d.Number(c, k.At(exam.CodeSE))
		case "ADD", "Add", "Add1":
			d.Number(c, k.At(exam.CodeAdd))
		case "ADD2", "Add2":
			d.Number(c, k.At(exam.CodeAdd2))
		case "NearSphere", "NearSphare":
			d.Number(c, k.At(exam.CodeNearSphere))
		case "UVTransmittance":
			d.Number(c, k.At(exam.CodeUVTransmittance))
		case "ConfidenceIndex":
			d.Number(c, k.At(exam.CodeConfidence))
		default:
			d.prism(n, c, k)
		}
	}
}

// prism reads c, one of the elements of a prism inside n. JOIA does not say what the sign of H and V means.
func (d *Draft) prism(n, c Node, k Key) {
	switch string(c.local()) {
	case "Prism":
		d.Number(c, k.At(exam.CodePrism))
	case "PrismBase", "Angle":
		d.Number(c, k.At(exam.CodePrismBase))
	case "PrismX":
		d.Signed(c, k.At(exam.CodePrismH), c.Attr("base", "Base"))
	case "PrismY":
		d.Signed(c, k.At(exam.CodePrismV), c.Attr("base", "Base"))
	case "HPri":
		d.Signed(c, k.At(exam.CodePrismH), n.Child("HBase").Text())
	case "VPri":
		d.Signed(c, k.At(exam.CodePrismV), n.Child("VBase").Text())
	case "H":
		d.Signed(c, k.At(exam.CodePrismH), "")
	case "V":
		d.Signed(c, k.At(exam.CodePrismV), "")
	}
}

// Lens reads one lens; a failed measurement counts as its first shot.
func (d *Draft) Lens(n Node, k Key) {
	d.Refraction(n, k)
	k.Seq = 1
	d.Error(n, k)
}

// Lenses reads a lensmeter's block: S is a lens of unknown side.
func (d *Draft) Lenses(n Node) {
	for c := range n.All("S") {
		d.Lens(c, Key{Eye: exam.Both, Method: exam.MethodLensmeterSingle})
	}
	Eyes(n, func(eye Node, letter string) { d.Lens(eye, Key{Eye: letter, Method: exam.MethodLensmeter}) })
}

// PD reads pupil distances: Distance, DistanceR, DistanceL and Near in n, or Distance inside B, R and L, or leaves B, R
// and L.
func (d *Draft) PD(n Node, method string) {
	k := Key{Code: exam.CodePD, Eye: exam.Both, Method: method}
	for c := range n.Children() {
		at := k
		switch string(c.local()) {
		case "Distance":
		case "DistanceR", "DistanceL":
			at.Eye = c.Name()[len("Distance"):]
		case "Near":
			at = k.Near()
		case "NearR", "NearL":
			at = k.Near()
			at.Eye = c.Name()[len("Near"):]
		case "B", "R", "L":
			at.Eye = c.Name()
			d.Number(c.Child("Near"), at.Near())
			if !c.IsLeaf() {
				c = c.Child("Distance")
			}
		default:
			continue
		}
		d.Number(c, at)
	}
}

// Curvature reads one keratometry: R1 is flat, R2 is steep.
func (d *Draft) Curvature(n Node, k Key) {
	part := func(n Node, power, radius, axis string) {
		d.Number(n.Child("Radius"), k.At(radius))
		d.Number(n.Child("Power"), k.At(power))
		if axis != "" {
			d.Number(n.Child("Axis"), k.At(axis))
		}
	}
	part(n.Child("R1"), exam.CodeK1, exam.CodeK1Radius, exam.CodeK1Axis)
	part(n.Child("R2"), exam.CodeK2, exam.CodeK2Radius, exam.CodeK2Axis)
	part(n.Child("Average"), exam.CodeKAvg, exam.CodeKAvgRad, "")
	cylinder := n.Child("Cylinder", "KMCylinder")
	d.Number(cylinder.Child("Power"), k.At(exam.CodeKCyl))
	d.Number(cylinder.Child("Axis"), k.At(exam.CodeKCylAxis))
	d.Error(n, k)
}

// Kerato reads a KM block of <Ophthalmology>.
func (d *Draft) Kerato(n Node) {
	Eyes(n, func(eye Node, letter string) {
		Series(eye, "List", []string{"Median", "Average"}, func(n Node, seq int) {
			d.Curvature(n, Key{Eye: letter, Method: exam.MethodKerato, Seq: seq})
		})
	})
}

// Pressure reads one pressure from the elements of n; hPa is what JOIA's IOP_Pa is in where it does not say.
func (d *Draft) Pressure(n Node, k Key, mmHg, kPa string) {
	d.Number(n.Child("IOP_mmHg", "mmHg"), k.At(mmHg))
	d.NumberIn(n.Child("IOP_Pa"), k.At(kPa), "hPa")
	d.Number(n.Child("kPa"), k.At(kPa))
	d.Error(n, k)
}

// Tono reads a TM block of <Ophthalmology>.
func (d *Draft) Tono(n Node) {
	Eyes(n, func(eye Node, letter string) {
		Series(eye, "List", []string{"Average", "Median"}, func(n Node, seq int) {
			d.Pressure(n, Key{Eye: letter, Method: exam.MethodTono, Seq: seq}, exam.CodeIOP, exam.CodeIOPKPa)
		})
	})
}

// Pachy reads the thickness of the cornea in the elements list and summary of an eye.
func (d *Draft) Pachy(eye Node, letter, list, summary string) {
	Series(eye, list, []string{summary}, func(n Node, seq int) {
		k := Key{Code: exam.CodeCCT, Eye: letter, Method: exam.MethodPachy, Seq: seq}
		d.Number(n.Child("Thickness"), k)
		d.NumberIn(n.Child("CCT_mm"), k, exam.UnitMM)
		d.Error(n, k)
	})
}

// Corrected reads a pressure corrected for the thickness of the cornea. What it was computed from stands elsewhere.
func (d *Draft) Corrected(n Node, letter string) {
	d.Skip(n.Child("CCT"))
	k := Key{Eye: letter, Method: exam.MethodTonoCorrected}
	if c := n.Child("Corrected"); c.IsLeaf() {
		d.Number(c, k.At(exam.CodeIOPCorr))
	} else {
		d.Pressure(c, k, exam.CodeIOPCorr, exam.CodeIOPCorrKP)
	}
}

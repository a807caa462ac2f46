// Package huvitz reads the <datalab> XML that a Huvitz HTR-1A, also sold as Nikon Speedy-K, leaves over the network:
//
//	datalab(patient, date, version, ref(rrs rrc rra rrp, rls ..), ker(krr1 krr2 krax, klr1 ..), tono(tr01 .. tr, tl ..),
//	        pachy(pr01 .. pr, pl ..), misc(C-R01 .. C-R-A, C-L ..))
//
// The grammar is that of the maker's documentation examples, see testdata; no capture of a unit has gone through this parser
// yet. The unit's patient is its running number, and it has no time of day.
package huvitz

import (
	"strconv"
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
	if !root.Is("datalab") {
		return xmlexam.Unfit(data)
	}
	d := xmlexam.NewDraft(doc, data)
	d.Anonymous()
	d.Skip(root.Child("version"))
	d.Moment(root.Child("date"))
	d.Text(root.Child("patient"), xmlexam.Key{Code: exam.CodeExamNo, Eye: exam.Both})
	d.EndHead()
	refraction(d, root.Child("ref"))
	for n := range root.Child("ker").Children() {
		curvature(d, n)
	}
	for _, shots := range []struct{ block, before, code, method string }{
		{"tono", "t", exam.CodeIOP, exam.MethodTono},
		{"pachy", "p", exam.CodeCCT, exam.MethodPachy},
		{"misc", "C-", exam.CodeIOPCorr, exam.MethodTonoCorrected},
	} {
		for n := range root.Child(shots.block).Children() {
			if eye, seq, ok := shot(n.Name(), shots.before); ok {
				d.Number(n, xmlexam.Key{Code: shots.code, Eye: eye, Method: shots.method, Seq: seq})
			}
		}
	}
	return d.Finish(opt)
}

// refraction reads r, the eye, and s, c, a or p. Both p are the same distance of both pupils.
func refraction(d *xmlexam.Draft, ref xmlexam.Node) {
	pd := ref.Child("rrp").Text()
	for n := range ref.Children() {
		name := n.Name()
		if len(name) != 3 || name[0] != 'r' {
			continue
		}
		k := xmlexam.Key{Eye: eyeOf(name[1]), Method: exam.MethodAutoref}
		switch {
		case k.Eye == "":
			continue
		case name[2] == 's':
			k.Code = exam.CodeSphere
		case name[2] == 'c':
			k.Code = exam.CodeCylinder
		case name[2] == 'a':
			k.Code = exam.CodeAxis
		case name == "rlp" && n.Text() == pd:
			continue
		case name[2] == 'p':
			k.Code, k.Eye = exam.CodePD, exam.Both
		default:
			continue
		}
		d.Number(n, k)
	}
}

// curvature reads k, the eye, and r1, r2 or ax; the axis is that of r1.
func curvature(d *xmlexam.Draft, n xmlexam.Node) {
	name := n.Name()
	if len(name) != 4 || name[0] != 'k' {
		return
	}
	k := xmlexam.Key{Eye: eyeOf(name[1]), Method: exam.MethodKerato}
	switch name[2:] {
	case "r1":
		k.Code = exam.CodeK1Radius
	case "r2":
		k.Code = exam.CodeK2Radius
	case "ax":
		k.Code = exam.CodeK1Axis
	}
	if k.Eye != "" && k.Code != "" {
		d.Number(n, k)
	}
}

// shot reads what stands behind before: the eye, and a shot's number, or nothing or -A for the average.
func shot(name, before string) (eye string, seq int, ok bool) {
	rest, ok := strings.CutPrefix(name, before)
	if !ok || rest == "" {
		return "", 0, false
	}
	if eye, rest = eyeOf(rest[0]), rest[1:]; rest != "" && rest != "-A" {
		n, err := strconv.ParseUint(rest, 10, 16)
		if err != nil || n == 0 {
			return "", 0, false
		}
		seq = int(n)
	}
	return eye, seq, eye != ""
}

func eyeOf(c byte) string {
	switch c {
	case 'r', 'R':
		return exam.Right
	case 'l', 'L':
		return exam.Left
	}
	return ""
}

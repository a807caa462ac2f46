// Package nidek reads the XML that NIDEK's instruments leave on a shared folder: <Data> of AR, ARK, TONOREF and NT units,
// and <Ophthalmology> of the LM-1800PD lensmeter and the RT-6100 refractor; also the bare <R> or <L> of an LM-7.
//
// The grammar is that of the maker's examples, see testdata; no capture of a unit has gone through this parser yet.
package nidek

import (
	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Decode makes an exam of one whole file, or a reject with the whole file as its extent. It does no I/O, keeps nothing of
// data, and may be called from several goroutines at once.
func Decode(data []byte, opt xmlexam.Options) exam.Result {
	return xmlexam.Decode(data, opt, Read)
}

// Read is Decode for a document that was parsed from raw.
func Read(doc *xmlexam.Doc, raw []byte, opt xmlexam.Options) exam.Result {
	d := xmlexam.NewDraft(doc, raw)
	switch root := doc.Root(); {
	case root.Is("Data"):
		data(d, root)
	case root.Is("Ophthalmology"):
		ophthalmology(d, root)
	case IsFragment(doc):
		d.Fragment()
		fragment(d, doc)
	default:
		return xmlexam.Unfit(raw)
	}
	return d.Finish(opt)
}

// IsFragment says whether all that stands in doc is lenses without a root: R, L or S.
func IsFragment(doc *xmlexam.Doc) bool {
	for n := range doc.Roots() {
		if !n.Is("R", "L", "S") {
			return false
		}
	}
	return true
}

func fragment(d *xmlexam.Draft, doc *xmlexam.Doc) {
	for n := range doc.Roots() {
		k := xmlexam.Key{Eye: n.Name(), Method: exam.MethodLensmeter}
		if n.Is("S") {
			k = xmlexam.Key{Eye: exam.Both, Method: exam.MethodLensmeterSingle}
		}
		d.Lens(n, k)
	}
}

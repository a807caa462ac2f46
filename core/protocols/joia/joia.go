// Package joia reads the common XML of the Japan Ophthalmic Instruments Association, version 1.2, as Topcon's refractors,
// keratometers, lensmeters and tonometers write it, and the lensmeters of Tomey and Rodenstock.
//
// Elements are told by their local name, so that files without namespaces, or with the address of Topcon in place of
// JOIA's, read the same. The format is known from reported files, see testdata; all of those are synthetic.
package joia

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
	if !root.Is("Ophthalmology") {
		return xmlexam.Unfit(data)
	}
	d := xmlexam.NewDraft(doc, data)
	d.Head(root.Child("Common"))
	for m := range root.All("Measure") {
		measure(d, m)
	}
	return d.Finish(opt)
}

// measure reads one Measure: its blocks tell what it is, whatever its attribute says. A distance of the pupils or of the
// vertex belongs to the refraction or the lens beside it.
func measure(d *xmlexam.Draft, m xmlexam.Node) {
	method := exam.MethodAutoref
	if m.Child("LM").There() {
		method = exam.MethodLensmeter
	}
	for c := range m.Children() {
		switch c.Name() {
		case "VD":
			d.Number(c, xmlexam.Key{Code: exam.CodeVertexDistance, Eye: exam.Both, Method: method})
		case "PD":
			d.PD(c, method)
		case "REF":
			autoref(d, c)
		case "KM":
			d.Kerato(c)
		case "LM":
			d.Lenses(c)
		case "RefractionTest":
			for t := range c.All("Type") {
				subjective(d, t)
			}
		case "TM":
			d.Tono(c)
			corrected(d, c.Child("CorrectedIOP"))
		case "CCT":
			xmlexam.Eyes(c, func(eye xmlexam.Node, letter string) { d.Pachy(eye, letter, "List", "Average") })
		case "CorrectedIOP":
			corrected(d, c)
		}
	}
}

func autoref(d *xmlexam.Draft, n xmlexam.Node) {
	xmlexam.Eyes(n, func(eye xmlexam.Node, letter string) {
		xmlexam.Series(eye, "List", []string{"Median", "Average"}, func(n xmlexam.Node, seq int) {
			k := xmlexam.Key{Eye: letter, Method: exam.MethodAutoref, Seq: seq}
			d.Refraction(n, k)
			d.Error(n, k)
		})
	})
}

// corrected reads the pressures of each formula; the first one's number is 0.
func corrected(d *xmlexam.Draft, n xmlexam.Node) {
	for formula := range n.Children() {
		if strings.HasPrefix(formula.Name(), "Formula") {
			xmlexam.Eyes(formula, d.Corrected)
		}
	}
	xmlexam.Eyes(n, d.Corrected)
}

// Package eyexml is the front door of the eye instruments' XML exports: it tells the makers' formats apart by their
// content and hands the document to the decoder that knows it.
package eyexml

import (
	"strings"

	"github.com/hostd/hostd/core/protocols/huvitz"
	"github.com/hostd/hostd/core/protocols/joia"
	"github.com/hostd/hostd/core/protocols/myah"
	"github.com/hostd/hostd/core/protocols/nidek"
	"github.com/hostd/hostd/core/protocols/topascope"
	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Formats that Decode knows.
const (
	FormatAuto      = "auto"      // by root element, version and maker
	FormatJOIA      = "joia"      // JOIA common XML: Topcon, also Tomey and Rodenstock lensmeters
	FormatNIDEK     = "nidek"     // NIDEK <Data>, NIDEK <Ophthalmology>, bare NIDEK lenses
	FormatTopaScope = "topascope" // Tomey TOP-1000, Rodenstock TopaScope
	FormatHuvitz    = "huvitz"    // Huvitz HTR-1A <datalab>
	FormatMYAH      = "myah"      // Topcon MYAH
)

// Options of Decode; the zero Options are good defaults.
type Options struct {
	Format   string // one of the Format constants; empty is FormatAuto
	Codepage string // the site's code page where the bytes do not fit their label: cp949, cp932, windows-1252 ...; empty is cp949
	MaxSize  int    // bytes of input; 0 is 16 MiB; larger input is one reject too_large
	MaxDepth int    // nesting of elements; 0 is 64; deeper input is one reject too_deep
	// HasFile is asked for each attachment that the exam names (file name as sent, without the blanks around it); an exam
	// with one that is not there gets the warning attachment_absent. Nil means that none is there. The caller tries
	// stems without their inner blanks too: one document pads and unpads the patient's id.
	HasFile func(name string) bool
}

// Decode makes exams of one whole file. It never fails: what it cannot read is a reject, with the whole file as its
// extent. It does no I/O of its own, keeps nothing of data, and may be called from several goroutines at once. A format
// that is not one of the constants reads nothing: check it with KnownFormat where the setting is read. read is the format
// that the file was read as: for FormatAuto the one that was found, empty where it was none.
func Decode(data []byte, opt Options) (result exam.Result, read string) {
	limits := xmlexam.Options{Codepage: opt.Codepage, MaxSize: opt.MaxSize, MaxDepth: opt.MaxDepth, HasFile: opt.HasFile}
	doc, fault := xmlexam.Parse(data, limits)
	if fault != nil {
		return xmlexam.Rejected(fault), ""
	}
	format := opt.Format
	if format == "" || format == FormatAuto {
		format = Sniff(doc)
	}
	switch format {
	case FormatJOIA:
		return joia.Read(doc, data, limits), format
	case FormatNIDEK:
		return nidek.Read(doc, data, limits), format
	case FormatTopaScope:
		return topascope.Read(doc, data, limits), format
	case FormatHuvitz:
		return huvitz.Read(doc, data, limits), format
	case FormatMYAH:
		return myah.Read(doc, data, limits), format
	}
	return xmlexam.Unfit(data), ""
}

// KnownFormat says whether name is one of the Format constants or empty.
func KnownFormat(name string) bool {
	switch name {
	case "", FormatAuto, FormatJOIA, FormatNIDEK, FormatTopaScope, FormatHuvitz, FormatMYAH:
		return true
	}
	return false
}

// Sniff tells the format of doc: one of the Format constants, or empty where it is none of them.
func Sniff(doc *xmlexam.Doc) string {
	root := doc.Root()
	common := root.Child("Common")
	switch {
	case root.Is("Data"), nidek.IsFragment(doc):
		return FormatNIDEK
	case root.Is("Measurement"):
		return FormatTopaScope
	case root.Is("datalab"):
		return FormatHuvitz
	case root.Is("XMLDataPolarExportation"):
		return FormatMYAH
	case !root.Is("Ophthalmology"):
		return ""
	case strings.HasPrefix(common.Child("Version").Text(), "NIDEK"), strings.EqualFold(common.Child("Company").Text(), "NIDEK"):
		return FormatNIDEK
	}
	return FormatJOIA
}

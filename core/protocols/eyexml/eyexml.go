// Package eyexml is the front door of the eye instruments' XML exports: it tells the makers' formats apart by their
// content and hands the bytes to the decoder that knows them.
package eyexml

import "github.com/hostd/hostd/core/sdk/exam"

// Formats that Decode knows.
const (
	FormatAuto  = "auto"  // by root element and version
	FormatJOIA  = "joia"  // JOIA common XML: Topcon, also Tomey and Rodenstock lensmeters
	FormatNIDEK = "nidek" // NIDEK <Data>, NIDEK <Ophthalmology>
)

// Options of Decode; the zero Options are good defaults.
type Options struct {
	Format   string // one of the Format constants; empty is FormatAuto
	Codepage string // the site's code page where the bytes do not fit their label: cp949, cp932, windows-1252 ...; empty is cp949
	MaxSize  int    // bytes of input; 0 is 16 MiB; larger input is one reject too_large
	MaxDepth int    // nesting of elements; 0 is 64; deeper input is one reject too_deep
	HasFile  func(name string) bool
}

// Decode makes exams of one whole file. It never fails: what it cannot read is a reject, with the whole file as its
// extent. It does no I/O, keeps nothing of data, and may be called from several goroutines at once.
//
// HasFile is asked for each attachment that the file names (file name as sent, trimmed); an exam with one that is not
// there gets the warning attachment_absent. With a nil HasFile nothing is known to be there.
func Decode(data []byte, opt Options) exam.Result { return exam.Result{} }

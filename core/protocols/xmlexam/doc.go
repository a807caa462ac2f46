// Package xmlexam is what the XML formats of eye instruments have in common: from bytes to a tree, from elements to
// observations.
//
//	bytes -> [ textenc -> Parse -> Doc ] -> joia, nidek -> [ Draft -> exam.Result ]
//
// The parser is its own because encoding/xml cannot bound its memory by its input, loses where it stood, and makes an
// empty record of a file whose label lies. What it accepts, encoding/xml accepts too (FuzzParse holds that); it refuses
// document types with entities of their own.
package xmlexam

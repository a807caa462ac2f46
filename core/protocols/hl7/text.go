package hl7

// Text decodes a part of the message, as the views give it: its character set (MSH-18, or what Options say) and its escapes
// (HL7 v2.5.1 section 2.7). A raw line end in it becomes \n; an unknown escape stays as it is. The error is
// textenc.ErrUndecodable, or that MSH-18 names an unknown character set.
func (m *Message) Text(raw []byte) (string, error) { return string(raw), nil }

func (d Delimiters) appendEscaped(dst []byte, text string) []byte { return append(dst, text...) }

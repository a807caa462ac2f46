package capture

import "unicode/utf8"

// Mask is the log with every letter as x and every digit as 9, byte for byte; what is no ASCII counts as letters. Control
// characters, punctuation, lengths, times and order stay. It knows UTF-8 and the double-byte code pages (949, 932, 936,
// 950) from their bytes, where in doubt a punctuation mark from @ up behind a letter that is no ASCII counts as its second
// half; UTF-16 is masked byte by byte.
func (l *Log) Mask() Log {
	type stream struct {
		conn int
		kind Kind
	}
	maskers := map[stream]*masker{}
	out := Log{Masked: true, Bad: l.Bad, last: l.last, Events: make([]Event, len(l.Events))}
	for i, e := range l.Events {
		if len(e.Data) > 0 {
			s := stream{e.Conn, e.Kind}
			if maskers[s] == nil {
				maskers[s] = &masker{}
			}
			e.Data = maskers[s].mask(e.Data)
		}
		out.Events[i] = e
	}
	return out
}

// Mask is one text masked as Log.Mask does it.
func Mask(text []byte) []byte { return (&masker{}).mask(text) }

// masker masks one direction of a connection, piece by piece.
type masker struct{ begun []byte } // of a character whose rest comes with the next piece, at most three bytes

func (m *masker) mask(piece []byte) []byte {
	known := len(m.begun)
	text := append(m.begun, piece...)
	out := make([]byte, 0, len(text))
	m.begun = nil
	for at := 0; at < len(text); {
		n := m.character(text[at:])
		if n == 0 { // it is not whole
			m.begun = append(m.begun, text[at:]...)
			n = len(text) - at
		}
		for _, c := range text[at : at+n] {
			out = append(out, maskByte(c, n > 1))
		}
		at += n
	}
	return out[known:]
}

// character is how many bytes the first character has; 0 where more are needed to tell.
func (m *masker) character(text []byte) int {
	if text[0] < utf8.RuneSelf {
		return 1
	}
	if !utf8.FullRune(text) {
		return 0
	}
	if r, n := utf8.DecodeRune(text); r != utf8.RuneError || n > 1 {
		return n
	}
	if len(text) == 1 {
		return 0
	}
	if text[1] >= '@' && text[1] != 0x7f { // the second byte of a double-byte code page may look like punctuation
		return 2
	}
	return 1
}

func maskByte(c byte, wide bool) byte {
	switch {
	case wide, c >= utf8.RuneSelf, c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return 'x'
	case c >= '0' && c <= '9':
		return '9'
	}
	return c
}

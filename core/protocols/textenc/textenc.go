// Package textenc makes UTF-8 of what instruments call text: it looks at the first bytes, then at the label, and never
// believes a label that the bytes contradict.
//
//	bytes -> byte order mark, 3C 00, 00 3C? UTF-16 : label that fits, strictly -> UTF-8 -> the site's code page, strictly
//
// Nothing is replaced: bytes that fit no character set are an error, not a question mark.
package textenc

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// DefaultCodepage is the site's code page where none is set: Korean, as Windows has it.
const DefaultCodepage = "cp949"

// ErrUndecodable says that the bytes fit neither their label nor the site's code page.
var ErrUndecodable = errors.New("bytes fit no known character set")

// Text is what XML makes of a file.
type Text struct {
	UTF8 []byte // the text, without byte order mark; may share memory with the input, so neither may be changed
	// Charset is what the bytes were: utf-8, utf-16le, utf-16be, or the name of the code page.
	Charset     string
	Mislabelled bool // the bytes were not what their label said
	Undeclared  bool // no label, and not UTF-8: the site's code page was tried and fitted
}

// XML makes UTF-8 of an XML file, whole or not. codepage is the site's, for bytes that are not what their label says;
// empty is DefaultCodepage. A label in the prolog is blanked where it no longer holds, so that a parser does not decode
// a second time; UTF8 has the byte offsets of the input only where Charset is utf-8 and no mark stood before it. The
// error is ErrUndecodable, or that the site's code page is unknown.
func XML(data []byte, codepage string) (Text, error) {
	if codepage == "" {
		codepage = DefaultCodepage
	}
	if !Known(codepage) {
		return Text{}, fmt.Errorf("decode text: code page %q is unknown", codepage)
	}
	if order, bom := sniffUTF16(data); order != "" {
		return fromUTF16(data[bom:], order)
	}
	body, marked := bytes.CutPrefix(data, []byte("\xef\xbb\xbf"))
	from, to := label(body)
	name := string(body[from:to])
	text, err := fromBytes(body, normalize(name), marked, codepage)
	if err != nil {
		return Text{}, err
	}
	if name != "" && (!strings.EqualFold(name, utf8Name) || text.Charset != utf8Name) {
		text.UTF8 = blankLabel(text.UTF8, &text.UTF8[0] == &body[0])
	}
	return text, nil
}

const utf8Name = "utf-8"

// fromBytes decides for bytes in which a character is one byte or more, and ASCII is ASCII.
func fromBytes(body []byte, name string, marked bool, codepage string) (Text, error) {
	valid, buf := utf8.Valid(body), []byte(nil)
	switch {
	case marked && valid, name == utf8Name && valid:
		return Text{UTF8: body, Charset: utf8Name, Mislabelled: name != "" && name != utf8Name}, nil
	case name == "" && valid:
		return Text{UTF8: body, Charset: utf8Name}, nil
	}
	if name != utf8Name {
		if out, ok := decode(name, body, &buf); ok {
			return Text{UTF8: out, Charset: name}, nil
		}
	}
	if valid {
		return Text{UTF8: body, Charset: utf8Name, Mislabelled: true}, nil
	}
	site := normalize(codepage)
	out, ok := decode(site, body, &buf)
	if !ok {
		return Text{}, fmt.Errorf("decode text: %w", ErrUndecodable)
	}
	return Text{UTF8: out, Charset: site, Mislabelled: name != "", Undeclared: name == ""}, nil
}

// blankLabel overwrites encoding="..." in the prolog with blanks, in a copy where the memory is the caller's.
func blankLabel(text []byte, shared bool) []byte {
	from, to := label(text)
	if from == to {
		return text
	}
	start := bytes.LastIndex(text[:from], []byte("encoding"))
	if shared {
		text = bytes.Clone(text)
	}
	for i := start; i <= to; i++ {
		text[i] = ' '
	}
	return text
}

// label is where the prolog's encoding name stands, without its quotes; empty where there is none.
func label(text []byte) (from, to int) {
	const open = "<?xml"
	start := skipBlank(text, 0, len(text))
	if n := start + len(open); !bytes.HasPrefix(text[start:], []byte(open)) || skipBlank(text, n, len(text)) == n {
		return 0, 0
	}
	end := bytes.Index(text[start:], []byte("?>"))
	if end < 0 {
		return 0, 0
	}
	end += start
	at := bytes.Index(text[start:end], []byte("encoding"))
	if at < 0 {
		return 0, 0
	}
	at = skipBlank(text, start+at+len("encoding"), end)
	if at >= end || text[at] != '=' {
		return 0, 0
	}
	at = skipBlank(text, at+1, end)
	if at >= end || text[at] != '"' && text[at] != '\'' {
		return 0, 0
	}
	n := bytes.IndexByte(text[at+1:end], text[at])
	if n < 0 {
		return 0, 0
	}
	return at + 1, at + 1 + n
}

func skipBlank(text []byte, at, end int) int {
	for at < end && strings.IndexByte(" \t\r\n", text[at]) >= 0 {
		at++
	}
	return at
}

func isASCII(data []byte) bool {
	for _, c := range data {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

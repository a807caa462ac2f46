package hl7

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/exam"
)

// charset is what the texts of one message are written in.
type charset struct {
	page  string // name that textenc knows
	warn  string // exam.WarnCharsetUndeclared, WarnEncodingMislabelled, or empty
	shift shift
}

// utf8Page is also that of ASCII.
const utf8Page = "utf-8"

// charsetOf finds out what b is written in: what MSH-18 declares or the source is known to send, where the bytes fit it;
// else UTF-8 where they fit that, else the site's code page.
func (o Options) charsetOf(declared []byte, repetition byte, b []byte) charset {
	wide := bytes.IndexByte(b, esc) >= 0
	c := charset{page: utf8Page}
	if wide {
		c.shift = iso2022
	}
	if isASCII(b) {
		return c
	}
	page := pageOf(declared, repetition)
	if len(declared) == 0 && o.Charset != "" {
		page = pageNamed(o.Charset)
	}
	site := o.Codepage
	if site == "" {
		site = textenc.DefaultCodepage
	}
	switch {
	case page != "" && fits(page, b) && !(isOneByte(page) && utf8.Valid(b)):
		c.page = page
	case utf8.Valid(b):
		c.warn = exam.WarnEncodingMislabelled
	default:
		c.page = pageNamed(site)
		c.warn = exam.WarnEncodingMislabelled
	}
	if len(declared) == 0 && o.Charset == "" && c.warn != "" {
		c.warn = ""
		if c.page != utf8Page {
			c.warn = exam.WarnCharsetUndeclared
		}
	}
	if c.shift == plain {
		c.shift = shiftOf(c.page)
	}
	return c
}

// isOneByte says whether nearly every text fits the page, so that fitting it proves nothing.
func isOneByte(page string) bool {
	return strings.HasPrefix(page, "iso-8859-") || strings.HasPrefix(page, "windows-")
}

func shiftOf(page string) shift {
	switch page {
	case "cp932":
		return sjis
	case "gb18030", "big5":
		return double
	}
	return plain
}

// pageOf is the first page that MSH-18 names, but for ASCII; empty where it names none that is known. The first of its
// repetitions is what the message begins with, the others are switched to (HL7 v2.5.1 section 2.15.9.18).
func pageOf(declared []byte, repetition byte) string {
	d := Delimiters{}
	for rest, more := declared, len(declared) > 0; more; {
		var name []byte
		name, rest, more = d.cut(rest, repetition)
		if page := pageNamed(string(name)); page != "" {
			return page
		}
	}
	return ""
}

// KnownCharset says whether name is one that Options.Charset and MSH-18 may have: of HL7 table 0211, or of textenc.
func KnownCharset(name string) bool {
	return pageNamed(name) != "" || isASCIIName(name)
}

func isASCIIName(name string) bool {
	switch strings.ToUpper(strings.TrimSpace(name)) {
	case "ASCII", "US-ASCII", "ISO IR6":
		return true
	}
	return false
}

// pageNamed is what textenc calls a name of table 0211, or any that textenc knows; empty for an unknown one and for ASCII.
func pageNamed(name string) string {
	if isASCIIName(name) {
		return ""
	}
	name = strings.ToUpper(strings.TrimSpace(name))
	switch name {
	case "UNICODE UTF-8", "UNICODE", "UTF-8":
		return utf8Page
	case "KS X 1001":
		return "cp949"
	case "ISO IR87", "ISO IR159": // as a code of 8 bits; ISO 2022 shows by its escapes
		return "euc-jp"
	case "ISO IR13", "ISO IR14":
		return "cp932"
	case "GB 18030-2000", "GB 18030":
		return "gb18030"
	case "BIG-5":
		return "big5"
	}
	if n, ok := strings.CutPrefix(name, "8859/"); ok {
		name = "iso-8859-" + n
	}
	if !textenc.Known(name) {
		return ""
	}
	return textenc.Name(name)
}

// fits says whether b is in the page. What stands before and behind the lines with other characters than ASCII is not
// looked at.
func fits(page string, b []byte) bool {
	if page == utf8Page {
		return utf8.Valid(b)
	}
	from, to := -1, 0
	for l := newLines(b, 0); l.next(); {
		if !isASCII(b[l.from:l.to]) {
			to = l.to
			if from < 0 {
				from = l.from
			}
		}
	}
	if from < 0 {
		return true
	}
	_, ok := textenc.Size(page, b[from:to])
	return ok
}

func isASCII(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b)&high != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// set2022 is a set of characters that an escape sequence of ISO 2022 switches to.
type set2022 struct {
	escape string // behind ESC
	page   string // that holds it; empty is ASCII
	prefix byte   // before each character of it in that page
	wide   bool   // two bytes a character
	right  bool   // G1: bytes from 0xA0; else G0: those below 0x80
}

// The sets of HL7 v2.5.1 section 2.7, and those of Korea, China and ISO 8859 beside them (ISO-IR).
var sets2022 = [...]set2022{
	{escape: "(B"},
	{escape: "(J"},
	{escape: "(I", page: "euc-jp", prefix: 0x8e},
	{escape: ")I", page: "euc-jp", prefix: 0x8e, right: true},
	{escape: "$@", page: "euc-jp", wide: true},
	{escape: "$B", page: "euc-jp", wide: true},
	{escape: "$(D", page: "euc-jp", prefix: 0x8f, wide: true},
	{escape: "$(C", page: "cp949", wide: true},
	{escape: "$)C", page: "cp949", wide: true, right: true},
	{escape: "$A", page: "gb18030", wide: true},
	{escape: "$)A", page: "gb18030", wide: true, right: true},
	{escape: "-A", page: "windows-1252", right: true},
	{escape: "-B", page: "iso-8859-2", right: true},
	{escape: "-C", page: "iso-8859-3", right: true},
	{escape: "-D", page: "iso-8859-4", right: true},
	{escape: "-F", page: "iso-8859-7", right: true},
	{escape: "-G", page: "iso-8859-6", right: true},
	{escape: "-H", page: "iso-8859-8", right: true},
	{escape: "-L", page: "iso-8859-5", right: true},
	{escape: "-M", page: "iso-8859-9", right: true},
}

// designationAt is the set that the escape sequence at the beginning of b switches to, and its length; 0 is none.
func designationAt(b []byte) (set set2022, n int) {
	for _, s := range &sets2022 {
		if len(b) > len(s.escape) && string(b[1:1+len(s.escape)]) == s.escape {
			return s, 1 + len(s.escape)
		}
	}
	return set2022{}, 0
}

// maxPages is how often one text may go from one page to another.
const maxPages = 16

// decodeISO2022 decodes a text in which escape sequences switch between sets: each stretch becomes bytes of a page, and
// stretches of one page are decoded together. It goes through the text twice, to make the result in one piece.
func (c charset) decodeISO2022(b []byte) (string, error) {
	t := text2022{}
	for _, t.build = range []bool{false, true} {
		t.page, t.b, t.pages = c.page, t.b[:0], 0
		t.text.Grow(t.size)
		t.read(b, c.page)
		if t.flush(); t.err != nil {
			return "", t.err
		}
	}
	return t.text.String(), nil
}

// text2022 is a text in the making.
type text2022 struct {
	b     []byte // not decoded yet, in page
	page  string
	pages int
	size  int    // of the text
	build bool   // the text, and not only count
	out   []byte // memory to decode into
	text  strings.Builder
	err   error
}

// read takes b, which begins in ASCII and, for bytes from 0x80, in page.
func (t *text2022) read(b []byte, page string) {
	left, right := set2022{}, set2022{page: page, right: true}
	for len(b) > 0 {
		if b[0] == esc {
			if set, n := designationAt(b); n > 0 {
				if set.right {
					right = set
				} else {
					left = set
				}
				b = b[n:]
				continue
			}
		}
		end := bytes.IndexByte(b[1:], esc) + 1
		if end == 0 {
			end = len(b)
		}
		t.take(b[:end], left, right)
		b = b[end:]
	}
}

// take adds a stretch without escape sequences.
func (t *text2022) take(b []byte, left, right set2022) {
	for i := 0; i < len(b); i++ {
		set, c := left, b[i]
		if c >= 0x80 {
			set = right
		}
		if set.page == "" || c < 0x80 && (c <= ' ' || c == 0x7f) {
			t.b = append(t.b, c)
			continue
		}
		if set.page != t.page || len(t.b) > maxShort-4 && !set.right {
			t.turn(set.page)
		}
		if set.right && set.prefix == 0 { // as it is, with all that belongs to it
			end := i + 1
			for end < len(b) && b[end] >= 0x80 {
				end++
			}
			t.b = append(t.b, b[i:end]...)
			i = end - 1
			continue
		}
		if set.prefix != 0 {
			t.b = append(t.b, set.prefix)
		}
		t.b = append(t.b, c|0x80)
		if set.wide && i+1 < len(b) && b[i+1] > ' ' {
			i++
			t.b = append(t.b, b[i]|0x80)
		}
	}
}

// turn goes on in a page.
func (t *text2022) turn(page string) {
	if t.flush(); page != t.page {
		t.pages++
	}
	t.page = page
}

// flush decodes what is there.
func (t *text2022) flush() {
	switch {
	case t.err != nil:
	case t.pages > maxPages:
		t.err = textenc.ErrUndecodable
	case len(t.b) <= maxShort:
		if t.out, t.err = textenc.Append(t.out[:0], t.page, t.b); t.build {
			t.text.Write(t.out)
		}
		t.size += len(t.out)
	case t.build:
		var s string
		s, t.err = textenc.String(t.page, t.b)
		t.text.WriteString(s)
	default:
		size, ok := textenc.Size(t.page, t.b)
		if t.size += size; !ok {
			t.err = textenc.ErrUndecodable
		}
	}
	t.b = t.b[:0]
}

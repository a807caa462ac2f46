package textenc

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/transform"
)

// Known says whether name is a character set that Decode can read: utf-8, us-ascii, or a code page under one of its usual
// names (cp949, EUC-KR, Shift-JIS, windows-1252 ...). UTF-16 is told by its bytes, not by a name.
func Known(name string) bool {
	name = normalize(name)
	return name == utf8Name || codepageOf(name) != nil
}

// Name is the one name that this package has for a character set: Decode of both is the same. An unknown one comes back in
// lower case.
func Name(name string) string { return normalize(name) }

// Decode makes UTF-8 of text in the character set name, strictly. The error is ErrUndecodable, or that name is unknown.
// The result may share memory with data.
func Decode(name string, data []byte) ([]byte, error) {
	if !Known(name) {
		return nil, errors.New("decode text: character set is unknown")
	}
	var buf []byte
	out, ok := decode(normalize(name), data, &buf)
	if !ok {
		return nil, ErrUndecodable
	}
	return out, nil
}

// Size is how many bytes Decode would make of data, and whether it would take them.
func Size(name string, data []byte) (size int, ok bool) { return walk(normalize(name), data, nil) }

// Append is Decode to the end of dst, which is made larger where it must. On an error dst comes back as it was.
func Append(dst []byte, name string, data []byte) ([]byte, error) {
	name = normalize(name)
	page := codepageOf(name)
	if name == utf8Name || page == nil || isASCII(data) {
		if name == utf8Name && utf8.Valid(data) || page != nil {
			return append(dst, data...), nil
		}
		return dst, ErrUndecodable
	}
	out, t := slices.Grow(dst, decodedSize(data)), page.NewDecoder()
	n, _, err := t.Transform(out[len(dst):cap(out)], data, true)
	if out = out[:len(dst)+n]; err != nil || bytes.Contains(out[len(dst):], []byte("\uFFFD")) {
		return dst, ErrUndecodable
	}
	return out, nil
}

// String is Decode to a string, which takes little more memory than the string itself.
func String(name string, data []byte) (string, error) {
	name = normalize(name)
	size, ok := walk(name, data, nil)
	if !ok {
		return "", ErrUndecodable
	}
	if isASCII(data) || name == utf8Name {
		return string(data), nil
	}
	var text strings.Builder
	text.Grow(size)
	walk(name, data, &text)
	return text.String(), nil
}

// walk decodes data piece by piece into text, which may be nil; size is how many bytes it becomes.
func walk(name string, data []byte, text *strings.Builder) (size int, ok bool) {
	page := codepageOf(name)
	if name == utf8Name || page == nil || isASCII(data) {
		return len(data), name == utf8Name && utf8.Valid(data) || page != nil
	}
	t := page.NewDecoder()
	dst := make([]byte, min(decodedSize(data), 4<<10))
	for {
		n, read, err := t.Transform(dst, data, true)
		if bytes.Contains(dst[:n], []byte("\uFFFD")) || err != nil && (!errors.Is(err, transform.ErrShortDst) || read == 0) {
			return 0, false
		}
		if size += n; text != nil {
			text.Write(dst[:n])
		}
		if data = data[read:]; err == nil {
			return size, true
		}
	}
}

// normalize gives the one name that the rest of this package uses, or name in lower case.
func normalize(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case "utf-8", "utf8", "us-ascii", "ascii", "cp65001":
		return utf8Name
	case "utf-16", "utf16", "unicode", "ucs-2", "iso-10646-ucs-2":
		return "utf-16"
	case "euc-kr", "euckr", "cp949", "949", "ms949", "uhc", "windows-949", "ks_c_5601-1987", "ks_c_5601", "ksc5601", "korean":
		return "cp949"
	case "shift_jis", "shift-jis", "shiftjis", "sjis", "x-sjis", "cp932", "932", "ms932", "windows-31j", "ms_kanji":
		return "cp932"
	case "gb2312", "gbk", "cp936", "936", "ms936", "windows-936", "x-gbk", "gb18030":
		return "gb18030"
	case "big5", "cp950", "950", "windows-950", "big5-hkscs":
		return "big5"
	case "iso-8859-1", "latin1", "l1", "cp1252", "1252", "windows-1252":
		return "windows-1252"
	case "ibm437", "437":
		return "cp437"
	case "ibm850", "850":
		return "cp850"
	case "iso-8859-11", "tis-620", "cp874", "874":
		return "windows-874"
	case "cp1250", "1250":
		return "windows-1250"
	case "cp1251", "1251":
		return "windows-1251"
	case "iso-8859-15", "latin9":
		return "iso-8859-15"
	}
	return name
}

// codepageOf is nil for an unknown name. What devices call Shift-JIS is code page 932, and EUC-KR is 949: x/text has
// them under the first names.
func codepageOf(name string) encoding.Encoding {
	switch name {
	case "cp949":
		return korean.EUCKR
	case "cp932":
		return japanese.ShiftJIS
	case "euc-jp":
		return japanese.EUCJP
	case "gb18030":
		return simplifiedchinese.GB18030
	case "big5":
		return traditionalchinese.Big5
	case "cp437":
		return charmap.CodePage437
	case "cp850":
		return charmap.CodePage850
	case "windows-874":
		return charmap.Windows874
	case "windows-1250":
		return charmap.Windows1250
	case "windows-1251":
		return charmap.Windows1251
	case "windows-1252":
		return charmap.Windows1252
	}
	return iso8859[name]
}

// iso8859 has those of ISO 8859 that x/text has, but for the first, which is taken for windows-1252; as 11 is for windows-874.
var iso8859 = map[string]encoding.Encoding{
	"iso-8859-2": charmap.ISO8859_2, "iso-8859-3": charmap.ISO8859_3, "iso-8859-4": charmap.ISO8859_4,
	"iso-8859-5": charmap.ISO8859_5, "iso-8859-6": charmap.ISO8859_6, "iso-8859-7": charmap.ISO8859_7,
	"iso-8859-8": charmap.ISO8859_8, "iso-8859-9": charmap.ISO8859_9, "iso-8859-10": charmap.ISO8859_10,
	"iso-8859-13": charmap.ISO8859_13, "iso-8859-14": charmap.ISO8859_14, "iso-8859-15": charmap.ISO8859_15,
	"iso-8859-16": charmap.ISO8859_16,
}

// decode is strict: what the code page does not hold makes it fail. buf is memory to use, and to use again after a
// failure.
func decode(name string, data []byte, buf *[]byte) ([]byte, bool) {
	if isASCII(data) {
		return data, name == utf8Name || codepageOf(name) != nil
	}
	if name == utf8Name {
		return data, utf8.Valid(data)
	}
	page := codepageOf(name)
	if page == nil {
		return nil, false
	}
	if *buf == nil {
		*buf = make([]byte, decodedSize(data))
	}
	dst := *buf
	n, _, err := page.NewDecoder().Transform(dst, data, true)
	// None of these code pages holds U+FFFD: it stands where x/text replaced something.
	if err != nil || bytes.Contains(dst[:n], []byte("\uFFFD")) {
		return nil, false
	}
	return dst[:n], true
}

// decodedSize is enough for every byte outside ASCII to become three.
func decodedSize(data []byte) int {
	size := len(data)
	for _, c := range data {
		size += 2 * int(c>>7)
	}
	return size
}

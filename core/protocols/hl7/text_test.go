package hl7_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"

	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/exam"
)

func TestEscapes(t *testing.T) {
	m := parse(t, oru())
	for in, want := range map[string]string{
		`plain`: "plain", ``: "", `\F\\S\\T\\R\\E\\P\`: `|^&~\#`, `a\.br\b\.BR\c`: "a\nb\nc", `a\.sp\b\.sp3\c\.sp +2\d`: "a\nb\n\n\nc\n\nd",
		`\H\bold\N\`: "bold", `\X41\\X4a4B\`: "AJK", `\XEAB980\`: "김", `\X0D0A\`: "\n",
		// unknown ones stay, and do not hide what comes behind them
		`\Z1\`: `\Z1\`, `\Q\`: `\Q\`, `\X4\`: `\X4\`, `\Xgg\`: `\Xgg\`, `\X\`: `\X\`, `\.xy\`: `\.xy\`, `\.sp-1\`: `\.sp-1\`, `\.spx\`: `\.spx\`,
		`C:\dir \F\ x`: `C:\dir | x`, `\`: `\`, `a\b`: `a\b`, `\\`: `\\`, `\Zab\\F\`: `\Zab\|`, `\C28\`: `\C28\`,
		"a\rb\r\nc\nd": "a\nb\nc\nd", `김\T\시험`: "김&시험",
		`\M2442\` + "4A;z" + `\C2842\a`: "漢字a", `\M2442\` + "3\\E\\" + `\C2842\b`: "顎怒b", `\M242844\` + "0!" + `\C2842\`: "丂", `\C2949\` + "\xb1\xb2": "ｱｲ", `\C284A\a`: "a",
		`\M242943\` + "\xb1\xe8" + ` b`: "김 b", `\C2D41\` + "\xfc": "ü", `\C2D4C\` + "\xb0": "А",
	} {
		if got, err := m.Text([]byte(in)); got != want || err != nil {
			t.Errorf("%q is %q, want %q: %v", in, got, want, err)
		}
	}
	if got, err := m.Text([]byte(`\.sp99999999\`)); got != strings.Repeat("\n", len(`.sp99999999`)) || err != nil {
		t.Errorf("many lines are %d: %v", len(got), err)
	}
	for in, want := range map[string]string{"\x1b$B4A;z": "漢字", "\x1b$)C\xb1\xe8": "김", "\x1b(I12": "ｱｲ", "\x1b$(D0!\x1b(Ba": "丂a"} { // longer than a piece
		if got, err := m.Text([]byte(strings.Repeat(in, 3000))); got != strings.Repeat(want, 3000) || err != nil {
			t.Errorf("%q many times is %d bytes: %v", in, len(got), err)
		}
	}
	for _, bad := range []string{"\xb1\xe8", `\XB1\`, "\x1b$B\x21", strings.Repeat(`\M2442\0!\M242943\`+"\xb1\xe8", 20)} {
		if got, err := m.Text([]byte(bad)); !errors.Is(err, textenc.ErrUndecodable) {
			t.Errorf("%q is %q, %v", bad, got, err)
		}
	}
}

// tricky is a text in which the second bytes of characters are all the delimiters that the code can make.
func tricky(t *testing.T, e encoding.Encoding) string {
	t.Helper()
	var b strings.Builder
	for _, mark := range []byte(`|^~\`) {
		for r := rune(0x4e00); r < 0x9f00; r++ {
			if c, err := e.NewEncoder().Bytes([]byte(string(r))); err == nil && len(c) == 2 && c[1] == mark {
				b.WriteRune(r)
				break
			}
		}
	}
	return b.String()
}

func encode(t *testing.T, e encoding.Encoding, s string) string {
	t.Helper()
	b, err := e.NewEncoder().Bytes([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCharsets(t *testing.T) {
	sjis, gbk, big5 := tricky(t, japanese.ShiftJIS), tricky(t, simplifiedchinese.GBK), tricky(t, traditionalchinese.Big5)
	if len([]rune(sjis)) < 3 || len([]rune(gbk)) < 3 || len([]rune(big5)) < 2 {
		t.Fatalf("no traps in %q, %q, %q", sjis, gbk, big5)
	}
	jis := "\x1b$B" + strings.Repeat("\x30\x7c\x31\x5e\x32\x7e\x33\x5c\x34\x26\x35\x7c", 1) + "\x1b(B"
	kanji, err := japanese.ISO2022JP.NewDecoder().String(jis)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		declared, sent, want, warn string
		o                          hl7.Options
	}{
		"utf-8":                        {declared: "UNICODE UTF-8", sent: "김", want: "김"},
		"korean":                       {declared: "KS X 1001", sent: encode(t, korean.EUCKR, "김똠"), want: "김똠"},
		"korean undeclared":            {sent: encode(t, korean.EUCKR, "김똠"), want: "김똠", warn: exam.WarnCharsetUndeclared},
		"korean source":                {sent: encode(t, korean.EUCKR, "김"), want: "김", o: hl7.Options{Charset: "KS X 1001"}},
		"utf-8 undeclared":             {sent: "김", want: "김"},
		"utf-8 is korean":              {declared: "UNICODE UTF-8", sent: encode(t, korean.EUCKR, "김시험"), want: "김시험", warn: exam.WarnEncodingMislabelled},
		"ascii is korean":              {declared: "ASCII", sent: encode(t, korean.EUCKR, "김시험"), want: "김시험", warn: exam.WarnEncodingMislabelled},
		"korean is utf-8":              {declared: "KS X 1001", sent: "김시", want: "김시", warn: exam.WarnEncodingMislabelled},
		"unknown is utf-8":             {declared: "CNS 11643-1992", sent: "김시", want: "김시", warn: exam.WarnEncodingMislabelled},
		"source is wrong":              {sent: "김시험", want: "김시험", warn: exam.WarnEncodingMislabelled, o: hl7.Options{Charset: "8859/6"}},
		"shift-jis":                    {declared: "Shift_JIS", sent: encode(t, japanese.ShiftJIS, sjis), want: sjis},
		"shift-jis undeclared":         {sent: encode(t, japanese.ShiftJIS, "ｱ"+sjis), want: "ｱ" + sjis, warn: exam.WarnCharsetUndeclared, o: hl7.Options{Codepage: "cp932"}},
		"shift-jis source":             {sent: encode(t, japanese.ShiftJIS, sjis), want: sjis, o: hl7.Options{Charset: "shift_jis"}},
		"katakana before a delimiter":  {declared: "ISO IR14", sent: encode(t, japanese.ShiftJIS, "ｱｲ"), want: "ｱｲ"},
		"gb 18030":                     {declared: "GB 18030-2000", sent: encode(t, simplifiedchinese.GB18030, gbk+"𠀀"), want: gbk + "𠀀"},
		"big5":                         {declared: "BIG-5", sent: encode(t, traditionalchinese.Big5, big5), want: big5},
		"jis":                          {declared: "~ISO IR87", sent: jis, want: kanji},
		"jis, and supplementary":       {declared: "ASCII~ISO IR87~ISO IR159", sent: jis + "\x1b$(D0!\x1b(B", want: kanji + "丂"},
		"euc-jp":                       {declared: "ISO IR87", sent: encode(t, japanese.EUCJP, "検査"), want: "検査"},
		"latin 1":                      {declared: "8859/1", sent: "M\xfcller", want: "Müller"},
		"cyrillic":                     {declared: "8859/5", sent: encode(t, charmap.ISO8859_5, "Иван"), want: "Иван"},
		"latin 1 is utf-8":             {declared: "8859/1", sent: "Müller", want: "Müller", warn: exam.WarnEncodingMislabelled},
		"thai":                         {declared: "8859/11", sent: "\xca\xc7\xd1\xca", want: "สวัส"},
		"latin 9":                      {declared: "8859/15", sent: "\xa4", want: "€"},
		"nothing fits":                 {declared: "UNICODE UTF-8", sent: "a\xff", want: "a\uFFFD", warn: exam.WarnEncodingMislabelled},
		"nothing fits, site is wrong":  {sent: "M\xfcller", want: "M\uFFFDller", warn: exam.WarnCharsetUndeclared},
		"one bad field of many korean": {declared: "KS X 1001", sent: encode(t, korean.EUCKR, "김") + "\xff", want: "\uFFFD", warn: exam.WarnEncodingMislabelled},
	} {
		b := bytes.Replace(oru("OBX|1|ST|a||x"), []byte("Kim^Siheom|"), []byte(c.sent+"^"+c.sent+"|"), 1)
		b = bytes.Replace(b, []byte("UNICODE UTF-8"), []byte(c.declared), 1)
		r := hl7.Decode(b, c.o)
		if len(r.Exams) != 1 {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		e := r.Exams[0]
		want := c.want + " " + c.want
		if name == "one bad field of many korean" {
			if !strings.Contains(e.Patient.Name, "\uFFFD") {
				t.Errorf("%s: name %q", name, e.Patient.Name)
			}
			want = e.Patient.Name
		}
		if e.Patient.Name != want || e.Patient.Birth != "1970-03-15" {
			t.Errorf("%s: name %q, birth %q, want %q (%s)", name, e.Patient.Name, e.Patient.Birth, want, hex.EncodeToString([]byte(c.sent)))
		}
		if c.warn == "" && e.Warnings != nil || c.warn != "" && !slices.Contains(e.Warnings, c.warn) {
			t.Errorf("%s: warnings %q, want %q", name, e.Warnings, c.warn)
		}
	}
}

func TestKnownCharset(t *testing.T) {
	for _, name := range []string{"ASCII", "KS X 1001", "8859/15", "ISO IR87", "unicode utf-8", "BIG-5", "GB 18030-2000", "cp949", "Shift_JIS"} {
		if !hl7.KnownCharset(name) {
			t.Errorf("%s is unknown", name)
		}
	}
	for _, name := range []string{"", "8859/17", "CNS 11643-1992", "KSX", "UNICODE UTF-16"} {
		if hl7.KnownCharset(name) {
			t.Errorf("%q is known", name)
		}
	}
}

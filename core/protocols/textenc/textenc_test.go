package textenc_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/textenc"
)

func units(s string, order binary.AppendByteOrder) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

func prolog(name, body string) string { return `<?xml version="1.0" encoding="` + name + `"?>` + body }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestXML(t *testing.T) {
	le, be := func(s string) []byte { return units(s, binary.LittleEndian) }, func(s string) []byte { return units(s, binary.BigEndian) }
	ko := func(s string) []byte { return must(korean.EUCKR.NewEncoder().Bytes([]byte(s))) }
	ja := func(s string) []byte { return must(japanese.ShiftJIS.NewEncoder().Bytes([]byte(s))) }
	utf8Of := func(s string) []byte { return []byte(s) }
	const body = "<a>김똠길 1°</a>"
	for name, c := range map[string]struct {
		in                      []byte
		site, want, charset     string
		mislabelled, undeclared bool
	}{
		"utf-16le with mark":       {in: le("\ufeff" + prolog("UTF-16", body)), want: body, charset: "utf-16le"},
		"utf-16be with mark":       {in: be("\ufeff" + prolog("UTF-16", body)), want: body, charset: "utf-16be"},
		"utf-16le without mark":    {in: le(prolog("utf-16", body)), want: body, charset: "utf-16le"},
		"utf-16be without mark":    {in: be(prolog("UTF-16", body)), want: body, charset: "utf-16be"},
		"utf-16 after a line":      {in: le("\r\n" + body), want: body, charset: "utf-16le"},
		"utf-16 says utf-8":        {in: le("\ufeff" + prolog("UTF-8", body)), want: body, charset: "utf-16le", mislabelled: true},
		"utf-16 pair":              {in: le("<a>\U00020bb7</a>"), want: "<a>\U00020bb7</a>", charset: "utf-16le"},
		"utf-8":                    {in: utf8Of(prolog("UTF-8", body)), want: body, charset: "utf-8"},
		"utf-8 with mark":          {in: utf8Of("\ufeff" + prolog("UTF-8", body)), want: body, charset: "utf-8"},
		"utf-8 with mark, says sj": {in: utf8Of("\ufeff" + prolog("Shift_JIS", body)), want: body, charset: "utf-8", mislabelled: true},
		"utf-8 without prolog":     {in: utf8Of(body), want: body, charset: "utf-8"},
		"utf-8 says utf-16":        {in: utf8Of(prolog("UTF-16", body)), want: body, charset: "utf-8", mislabelled: true},
		"ascii says utf-16":        {in: utf8Of(prolog("UTF-16", "<a/>")), want: "<a/>", charset: "utf-8", mislabelled: true},
		"ascii says us-ascii":      {in: utf8Of(prolog("US-ASCII", "<a/>")), want: "<a/>", charset: "utf-8"},
		"utf-8 says nonsense":      {in: utf8Of(prolog("x-klingon", body)), want: body, charset: "utf-8", mislabelled: true},
		"euc-kr is cp949":          {in: ko(prolog("EUC-KR", "<a>김똠길</a>")), want: "<a>김똠길</a>", charset: "cp949"},
		"cp949 says utf-8":         {in: ko(prolog("UTF-8", "<a>김똠길</a>")), want: "<a>김똠길</a>", charset: "cp949", mislabelled: true},
		"cp949 says utf-16":        {in: ko(prolog("UTF-16", "<a>김똠길</a>")), want: "<a>김똠길</a>", charset: "cp949", mislabelled: true},
		"cp949 says nothing":       {in: ko("<a>김똠길</a>"), want: "<a>김똠길</a>", charset: "cp949", undeclared: true},
		"cp932 says nothing":       {in: ja("<a>検査 ﾀﾛｳ①</a>"), site: "Shift-JIS", want: "<a>検査 ﾀﾛｳ①</a>", charset: "cp932", undeclared: true},
		"shift-jis is cp932":       {in: ja(prolog("Shift-JIS", "<a>検査 ﾀﾛｳ①</a>")), want: "<a>検査 ﾀﾛｳ①</a>", charset: "cp932"},
		"kana that look like utf8": {in: ja(prolog("Shift-JIS", "<a>ﾛｳ</a>")), want: "<a>ﾛｳ</a>", charset: "cp932"},
		"single quotes, blanks":    {in: ko("<?xml version='1.0' encoding = 'euc-kr' ?><a>김</a>"), want: "<a>김</a>", charset: "cp949"},
		"latin":                    {in: []byte(prolog("ISO-8859-1", "<a>M\xfcller</a>")), want: "<a>Müller</a>", charset: "windows-1252"},
		"latin site":               {in: []byte("<a>M\xfcller</a>"), site: "windows-1252", want: "<a>Müller</a>", charset: "windows-1252", undeclared: true},
		"empty":                    {in: nil, want: "", charset: "utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			before := bytes.Clone(c.in)
			got, err := textenc.XML(c.in, c.site)
			if err != nil {
				t.Fatal(err)
			}
			if got.Charset != c.charset || got.Mislabelled != c.mislabelled || got.Undeclared != c.undeclared {
				t.Errorf("%s, mislabelled %v, undeclared %v", got.Charset, got.Mislabelled, got.Undeclared)
			}
			if !strings.HasSuffix(string(got.UTF8), c.want) {
				t.Errorf("text %q, want %q", got.UTF8, c.want)
			}
			if s := string(got.UTF8); strings.Contains(s, "encoding") && !strings.Contains(s, `encoding="UTF-8"`) {
				t.Errorf("label still stands: %q", s)
			}
			if !bytes.Equal(before, c.in) {
				t.Error("input was changed")
			}
		})
	}
}

func TestXMLRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"odd utf-16":              "\xff\xfe<\x00a",
		"half a pair at the end":  "\xff\xfe<\x00\x00\xd8",
		"half a pair":             "\xff\xfe\x00\xd8<\x00",
		"second half first":       "\xff\xfe\x00\xdc<\x00",
		"fits nothing":            "<a>\xff\xff</a>",
		"latin at a Korean site":  "<a>M\xfc</a>",
		"euc-kr with a lone byte": prolog("EUC-KR", "<a>\xb1</a>"),
	} {
		if got, err := textenc.XML([]byte(in), ""); !errors.Is(err, textenc.ErrUndecodable) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := textenc.XML([]byte("<a/>"), "cp4711"); err == nil || errors.Is(err, textenc.ErrUndecodable) {
		t.Errorf("unknown code page: %v", err)
	}
}

func TestDecode(t *testing.T) {
	for _, name := range []string{"cp949", "EUC-KR", "ks_c_5601-1987", " CP949 "} {
		got, err := textenc.Decode(name, []byte("\xb1\xe8\x8c\x63"))
		if err != nil || string(got) != "김똠" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"utf-8", "cp949", "cp932", "euc-jp", "gb18030", "big5", "windows-1250", "windows-1251", "windows-1252", "iso-8859-2", "iso-8859-5", "iso-8859-9", "iso-8859-15", "iso-8859-16"} {
		if !textenc.Known(name) {
			t.Errorf("%s is unknown", name)
		}
		if got, err := textenc.Decode(name, []byte("plain")); err != nil || string(got) != "plain" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := textenc.Decode("cp949", []byte("\xb1")); !errors.Is(err, textenc.ErrUndecodable) {
		t.Errorf("half a character: %v", err)
	}
	if _, err := textenc.Decode("utf-16", []byte("x")); err == nil || textenc.Known("utf-16") {
		t.Error("utf-16 is known by name")
	}
}

// A text longer than a piece comes whole, for little more memory than its own.
func TestString(t *testing.T) {
	want := strings.Repeat("한글 a 똠", 10_000)
	data := must(korean.EUCKR.NewEncoder().Bytes([]byte(want)))
	var got string
	limit := uint64(len(want)) + 16<<10
	if n := examtest.Allocated(limit, func() { got = must(textenc.String("KS_C_5601", data)) }); n > limit || got != want {
		t.Errorf("%d bytes allocated for a text of %d, equal %v", n, len(want), got == want)
	}
	for name, in := range map[string][]byte{"euc-kr": data[:len(data)-1], "no such": []byte("a")} {
		if size, ok := textenc.Size(name, in); ok || size != 0 && name == "euc-kr" {
			t.Errorf("%s takes what it does not hold: %d bytes", name, size)
		}
	}
	if textenc.Name("EUC-KR") != "cp949" || textenc.Name("8859-X") != "8859-x" {
		t.Error("names")
	}
}

func seeds(f *testing.F) {
	for _, name := range []string{
		"../joia/testdata/KR-1_euc-kr_cp949_name.xml", "../joia/testdata/KR-1_says_utf8_is_cp949.xml",
		"../joia/testdata/M-Serial0733_20250324_100215_TOPCON_KR-800S_7700421.xml",
		"../nidek/testdata/ARK-1s_says_utf16_is_utf8.xml", "../nidek/testdata/NTP_T-000421_utf16le_no_bom.xml",
		"../nidek/testdata/NTP_still_being_written.xml",
	} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "")
	}
	f.Add([]byte(prolog("big5", "\x88\x62")), "cp932")
	f.Add([]byte("\xfe\xff\x00<"), "gbk")
}

func FuzzXML(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte, site string) {
		before := bytes.Clone(data)
		var got textenc.Text
		var err error
		limit := 4*uint64(len(data)+len(site)) + 1<<20
		if n := examtest.Allocated(limit, func() { got, err = textenc.XML(data, site) }); n > limit {
			t.Fatalf("%d bytes allocated for %d bytes", n, len(data))
		}
		if !bytes.Equal(before, data) {
			t.Fatal("input was changed")
		}
		if err != nil {
			return
		}
		if !utf8.Valid(got.UTF8) || len(got.UTF8) > 3*len(data) {
			t.Fatalf("%d bytes from %d, valid %v", len(got.UTF8), len(data), utf8.Valid(got.UTF8))
		}
		if got.Mislabelled && got.Undeclared {
			t.Fatal("mislabelled without a label")
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("cp949", []byte("\xb1\xe8\x8c\x63"))
	f.Add("big5", []byte("\x88\x62\x88\x64"))
	f.Add("gb18030", []byte("\x81\x30\x81\x30\x84\x31\xa4\x37"))
	f.Add("cp932", []byte("\x80\xa0\xfd\x81"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		got, err := textenc.Decode(name, data)
		text, textErr := textenc.String(name, data)
		all, appendErr := textenc.Append([]byte("x"), name, data)
		if string(all) != "x"+string(got) || (err == nil) != (appendErr == nil) {
			t.Fatalf("%s: %q is %q, %v; appended %q, %v", name, data, got, err, all, appendErr)
		}
		size, ok := textenc.Size(name, data)
		if text != string(got) || (err == nil) != (textErr == nil) || ok != (err == nil) || ok && size != len(got) {
			t.Fatalf("%s: %q is %q, %v; as a string %q, %v", name, data, got, err, text, textErr)
		}
		if err == nil && (!utf8.Valid(got) || name != "utf-8" && bytes.ContainsRune(got, utf8.RuneError) && !bytes.Contains(data, []byte("\uFFFD"))) {
			t.Fatalf("%s: %q became %q", name, data, got)
		}
	})
}

func BenchmarkXML(b *testing.B) {
	text := prolog("UTF-16", strings.Repeat("<Sphere>-1.25</Sphere><Name>김시험</Name>\n", 2000))
	b.Run("utf-16", func(b *testing.B) { benchmark(b, units("\ufeff"+text, binary.LittleEndian)) })
	b.Run("utf-8", func(b *testing.B) { benchmark(b, []byte(strings.Replace(text, "UTF-16", "UTF-8", 1))) })
	b.Run("cp949", func(b *testing.B) {
		benchmark(b, must(korean.EUCKR.NewEncoder().Bytes([]byte(strings.Replace(text, "UTF-16", "EUC-KR", 1)))))
	})
}

func benchmark(b *testing.B, data []byte) {
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := textenc.XML(data, ""); err != nil {
			b.Fatal(err)
		}
	}
}

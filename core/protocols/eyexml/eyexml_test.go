package eyexml_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/eyexml"
	"github.com/hostd/hostd/core/sdk/exam"
)

// besideJPG looks where an NT unit leaves its images.
func besideJPG(path string) func(string) bool {
	return func(name string) bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(path), "..", "JPG", name))
		return err == nil
	}
}

func auto(path string, data []byte) exam.Result {
	got, _ := eyexml.Decode(data, eyexml.Options{Format: eyexml.FormatAuto, HasFile: besideJPG(path)})
	return got
}

func TestSamples(t *testing.T) {
	examtest.Samples(t, "../joia/testdata", 9, auto)
	examtest.Samples(t, "../nidek/testdata", 11, auto)
	examtest.Samples(t, "../topascope/testdata", 1, auto)
	examtest.Samples(t, "../huvitz/testdata", 2, auto)
	examtest.Samples(t, "../myah/testdata", 1, auto)
}

// TestSharedSamples reads every XML file of the reference samples; the other files of tomey are of serial lines.
func TestSharedSamples(t *testing.T) {
	for kind, least := range map[string]int{"joia-xml": 9, "nidek-xml": 11, "tomey": 1, "huvitz": 2} {
		t.Run(kind, func(t *testing.T) {
			examtest.SamplesOf(t, examtest.Shared(t, kind), "*.xml", least, auto)
		})
	}
}

func TestFormats(t *testing.T) {
	const lens = "<LM><R><Sphere>-1.25</Sphere></R></LM>"
	for in, want := range map[string]string{
		"<Data><R><LM><Sphere>-1.25</Sphere></LM></R></Data>":                                                                 eyexml.FormatNIDEK,
		"<R><Sphere>-1.25</Sphere></R><L><Sphere>-1.25</Sphere></L>":                                                          eyexml.FormatNIDEK,
		"<Ophthalmology><Common><Version>NIDEK_V1.01</Version></Common><Measure>" + lens + "</Measure></Ophthalmology>":       eyexml.FormatNIDEK,
		"<Ophthalmology><Common><Company>Nidek</Company></Common><Measure>" + lens + "</Measure></Ophthalmology>":             eyexml.FormatNIDEK,
		"<o:Ophthalmology xmlns:o='x'><Common><Company>T</Company></Common><Measure>" + lens + "</Measure></o:Ophthalmology>": eyexml.FormatJOIA,
		"<Measurement><Eye type='OD'><IOP>15</IOP></Eye></Measurement>":                                                       eyexml.FormatTopaScope,
		"<html><body/></html>":                        "",
		"<Data/><Data/>":                              "",
		"<Data><R><LM><Sphere>-1.25</Sphere></LM></R": "",
	} {
		got, read := eyexml.Decode([]byte(in), eyexml.Options{})
		if read != want || len(got.Exams) != min(1, len(want)) || len(got.Exams)+len(got.Rejects) != 1 {
			t.Errorf("%s: read as %q, want %q: %+v", in, read, want, got)
		}
	}
	if got, read := eyexml.Decode([]byte("<Data/>"), eyexml.Options{Format: eyexml.FormatJOIA}); read != "joia" || len(got.Rejects) != 1 {
		t.Errorf("read as %q: %+v", read, got)
	}
	if eyexml.KnownFormat("jpeg") || !eyexml.KnownFormat("topascope") || !eyexml.KnownFormat("") {
		t.Error("formats")
	}
}

// TestForged decodes files that try to take more memory than they have bytes.
func TestForged(t *testing.T) {
	joia := func(inside string) string {
		return "<Ophthalmology><Common><Company>x</Company></Common><Measure>" + inside + "</Measure></Ophthalmology>"
	}
	const n = 1 << 20
	numbered := strings.Builder{}
	for i := range n / 64 {
		fmt.Fprintf(&numbered, "<List No='%d'><Sphere>-1.25</Sphere></List>", i)
	}
	for name, in := range map[string]string{
		"elements":   joia(strings.Repeat("<a/>", n/4)),
		"names":      joia(strings.Repeat("<"+strings.Repeat("b", 60)+"/>", n/64)),
		"shots":      joia("<REF><R>" + numbered.String() + "</R></REF>"),
		"same shot":  joia("<REF><R>" + strings.Repeat("<List No='1'><Sphere>-1.25</Sphere></List>", n/64) + "</R></REF>"),
		"long value": joia("<REF><R><Median><Sphere>" + strings.Repeat("1", n) + "</Sphere></Median></R></REF>"),
		"name":       "<Ophthalmology><Common><Patient><NameJ1>" + strings.Repeat("a ", n) + "</NameJ1></Patient></Common></Ophthalmology>",
		"deep":       strings.Repeat("<a>", n/3),
		"kana":       "<?xml version='1.0' encoding='Shift_JIS'?>" + joia("<x>"+strings.Repeat("\xb1", n)+"</x>"+strings.Repeat("<a/>", n/8)),
		"kana names": "<?xml version='1.0' encoding='Shift_JIS'?>" + joia(strings.Repeat("<"+strings.Repeat("\x83\x4a", 340)+"/>", 4000)),
		"two pages":  "<?xml version='1.0' encoding='Shift_JIS'?>" + joia("<x>"+strings.Repeat("\xb1\xe8", n/2)+"\xc8\xfd</x>"),
		"entities":   joia("<x>" + strings.Repeat("&#xFFFD;", n/8) + "</x>"),
		"attributes": joia("<REF><R>" + strings.Repeat("<List><Sphere unit='"+strings.Repeat("m", 900)+"'>1</Sphere></List>", n/950) + "</R></REF>"),
		"doctype":    `<!DOCTYPE a [<!ENTITY x "xxxx">]><a>&x;</a>`,
	} {
		t.Run(name, func(t *testing.T) {
			examtest.Bounded(t, []byte(in), func() exam.Result { return auto("", []byte(in)) })
		})
	}
}

func TestLimits(t *testing.T) {
	file := []byte("<Data><R><LM><Sphere>-1.25</Sphere></LM></R></Data>")
	for reason, opt := range map[string]eyexml.Options{
		exam.RejectTooLarge: {MaxSize: len(file) - 1},
		exam.RejectTooDeep:  {MaxDepth: 3},
	} {
		got, _ := eyexml.Decode(file, opt)
		if len(got.Rejects) != 1 || got.Rejects[0].Reason != reason || got.Rejects[0].Length != int64(len(file)) {
			t.Errorf("%s: %+v", reason, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	examtest.Seed(f, "../joia/testdata")
	examtest.Seed(f, "../nidek/testdata")
	examtest.Seed(f, "../topascope/testdata")
	f.Fuzz(func(t *testing.T, data []byte) {
		examtest.Bounded(t, data, func() exam.Result { return auto("", data) })
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, path := range []string{
		"../joia/testdata/M-Serial0733_20250324_100215_TOPCON_KR-800S_7700421.xml",
		"../nidek/testdata/RKT/TXT/NTP_              _20250319111205.xml",
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.ReplaceAll(filepath.Base(path), " ", ""), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if got := auto(path, bytes.Clone(data)); len(got.Exams) != 1 {
					b.Fatal(got.Rejects)
				}
			}
		})
	}
}

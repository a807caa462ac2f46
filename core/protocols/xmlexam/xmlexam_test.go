package xmlexam_test

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

func parse(t *testing.T, text string) *xmlexam.Doc {
	t.Helper()
	doc, fault := xmlexam.Parse([]byte(text), xmlexam.Options{})
	if fault != nil {
		t.Fatalf("%+v", fault)
	}
	return doc
}

func TestParse(t *testing.T) {
	doc := parse(t, "\ufeff<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<!-- c --><?style x?><!DOCTYPE a SYSTEM \"a.dtd\">\n"+
		"<n:a xmlns:n='u' No.= \"1\" n:Type='x &lt; y'>\n <b/>\n<No.>&#xAC00;&amp;<!-- <no> --><![CDATA[<raw>]]><?pi <no>?>.</No.>"+
		"<b >2</b\n><c><b>3</b></c><이름>김</이름></n:a> <!-- end -->")
	root := doc.Root()
	if !root.Is("a") || root.Attr("Type") != "x < y" || root.Attr("No", "No.") != "1" || root.Attr("absent") != "" {
		t.Errorf("root %q, attributes %q %q", root.Name(), root.Attr("Type"), root.Attr("No."))
	}
	names := []string{}
	for c := range root.Children() {
		names = append(names, c.Name())
	}
	if got := strings.Join(names, " "); got != "b No. b c 이름" {
		t.Errorf("children %s", got)
	}
	if got := root.Child("No.", "No").Raw(); got != "가&<raw>." {
		t.Errorf("content %q", got)
	}
	if b := root.Child("b"); !b.There() || !b.IsLeaf() || b.Raw() != "" {
		t.Error("empty element")
	}
	absent := root.Child("x").Child("y")
	if absent.There() || absent.IsLeaf() || absent.Text() != "" || absent.Name() != "" || absent.Attr("z") != "" {
		t.Error("an element that is not there")
	}
	if root.Child("c").Raw() != "" || root.Child("c").Child("b").Text() != "3" {
		t.Error("nesting")
	}
}

func TestParseRefuses(t *testing.T) {
	for in, reason := range map[string]string{
		"":                        exam.RejectEmpty,
		"\xff\xfe":                exam.RejectEmpty,
		"\x00\x00\x00":            exam.RejectEmpty,
		"\ufeff \r\n":             exam.RejectEmpty,
		"no xml":                  exam.RejectMalformedXML,
		"<a>":                     exam.RejectMalformedXML,
		"<a":                      exam.RejectMalformedXML,
		"<a></b>":                 exam.RejectMalformedXML,
		"<a></a b>":               exam.RejectMalformedXML,
		"<a></a>tail":             exam.RejectMalformedXML,
		"<a b=c/>":                exam.RejectMalformedXML,
		"<a b='<'/>":              exam.RejectMalformedXML,
		"<a b='&x;'/>":            exam.RejectMalformedXML,
		"<a>&nbsp;</a>":           exam.RejectMalformedXML,
		"<a>&#0;</a>":             exam.RejectMalformedXML,
		"<a>&#x110000;</a>":       exam.RejectMalformedXML,
		"<a>&</a>":                exam.RejectMalformedXML,
		"<a>\x01</a>":             exam.RejectMalformedXML,
		"<a>]]></a>":              exam.RejectMalformedXML,
		"<a><![CDATA[</a>":        exam.RejectMalformedXML,
		"<![CDATA[x]]><a/>":       exam.RejectMalformedXML,
		"<a><!-- a -- b --></a>":  exam.RejectMalformedXML,
		"<a><? ?></a>":            exam.RejectMalformedXML,
		"<!DOCTYPE a [<!X>]><a/>": exam.RejectMalformedXML,
		"<a/><!DOCTYPE a>":        exam.RejectMalformedXML,
		"<:a:b/>":                 exam.RejectMalformedXML,
		"<1/>":                    exam.RejectMalformedXML,
		"<a>\xff\xff</a>":         exam.RejectMalformedXML,
		"<\x00a\x00":              exam.RejectMalformedXML,
		strings.Repeat("<a>", 65): exam.RejectTooDeep,
		"<a>" + strings.Repeat("<b/>", 20_000) + "</a>": exam.RejectTooLarge,
	} {
		doc, fault := xmlexam.Parse([]byte(in), xmlexam.Options{})
		if doc != nil || fault == nil || fault.Reason != reason || fault.Offset != 0 || fault.Length != int64(len(in)) || fault.Detail == "" {
			t.Errorf("%.40q: %+v, want %s", in, fault, reason)
		}
	}
}

// draft reads one element of each kind that matters here.
func draft(t *testing.T, inside string) *exam.Exam {
	t.Helper()
	data := []byte("<a>" + inside + "</a>")
	doc := parse(t, string(data))
	d := xmlexam.NewDraft(doc, data)
	d.Head(doc.Root().Child("Common"))
	d.Refraction(doc.Root().Child("R"), xmlexam.Key{Eye: exam.Right, Method: exam.MethodAutoref})
	d.Acuity(doc.Root().Child("VA"), xmlexam.Key{Code: exam.CodeVA, Eye: exam.Right})
	d.NumberIn(doc.Root().Child("CCT"), xmlexam.Key{Code: exam.CodeCCT, Eye: exam.Right}, exam.UnitMM)
	got := d.Finish(xmlexam.Options{})
	if len(got.Exams) != 1 {
		t.Fatalf("%s: %+v", inside, got.Rejects)
	}
	return got.Exams[0]
}

func TestNumbers(t *testing.T) {
	for in, want := range map[string]exam.Value{
		"-1.25":    exam.Number(-1.25),
		" - 1,25 ": exam.Number(-1.25),
		"+0,50":    exam.Number(0.5),
		"-0.00":    exam.Number(0),
		"0.01D":    exam.Number(0.01),
		"1,250.00": exam.Text("1,250.00"),
		"1.2.3":    exam.Text("1.2.3"),
		"OUT":      exam.Text("OUT"),
		"1e3":      exam.Text("1e3"),
	} {
		o := draft(t, "<R><Sphere>"+in+"</Sphere></R>").Observations[0]
		if o.Value != want || o.Unit != exam.UnitDioptre || o.Value.String() != in && o.Text != in {
			t.Errorf("%q: %+v, want %v", in, o, want)
		}
	}
	for in, want := range map[string]float64{"0.557": 557, "557um": 557, "0,557 mm": 557} {
		if v, _ := draft(t, "<CCT>"+in+"</CCT>").Observations[0].Value.Float(); v != want {
			t.Errorf("thickness %q: %v", in, v)
		}
	}
	for _, nothing := range []string{"", "  ", "--.-", "---"} {
		if got := draft(t, "<R><Sphere>"+nothing+"</Sphere><Axis>0</Axis></R>"); len(got.Observations) != 1 {
			t.Errorf("%q is %+v", nothing, got.Observations)
		}
	}
}

func TestFindings(t *testing.T) {
	if o := draft(t, "<VA>0,8 +2</VA>").Observations[0]; o.Code != exam.CodeVAExt || o.Value != exam.Text("0.8+2") {
		t.Errorf("acuity %+v", o)
	}
	for in, want := range map[string]float64{
		"<PrismX base='out'>1.5</PrismX>": -1.5, "<PrismX base='in'>1.5</PrismX>": 1.5, "<H>0.5</H>": 0.5,
	} {
		got := draft(t, "<R>"+in+"</R>")
		if v, _ := got.Observations[0].Value.Float(); v != want || (len(got.Warnings) > 1) != strings.Contains(in, "<H>") {
			t.Errorf("%s: %v %v", in, v, got.Warnings)
		}
	}
	twice := draft(t, "<R><Sphere>1</Sphere><Sphere>2</Sphere></R>")
	if len(twice.Observations) != 2 || twice.Observations[1].Seq != 1 || !strings.Contains(strings.Join(twice.Warnings, " "), exam.WarnDuplicate) {
		t.Errorf("twice: %+v", twice)
	}
	if got := draft(t, "<R><Axis>0</Axis></R><New>7</New>"); !strings.Contains(strings.Join(got.Warnings, " "), exam.WarnUnknownSegment) {
		t.Errorf("unknown element: %v", got.Warnings)
	}
	long := draft(t, "<R><Axis>0</Axis><Sphere>"+strings.Repeat("1", 2000)+"</Sphere></R>")
	if len(long.Observations) != 1 || !strings.Contains(strings.Join(long.Warnings, " "), exam.WarnUnknownSegment) {
		t.Errorf("a value too long to be one: %d, %v", len(long.Observations), long.Warnings)
	}
}

func TestHead(t *testing.T) {
	for in, want := range map[string]exam.Exam{
		"<Date>2025/3/9</Date><Time>1:02:03,5</Time>":                                      {TakenAt: "2025-03-09T01:02:03.5"},
		"<Date>20250309</Date><Time>14-20</Time>":                                          {TakenAt: "2025-03-09T14:20"},
		"<Date>09.03.2025</Date><DateFormat>D_M_Y</DateFormat><Time>x</Time>":              {TakenAt: "2025-03-09"},
		"<Date>03/09/2025</Date><DateFormat>M_D_Y</DateFormat>":                            {TakenAt: "2025-03-09"},
		"<Date>03/09/2025</Date>":                                                          {},
		"<Patient><Sex>female</Sex><DOB>1980-1-2</DOB><ID> 7 </ID></Patient>":              {Patient: exam.Patient{Sex: "F", Birth: "1980-01-02", ID: "7"}},
		"<Patient><LastName>Test</LastName><FirstName> Eins  Zwei</FirstName></Patient>":   {Patient: exam.Patient{Name: "Test Eins Zwei"}},
		"<Patient><LastName>Kim</LastName><NameJ1>김</NameJ1><NameJ2>시험</NameJ2></Patient>": {Patient: exam.Patient{Name: "김 시험"}},
	} {
		got := draft(t, "<Common>"+in+"</Common><R><Axis>0</Axis></R>")
		if got.Patient != want.Patient || got.TakenAt != want.TakenAt {
			t.Errorf("%s: %+v %s", in, got.Patient, got.TakenAt)
		}
	}
}

// TestNoFinding holds that a head alone is no exam.
func TestNoFinding(t *testing.T) {
	data := []byte("<a><Common><Patient><No.>7</No.><ID>T-1</ID></Patient></Common></a>")
	doc := parse(t, string(data))
	d := xmlexam.NewDraft(doc, data)
	d.Head(doc.Root().Child("Common"))
	if got := d.Finish(xmlexam.Options{}); len(got.Exams) != 0 || got.Rejects[0].Reason != exam.RejectEmpty {
		t.Errorf("%+v", got)
	}
}

func FuzzParse(f *testing.F) {
	examtest.Seed(f, "../joia/testdata")
	examtest.Seed(f, "../nidek/testdata")
	examtest.Seed(f, "../topascope/testdata")
	for _, s := range []string{
		"<a><![CDATA[x]]>&#10;<!-- --></a>", "<!DOCTYPE a 'x'><a b = 'c'/><d/>", "<?xml version='1.0'?><n:a xmlns:n=''/>", "<a\u00e9 b.='&quot;'/>",
	} {
		f.Add([]byte(s))
		var b []byte
		for _, u := range utf16.Encode([]rune(s)) {
			b = binary.BigEndian.AppendUint16(b, u)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var doc *xmlexam.Doc
		var fault *exam.Reject
		limit := examtest.MaxAlloc(len(data))
		if n := examtest.Allocated(limit, func() { doc, fault = xmlexam.Parse(data, xmlexam.Options{}) }); n > limit {
			t.Fatalf("%d bytes allocated for %d bytes", n, len(data))
		}
		if (doc == nil) == (fault == nil) {
			t.Fatal("document and fault")
		}
		if doc != nil {
			asStandard(t, doc)
		}
	})
}

// asStandard holds that encoding/xml, too, reads the document, with the same elements in it.
func asStandard(t *testing.T, doc *xmlexam.Doc) {
	d := xml.NewDecoder(bytes.NewReader(doc.Encoding().UTF8))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	want := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if strings.Contains(err.Error(), "unsupported version") {
				return // some instruments write 1.1
			}
			t.Fatalf("encoding/xml: %v", err)
		}
		if _, ok := tok.(xml.StartElement); ok {
			want++
		}
	}
	if got := count(doc.Roots()); got != want {
		t.Fatalf("%d elements, encoding/xml sees %d", got, want)
	}
}

func count(list func(func(xmlexam.Node) bool)) (n int) {
	for c := range list {
		n += 1 + count(c.Children())
	}
	return n
}

package mapped_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/text/encoding/korean"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/mapped"
	"github.com/hostd/hostd/core/sdk/exam"
)

// columns is the mapping of the files here: one row for each exam.
func columns() *mapped.Mapping {
	return &mapped.Mapping{
		Separator: "semicolon", Header: true, DecimalComma: true, DateOrder: "dmy", Make: "Own", Model: "B-1",
		PatientID: "Id", PatientName: "Name", PatientGiven: "Given", PatientBirth: "Born", PatientSex: "Sex", Date: "Date", Time: "Time", ExamNo: "No",
		Observations: []mapped.Field{
			{From: "AL R", Code: exam.CodeAxialLength, Eye: exam.Right, Method: exam.MethodBiometry},
			{From: "AL L", Code: exam.CodeAxialLength, Eye: exam.Left, Method: exam.MethodBiometry},
			{From: "CCT", Code: exam.CodeCCT, Eye: exam.Right, Method: exam.MethodPachy, Unit: exam.UnitMM},
			{From: "SNR", Code: "SNR", Eye: exam.Both, Unit: "dB"},
		},
	}
}

// paths is the mapping of JSON: one element for each eye.
func paths() *mapped.Mapping {
	return &mapped.Mapping{
		Items: "visit.eyes", DateOrder: "ymd", DecimalComma: true, PatientID: "who.id", Date: "at", Eye: "side", Observations: []mapped.Field{
			{From: "ref.0.sph", Code: exam.CodeSphere, Method: exam.MethodAutoref, Seq: 1},
			{From: "ref.1.sph", Code: exam.CodeSphere, Method: exam.MethodAutoref, Seq: 2},
		},
	}
}

// told is the result in one line for each exam or reject.
func told(result exam.Result) string {
	var b strings.Builder
	for _, e := range result.Exams {
		fmt.Fprintf(&b, "%s|%s|%s|%s|%s", e.Patient.ID, e.Patient.Name, e.Patient.Birth, e.Patient.Sex, e.TakenAt)
		for _, o := range e.Observations {
			fmt.Fprintf(&b, " %s/%s/%s/%d=%s%s", o.Code, o.Eye, o.Method, o.Seq, o.Value, o.Unit)
		}
		fmt.Fprintf(&b, " %s\n", strings.Join(e.Warnings, " "))
	}
	for _, r := range result.Rejects {
		fmt.Fprintf(&b, "%s %d+%d\n", r.Reason, r.Offset, r.Length)
	}
	return b.String()
}

const head = "No;Id;Name;Given;Born;Sex;Date;Time;AL R;AL L;CCT;SNR;More\r\n"

func TestCSV(t *testing.T) {
	cp949, err := korean.EUCKR.NewEncoder().String("T-1;똠;;;;;;24;;;\r\n")
	if err != nil {
		t.Fatal(err)
	}
	const other = "\"SNR\",\"Id\",AL R\n"
	for title, c := range map[string]struct{ in, want string }{
		"all": {
			head + "7;T-1;Kim;Siheom;15.03.1970;f;24.03.2025;10:02:15;24,52;--;0,557;> 30;x\r\n",
			"T-1|Kim Siheom|1970-03-15|F|2025-03-24T10:02:15 axial_length/R/biometry/0=24.52mm cct/R/pachy/0=557um SNR/B//0=> 30dB exam_no/B//0=7 \n",
		},
		"a mark, blank lines, quotes, no last line end": {
			"\ufeff" + head + "\r\n;\"T;1\";\"K\"\"im\nX\";;;;24.3.2025 9:05;;\"24.5\"\n\n;T-2;;;;;;;1;2",
			"T;1|K\"im X|||2025-03-24T09:05 axial_length/R/biometry/0=24.5mm \nT-2|||| axial_length/R/biometry/0=1mm axial_length/L/biometry/0=2mm \n",
		},
		"a row without finding, one without end of quote": {
			head + "1;T-1;;;;;;;;\r\n2;\"T-2;;;;;;;2\r\n3;T-3;;;;;;;3\r\n",
			"T-3|||| axial_length/R/biometry/0=3mm exam_no/B//0=3 \nempty 60+13\nmalformed 75+14\n",
		},
		"code page":       {"x;Id;Name;;;;;;AL R\n;" + cp949, "T-1|똠||| axial_length/R/biometry/0=24mm charset_undeclared broken_segment\n"},
		"no such columns": {"A;B\n1;2\n", "malformed 0+8\n"},
		"header alone":    {head, ""},
		"other separator": {other + "3,T-1,24.5\n", "malformed 0+27\n"},
		"nothing":         {" \r\n", "empty 0+3\n"},
		"no text":         {head + "\xff\xfe\xff", "malformed 0+63\n"},
		"long id":         {head + ";" + strings.Repeat("x", 3) + ";;;;;;;1\x00\n", "xxx|||| axial_length/R/biometry/0=1\x00mm \n"},
	} {
		got := told(mapped.Decode(mapped.CSV([]byte(c.in), columns(), mapped.Options{})))
		if got != c.want {
			t.Errorf("%s: got\n%swant\n%s", title, got, c.want)
		}
	}
	m := columns()
	m.Separator, m.DecimalComma = "", false
	want := "T-1|||| axial_length/R/biometry/0=24,5mm SNR/B//0=3dB broken_segment\n"
	if got := told(mapped.Decode(mapped.CSV([]byte(other+"3,T-1,\"24,5\"\n"), m, mapped.Options{}))); got != want {
		t.Errorf("comma: %s", got)
	}
	m = &mapped.Mapping{Separator: "tab", Skip: 1, PatientID: "2", Observations: []mapped.Field{{From: "1", Code: exam.CodeIOP, Eye: exam.Left}}}
	if got, want := told(mapped.Decode(mapped.CSV([]byte("IOP of today\n13\tT-1\n14\n"), m, mapped.Options{}))), "T-1|||| iop/L//0=13mmHg \n|||| iop/L//0=14mmHg patient_id_blank\n"; got != want {
		t.Errorf("without header: %s", got)
	}
}

// TestItems holds that an item is told with the bytes that it came from, whatever stands around it.
func TestItems(t *testing.T) {
	in := []byte(head + "1;T-1;;;;;;;24\r\n2;T-2;;;;;;;25\r\n")
	r, reject := mapped.CSV(in, columns(), mapped.Options{})
	if reject != nil {
		t.Fatal(reject)
	}
	for n := 1; n <= 2; n++ {
		item, ok := r.Next()
		if want := fmt.Sprintf("%d;T-%d;;;;;;;2%d", n, n, 3+n); !ok || string(item.Head) != head || string(item.Body) != want {
			t.Errorf("%q %q", item.Head, item.Body)
		}
	}
	if _, ok := r.Next(); ok {
		t.Error("one too many")
	}
}

func TestJSON(t *testing.T) {
	whole := paths()
	whole.Items = ""
	list := paths()
	list.Items = "."
	const one = `{"who":{"id":"T-1"},"at":"2025-03-24T10:02:15","side":"OD","ref":[{"sph":-1.25},{"sph":"-1,50 "}]}`
	const wantOne = "T-1||||2025-03-24T10:02:15 sphere/R/autoref/1=-1.25D sphere/R/autoref/2=-1.5D \n"
	for title, c := range map[string]struct {
		m        *mapped.Mapping
		in, want string
	}{
		"one":              {whole, one, wantOne},
		"list":             {list, " [" + one + " , " + one + " ] ", wantOne + wantOne},
		"in a member":      {paths(), `{"a":[{"\"}]":null}],"visit":{"eyes":[{"side":"left","ref":[{"sph":null},{"sph":2}]},{}, 5]}}`, "|||| sphere/L/autoref/2=2D patient_id_blank\nempty 85+2\nempty 89+1\n"},
		"escapes":          {whole, `{"who":{"\u0069d":"T\u002d1"},"ref":[{"sph":1}]}`, "T-1|||| sphere/B/autoref/1=1D unknown_segment\n"},
		"cut":              {whole, one[:60], "malformed 0+60\n"},
		"no list":          {paths(), one, fmt.Sprintf("malformed 0+%d\n", len(one))},
		"empty list":       {list, "[]", ""},
		"finding no value": {whole, `{"ref":[{"sph":{"x":1}}]}`, "empty 0+25\n"},
		"two documents":    {whole, "{} {}", "malformed 0+5\n"},
	} {
		if got := told(mapped.Decode(mapped.JSON([]byte(c.in), c.m, mapped.Options{}))); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", title, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for want, change := range map[string]func(m *mapped.Mapping){
		"":                  func(*mapped.Mapping) {},
		"is empty":          func(m *mapped.Mapping) { m.Observations = nil },
		"no number":         func(m *mapped.Mapping) { m.Header = false },
		"of an earlier one": func(m *mapped.Mapping) { m.Observations = append(m.Observations, m.Observations[0]) },
	} {
		m := columns()
		change(m)
		if err := m.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// fuzz holds that every byte sequence gives items that can be encoded, within bounds. A file without a row is none.
func fuzz(t *testing.T, data []byte, read func(data []byte) (*mapped.Reader, *exam.Reject)) {
	examtest.Bounded(t, data, func() exam.Result {
		result := mapped.Decode(read(data))
		if len(result.Exams)+len(result.Rejects) == 0 {
			result.Rejects = []exam.Reject{{Reason: exam.RejectEmpty, Detail: "no row"}}
		}
		return result
	})
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte(head + "7;T-1;\"K\"\"im\";;15.03.1970;f;24.03.2025;10:02:15;24,52;--;0,557;> 30;x\r\n;;\"\n"))
	f.Add(bytes.Repeat([]byte("AL R;"), 3))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzz(t, data, func(data []byte) (*mapped.Reader, *exam.Reject) { return mapped.CSV(data, columns(), mapped.Options{}) })
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[{"\"}]":null}],"visit":{"eyes":[{"side":"left","ref":[{"sph":null},{"sph":2}]},{}, 5]}}`))
	f.Add([]byte(`{"visit":{"eyes":[]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzz(t, data, func(data []byte) (*mapped.Reader, *exam.Reject) { return mapped.JSON(data, paths(), mapped.Options{}) })
	})
}

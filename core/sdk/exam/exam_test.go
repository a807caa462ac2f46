package exam_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// full uses every field, and text that JSON must escape.
func full() *exam.Exam {
	return &exam.Exam{
		Patient: exam.Patient{ID: "T-000421", Name: "김 시험 \"\\\x01\n", Birth: "1970-03-15", Sex: "F"},
		Device:  exam.Device{Make: "SYNTH", Model: "AR\t1", Serial: "0077"},
		TakenAt: "2025-03-24T10:31:40.317+09:00",
		Observations: []exam.Observation{
			{Code: exam.CodeExamNo, Eye: exam.Both, Value: exam.ParseValue(exam.CodeExamNo, "0734")},
			{Code: exam.CodeSphere, Eye: exam.Right, Value: exam.Number(-0.75), Unit: "D", Method: exam.MethodAutoref, Seq: 1, Text: "-0,75"},
			{Code: exam.CodeVA, Eye: exam.Left, Value: exam.Text(">2.0"), Method: exam.MethodFinal + exam.Near, Flags: []string{"C", ""}},
		},
		Warnings: []string{exam.WarnDuplicate},
	}
}

const fullJSON = `{"patient":{"id":"T-000421","name":"김 시험 \"\\\u0001\n","birth":"1970-03-15","sex":"F"},` +
	`"device":{"make":"SYNTH","model":"AR\t1","serial":"0077"},"taken_at":"2025-03-24T10:31:40.317+09:00","observations":[` +
	`{"code":"exam_no","eye":"B","value":"0734","unit":"","method":"","seq":0},` +
	`{"code":"sphere","eye":"R","value":-0.75,"unit":"D","method":"autoref","seq":1,"text":"-0,75"},` +
	`{"code":"va","eye":"L","value":"\u003e2.0","unit":"","method":"final_near","seq":0,"flags":["C",""]}],"warnings":["duplicate"]}`

func TestEncode(t *testing.T) {
	got, err := exam.Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.ReplaceAll(fullJSON, `\u003e`, ">"); string(got) != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	std, err := json.Marshal(full())
	if err != nil {
		t.Fatal(err)
	}
	if string(std) != fullJSON {
		t.Errorf("encoding/json makes\n%s, want\n%s", std, fullJSON)
	}
	empty, err := exam.Encode(&exam.Exam{})
	if err != nil || !strings.HasSuffix(string(empty), `"observations":[]}`) {
		t.Errorf("empty exam: %s, %v", empty, err)
	}
}

func TestDecodeGivesBackWhatWasEncoded(t *testing.T) {
	for seed := range uint64(200) {
		e := generate(rand.New(rand.NewPCG(seed, 1)))
		data, err := exam.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := exam.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(e, back) {
			t.Fatalf("seed %d: got\n%+v, want\n%+v", seed, back, e)
		}
		if id, err := exam.PatientID(data); err != nil || id != e.Patient.ID {
			t.Fatalf("seed %d: patient id %q, %v", seed, id, err)
		}
	}
}

// generate makes an exam of any shape.
func generate(r *rand.Rand) *exam.Exam {
	texts := []string{"a", "검사", "検査 ﾀﾛｳ", `q"uo\te`, "line\nbreak\r\t", "\x00\x1f\x7f", "\u2028", "0.8+2", "-", "007"}
	text := func() string { return texts[r.IntN(len(texts))] }
	e := &exam.Exam{
		Patient:      exam.Patient{ID: text(), Name: text(), Sex: []string{"", "M", "F", "O"}[r.IntN(4)]},
		Device:       exam.Device{Make: text(), Model: text(), Serial: text()},
		TakenAt:      []string{"", "2025", "2025-03", "2025-03-14", "2025-03-14T09:05", "2025-03-14T09:05:00Z"}[r.IntN(6)],
		Observations: []exam.Observation{},
	}
	for i := range r.IntN(80) {
		o := exam.Observation{Code: text(), Eye: []string{"R", "L", "B"}[r.IntN(3)], Value: exam.Text(text()), Unit: text(), Seq: i}
		if r.IntN(2) == 0 {
			o.Value = exam.Number(math.Round(r.NormFloat64()*1e5) / math.Pow10(r.IntN(12)))
			o.Text, o.Flags = text(), []string{text()}
		}
		e.Observations = append(e.Observations, o)
	}
	if r.IntN(2) == 0 {
		e.Warn(exam.WarnDuplicate)
	}
	return e
}

func TestDecodeRefuses(t *testing.T) {
	const secret = "SECRET"
	good := string(mustEncode(t, full()))
	for name, c := range map[string]struct{ data, want string }{
		"nothing":            {"", "not JSON at byte 0"},
		"cut":                {good[:100], "not JSON at byte 100"},
		"two":                {good + good, "not JSON"},
		"not an exam":        {`{"a":"SECRET"}`, "patient is missing"},
		"no observations":    {`{"patient":{},"device":{},"taken_at":""}`, "observations is missing"},
		"null observations":  {`{"patient":{},"device":{},"taken_at":"","observations":null}`, "observations is missing"},
		"number for text":    {`{"patient":{"id":4711},"device":{},"taken_at":"","observations":[]}`, "patient.id is a number at byte"},
		"text for number":    {strings.Replace(good, `"seq":1`, `"seq":"SECRET"`, 1), "seq is a string at byte"},
		"null value":         {strings.Replace(good, "-0.75", "null", 1), "value is neither a number nor a text"},
		"object for value":   {strings.Replace(good, "-0.75", `{"x":"SECRET"}`, 1), "value is neither a number nor a text"},
		"no value":           {strings.Replace(good, `"value":-0.75,`, "", 1), "observation 1: value is empty"},
		"huge value":         {strings.Replace(good, "-0.75", "1e999", 1), "value is neither"},
		"unknown eye":        {strings.Replace(good, `"eye":"R"`, `"eye":"OD"`, 1), "observation 1: eye is not R, L or B"},
		"no code":            {strings.Replace(good, `"code":"sphere"`, `"code":""`, 1), "observation 1: code is empty"},
		"negative seq":       {strings.Replace(good, `"seq":1`, `"seq":-1`, 1), "observation 1: seq is negative"},
		"sex":                {strings.Replace(good, `"sex":"F"`, `"sex":"SECRET"`, 1), "patient.sex"},
		"birth":              {strings.Replace(good, `"birth":"1970-03-15"`, `"birth":"15.03.1970"`, 1), "patient.birth"},
		"time":               {strings.Replace(good, "2025-03-24T", "2025/03/24 ", 1), "taken_at is not ISO 8601"},
		"not UTF-8":          {strings.Replace(good, "T-000421", "T\xb1\xe8", 1), "not UTF-8"},
		"warning not a word": {strings.Replace(good, `"duplicate"`, `"SECRET!"`, 1), "a warning is not a word"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := exam.Decode([]byte(c.data))
			if err == nil || !strings.HasPrefix(err.Error(), "decode exam: ") || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "4711") {
				t.Errorf("error shows a value: %v", err)
			}
		})
	}
}

func TestDecodeSkipsUnknownKeys(t *testing.T) {
	later := strings.Replace(string(mustEncode(t, full())), `{"patient":{`, `{"extra":{"a":[1]},"patient":{"x":1,`, 1)
	got, err := exam.Decode([]byte(later))
	if err != nil || !reflect.DeepEqual(got, full()) {
		t.Errorf("got %+v, %v", got, err)
	}
	if id, err := exam.PatientID([]byte(later)); err != nil || id != "T-000421" {
		t.Errorf("patient id %q, %v", id, err)
	}
}

func TestValidateRefuses(t *testing.T) {
	many := full()
	for i := range 100 {
		many.Observations = append(many.Observations, exam.Observation{Code: "x", Eye: "B", Value: exam.Number(1), Seq: i % 99})
	}
	few := full()
	few.Observations = append(few.Observations, few.Observations[1])
	nan, latin, flag := full(), full(), full()
	nan.Observations[0].Value = exam.Number(math.NaN())
	latin.Observations[0].Value = exam.Text("\xe4")
	flag.Observations[0].Flags = []string{"\xe4"}
	for name, c := range map[string]struct {
		e    *exam.Exam
		want string
	}{
		"nil": {nil, "nil"}, "nan": {nan, "finite"}, "latin": {latin, "UTF-8"}, "flag": {flag, "UTF-8"},
		"duplicate of few": {few, "observation 3: code, eye"}, "duplicate of many": {many, "observation 102: code, eye"},
	} {
		if err := exam.Validate(c.e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if data, err := exam.Append([]byte("x"), nan); err == nil || string(data) != "x" {
		t.Errorf("append of a bad exam: %q, %v", data, err)
	}
}

func TestParseValue(t *testing.T) {
	for _, c := range []struct {
		code, text, want string
		number           bool
	}{
		{exam.CodeSphere, "2.50", "2.5", true},
		{exam.CodeSphere, "+1.25", "1.25", true},
		{exam.CodeSphere, "-0.00", "0", true},
		{exam.CodeSphere, ".5", "0.5", true},
		{exam.CodeSphere, "5.", "5", true},
		{exam.CodeAxis, "007", "7", true},
		{exam.CodeSphere, "123456789012345", "123456789012345", true},
		{exam.CodeSphere, "1234567890123456", "1234567890123456", false},
		{exam.CodeSphere, "1,25", "1,25", false},
		{exam.CodeSphere, "1e3", "1e3", false},
		{exam.CodeSphere, "Inf", "Inf", false},
		{exam.CodeSphere, "0x10", "0x10", false},
		{exam.CodeSphere, "1.2.3", "1.2.3", false},
		{exam.CodeSphere, "", "", false},
		{exam.CodeSphere, "+", "+", false},
		{exam.CodeVA, ">2.0", ">2.0", false},
		{exam.CodeExamNo, "421", "421", false},
	} {
		v := exam.ParseValue(c.code, c.text)
		if v.String() != c.want || v.IsNumber() != c.number {
			t.Errorf("%s %q: %q %v", c.code, c.text, v.String(), v.IsNumber())
		}
	}
}

func TestEveryCodeHasItsUnit(t *testing.T) {
	for _, name := range wantFiles(t) {
		e := readWant(t, name)
		for _, o := range e.Observations {
			if unit, known := exam.UnitOf(o.Code); !known || unit != o.Unit {
				t.Errorf("%s: %s has unit %q, %v, want %q", name, o.Code, unit, known, o.Unit)
			}
		}
	}
	if _, known := exam.UnitOf("GLU"); known {
		t.Error("a foreign code has a unit")
	}
}

func mustEncode(t testing.TB, e *exam.Exam) []byte {
	t.Helper()
	data, err := exam.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func wantFiles(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/want/*.want.json")
	if err != nil || len(names) < 5 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	return names
}

func readWant(t *testing.T, name string) *exam.Exam {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := exam.Decode(data)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return e
}

// TestWant holds the record's form against the expected results of the sample files.
func TestWant(t *testing.T) {
	for _, name := range wantFiles(t) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, data); err != nil {
			t.Fatal(err)
		}
		if got := mustEncode(t, readWant(t, name)); !bytes.Equal(got, compact.Bytes()) {
			t.Errorf("%s: encoded as\n%s", name, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(fullJSON))
	f.Add([]byte(`{"patient":{"id":""},"device":{},"taken_at":"","observations":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := exam.Decode(data)
		if err != nil {
			return
		}
		again, err := exam.Decode(mustEncode(t, e))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(e) {
			t.Fatalf("%v: %+v, want %+v", err, again, e)
		}
		if id, err := exam.PatientID(mustEncode(t, e)); err != nil || id != e.Patient.ID {
			t.Fatalf("patient id %q, %v, want %q", id, err, e.Patient.ID)
		}
	})
}

// ten is an exam of ten observations, as the generator makes them.
func ten() *exam.Exam {
	e := &exam.Exam{
		Patient: exam.Patient{ID: "T-000421", Name: "Kim Siheom", Birth: "1970-03-15", Sex: "F"},
		Device:  exam.Device{Make: "SYNTH", Model: "AR-1", Serial: "77"}, TakenAt: "2025-03-24T10:31:40",
	}
	for i, code := range []string{"sphere", "cylinder", "axis", "se", "keratometry_k1", "keratometry_k2", "keratometry_k1_axis", "iop", "cct", "pd"} {
		unit, _ := exam.UnitOf(code)
		e.Observations = append(e.Observations, exam.Observation{Code: code, Eye: "RL"[i%2 : i%2+1], Value: exam.Number(-1.25 * float64(i)), Unit: unit, Method: "autoref"})
	}
	return e
}

func BenchmarkEncode(b *testing.B) {
	e := ten()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := exam.Append(buf, e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	data := mustEncode(b, ten())
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := exam.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPatientID(b *testing.B) {
	data := mustEncode(b, ten())
	for b.Loop() {
		if _, err := exam.PatientID(data); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNumbersAreShort: the short way for few decimals writes what strconv writes.
func TestNumbersAreShort(t *testing.T) {
	check := func(f float64) {
		t.Helper()
		want := strconv.FormatFloat(f, 'f', -1, 64)
		if got := exam.Number(f).String(); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	for n := -30_000; n <= 30_000; n++ {
		check(float64(n) / 1000)
	}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range 30_000 {
		check(float64(r.IntN(2e9)-1e9) / 1000)
		check((1 + r.Float64()) * math.Pow10(r.IntN(12)-5))
		check(math.Round(r.NormFloat64()*1e5)/math.Pow10(r.IntN(6)) + 0) // minus zero is zero
		check(math.Nextafter(float64(r.IntN(2_000_000)-1_000_000)/1000, 1e9))
	}
}

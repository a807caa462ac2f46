package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// line is what a reader sees of one.
type line struct {
	ID          string            `json:"id"`
	Device      string            `json:"device"`
	Kind        string            `json:"kind"`
	Seq         uint64            `json:"seq"`
	Time        *time.Time        `json:"time"`
	ReceivedAt  *time.Time        `json:"received_at"`
	ContentType string            `json:"content_type"`
	Labels      map[string]string `json:"labels"`
	Amends      string            `json:"amends"`
	Unassigned  bool              `json:"unassigned"`
	Data        json.RawMessage   `json:"data"`
	Encoding    string            `json:"encoding"`
	Raw         []byte            `json:"raw"`
	Attachments []struct {
		Name        string `json:"name"`
		ContentType string `json:"content_type"`
		Size        int64  `json:"size"`
		Hash        string `json:"hash"`
		Role        string `json:"role"`
	} `json:"attachments"`
}

// data is the record's data, as package main's comment tells a reader to get it.
func (l *line) data() ([]byte, error) {
	switch {
	case len(l.Data) == 0:
		return nil, fmt.Errorf("no data")
	case l.Data[0] == '{' || l.Data[0] == '[':
		return l.Data, nil
	case string(l.Data) == "null":
		return nil, nil
	}
	var text string
	if err := json.Unmarshal(l.Data, &text); err != nil {
		return nil, err
	}
	if l.Encoding == "base64" {
		return base64.StdEncoding.DecodeString(text)
	}
	return []byte(text), nil
}

// parseLine reads one line, strictly.
func parseLine(t testing.TB, b []byte) line {
	t.Helper()
	if n := bytes.IndexByte(b, '\n'); n != len(b)-1 || !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		t.Fatalf("not one line of text: newline at %d of %d: %q", n, len(b), b)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var l line
	if err := d.Decode(&l); err != nil {
		t.Fatalf("line does not parse: %v: %q", err, b)
	}
	return l
}

func encode(r *sdk.Record) []byte {
	e := lineEncoder{raw: true}
	return e.append(nil, r)
}

func TestLineGivesBackTheData(t *testing.T) {
	const asJSON, asText, asBase64 = "json", "text", "base64"
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	tests := []struct {
		name, contentType, data, form string
	}{
		{"object", "application/json", `{"a":[1,-0.5e+3,true,false,null,"x\u00e9\n"],"b":{}}`, asJSON},
		{"charset", "application/json; charset=utf-8", `[]`, asJSON},
		{"blanks inside", "application/json", "{ \"a\" :\t1 , \"b\": [ 1 , 2 ] }", asJSON},
		{"line separators", "application/json", "{\"a\":\"\u2028\u2029\u0085\"}", asJSON},
		{"lone surrogate", "application/json", `{"a":"\ud800"}`, asJSON},
		{"deepest", "application/json", deep, asJSON},
		{"too deep", "application/json", "[" + deep + "]", asText},
		{"newline between", "application/json", "{\n\"a\":1}", asText},
		{"carriage return between", "application/json", "{\r\"a\":1}", asText},
		{"newline in a string", "application/json", "{\"a\":\"\n\"}", asText},
		{"newline behind", "application/json", "{}\n", asText},
		{"blank before", "application/json", " {}", asText},
		{"blank behind", "application/json", "{} ", asText},
		{"not a number", "application/json", `{"a":NaN}`, asText},
		{"infinity", "application/json", `[-Infinity]`, asText},
		{"cut off", "application/json", `{"a":"b`, asText},
		{"way out", "application/json", `{},"id":"other"`, asText},
		{"two objects", "application/json", `{}{}`, asText},
		{"leading zero", "application/json", `[01]`, asText},
		{"single quotes", "application/json", `{'a':1}`, asText},
		{"comma at the end", "application/json", `[1,]`, asText},
		{"bad escape", "application/json", `["\x41"]`, asText},
		{"short escape", "application/json", `["\u12"]`, asText},
		{"JSON string", "application/json", `"text"`, asText},
		{"JSON null", "application/json", `null`, asText},
		{"JSON number", "application/json", `1`, asText},
		{"invalid UTF-8 in JSON", "application/json", "{\"a\":\"\xff\"}", asBase64},
		{"JSON of another type", "application/fhir+json", `{}`, asText},
		{"empty", "application/json", "", asText},
		{"text", "text/plain", "Grüße, 안녕 \"quoted\" \\ </script>", asText},
		{"protocol", "x-application/hl7-v2+er7", "\x0bMSH|^~\\&|\rPID|\r\x1c\r", asText},
		{"controls", "text/plain", "\x01\x02\x1f\x7f\b\f\n\r\t\u2028", asText},
		{"looks like base64", "text/plain", "aGVsbG8=", asText},
		{"NUL", "text/plain", "a\x00b", asBase64},
		{"invalid UTF-8", "text/plain", "caf\xe9", asBase64},
		{"binary", "image/jpeg", "\xff\xd8\xff\xe0\x00\x10JFIF", asBase64},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := sdk.Record{ID: "1", Source: "d", Kind: "k", ContentType: tt.contentType, Data: []byte(tt.data)}
			l := parseLine(t, encode(&r))
			form := asText
			if l.Data[0] == '{' || l.Data[0] == '[' {
				form = asJSON
			} else if l.Encoding != "" {
				form = l.Encoding
			}
			got, err := l.data()
			if err != nil || string(got) != tt.data || form != tt.form {
				t.Errorf("%q came back as %s %q, %v; want %s", tt.data, form, got, err, tt.form)
			}
		})
	}
}

func TestLineHasEveryField(t *testing.T) {
	seoul := time.FixedZone("", 9*3600)
	r := sdk.Record{
		ID: "id \"1\"\n", Source: "ark-1", Kind: "exam", Seq: 1<<64 - 1, ContentType: "application/json", Data: []byte(`{}`), Raw: []byte("\x02raw\x00\n"),
		Time: time.Date(2026, 3, 1, 17, 15, 0, 7, seoul), Received: time.Date(2026, 3, 1, 8, 15, 3, 120_000_000, time.UTC),
		Labels: map[string]string{"message": "ORU^R01", "a": "b\u2028", "z": "\xff"}, Amends: "0", Unassigned: true, Patient: "never in a line by itself",
		Attachments: []sdk.Attachment{
			{Name: "r\xffight.jpg", ContentType: "image/jpeg", Size: 4 << 30, Hash: strings.Repeat("a", 64)},
			{Name: "raw-1", Size: 5, Hash: strings.Repeat("b", 64), Role: "raw"},
		},
	}
	const want = `{"id":"id \"1\"\n","device":"ark-1","kind":"exam","seq":18446744073709551615,"time":"2026-03-01T17:15:00.000000007+09:00",` +
		`"received_at":"2026-03-01T08:15:03.120000000Z","content_type":"application/json","labels":{"a":"b` + "\u2028" + `","message":"ORU^R01","z":"` + "\ufffd" + `"},` +
		`"amends":"0","unassigned":true,"data":{},"raw":"AnJhdwAK","attachments":[` +
		`{"name":"r` + "\ufffd" + `ight.jpg","content_type":"image/jpeg","size":4294967296,"hash":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","role":""},` +
		`{"name":"raw-1","content_type":"","size":5,"hash":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","role":"raw"}]}` + "\n"
	got := encode(&r)
	if string(got) != want {
		t.Errorf("line is\n%s\nwant\n%s", got, want)
	}
	if l := parseLine(t, got); string(l.Raw) != string(r.Raw) || !l.Time.Equal(r.Time) {
		t.Errorf("raw came back as %q, time as %s", l.Raw, l.Time)
	}
	bare := lineEncoder{}
	r.Attachments = []sdk.Attachment{{Role: "data"}}
	r.Data = nil
	if l := parseLine(t, bare.append(nil, &r)); l.Raw != nil || string(l.Data) != "null" {
		t.Errorf("raw is %q, want none; data of an attachment is %s, want null", l.Raw, l.Data)
	}
}

func TestLineTime(t *testing.T) {
	at := time.Date(2026, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
	tests := []struct {
		t    time.Time
		want string
	}{
		{time.Time{}, `null`},
		{at, `"2026-12-31T23:59:59.999999999Z"`},
		{at.Add(-at.Sub(at.Truncate(time.Second))), `"2026-12-31T23:59:59.000000000Z"`},
		{at.Add(1), `"2027-01-01T00:00:00.000000000Z"`},
		{at.In(time.FixedZone("", -(3*3600 + 1800))), `"2026-12-31T20:29:59.999999999-03:30"`},
		{at.In(time.FixedZone("", 8*3600+27*60+52)), `"2026-12-31T23:59:59.999999999Z"`},
		{at.In(time.FixedZone("", 99*3600)), `"2026-12-31T23:59:59.999999999Z"`},
		{time.Unix(-1, 5).UTC(), `"1969-12-31T23:59:59.000000005Z"`},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), `null`},
		{time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), `null`},
		{at, `"2026-12-31T23:59:59.999999999Z"`},
	}
	var s stamp // one for all: what it remembers must never show
	for range 2 {
		for _, tt := range tests {
			if got := string(s.append([]byte("x"), tt.t)); got != "x"+tt.want {
				t.Errorf("%v is written as %s, want %s", tt.t, got[1:], tt.want)
			}
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, s := range []string{"", `{"a":1}`, "{\"a\":\"\n\"}", "[1,\r2]", "\xff\x00", "\u2028\x1f", `[-0.0e-1,"\ud800\/"]`, `{"a":{},"b":[[]]}`, `[1E5,tru]`} {
		f.Add("id", "application/json", s, s, int64(0))
	}
	f.Fuzz(func(t *testing.T, text, contentType, data, raw string, nanos int64) {
		if validLine([]byte(data)) && !json.Valid([]byte(data)) {
			t.Fatalf("taken as JSON, and is not: %q", data)
		}
		r := sdk.Record{
			ID: text, Source: text, Kind: text, Amends: text, ContentType: contentType, Data: []byte(data), Raw: []byte(raw),
			Labels: map[string]string{text: data}, Attachments: []sdk.Attachment{{Name: text, Hash: raw, Role: raw}}, Time: time.Unix(0, nanos), Received: time.Unix(0, nanos),
		}
		l := parseLine(t, encode(&r))
		got, err := l.data()
		if err != nil || string(got) != data || string(l.Raw) != raw {
			t.Fatalf("data %q came back as %q, %v; raw %q as %q", data, got, err, raw, l.Raw)
		}
		if l.ID != strings.ToValidUTF8(text, "\ufffd") || l.ReceivedAt == nil || l.ReceivedAt.UnixNano() != nanos {
			t.Fatalf("id %q came back as %q, received %d as %v", text, l.ID, nanos, l.ReceivedAt)
		}
	})
}

func FuzzValidLine(f *testing.F) {
	f.Add([]byte(`{"a":[1,-0.5e+3,true,false,null,"\u00e9\n"],"b":{}}`))
	f.Add([]byte(`[0,-0,1e1,1.0E-1,"\"\\\/\b\f\n\r\t"]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		want := len(b) > 0 && (b[0] == '{' || b[0] == '[') && (b[len(b)-1] == '}' || b[len(b)-1] == ']') &&
			json.Valid(b) && utf8.Valid(b) && !bytes.ContainsAny(b, "\r\n")
		if got := validLine(b); got != want && !(want && bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > maxDepth) {
			t.Fatalf("valid is %v, want %v: %q", got, want, b)
		}
	})
}

// benchRecords are a batch: JSON of about 1 KiB each.
func benchRecords(b testing.TB, n int) []sdk.Record {
	b.Helper()
	e := exam.Exam{Patient: exam.Patient{ID: "P-000123", Name: "Muster Anna", Birth: "1970-01-02", Sex: "F"}, Device: exam.Device{Make: "Example", Model: "AR-1", Serial: "0042"}, TakenAt: "2026-03-01T09:15:00"}
	for i := range 10 {
		e.Observations = append(e.Observations, exam.Observation{Code: "sphere", Eye: exam.Right, Value: exam.Number(-2.25), Unit: "D", Method: "objective", Seq: i, Text: "-02.25"})
	}
	data, err := exam.Encode(&e)
	if err != nil {
		b.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 9, 15, 0, 0, time.UTC)
	list := make([]sdk.Record, n)
	for i := range list {
		list[i] = sdk.Record{
			ID: fmt.Sprintf("ark-1-1-%d", i), Source: "ark-1", Kind: exam.Kind, ContentType: exam.ContentType, Data: data,
			Time: at.Add(time.Duration(i) * time.Second), Received: at.Add(time.Duration(i) * 10 * time.Microsecond), Seq: uint64(i) + 1,
		}
	}
	return list
}

func BenchmarkLine(b *testing.B) {
	for _, bench := range []struct {
		name   string
		change func(r *sdk.Record)
	}{
		{"json", func(*sdk.Record) {}},
		{"json and raw", func(r *sdk.Record) { r.Raw = r.Data }},
		{"text", func(r *sdk.Record) { r.ContentType = "text/plain" }},
		{"binary", func(r *sdk.Record) { r.Data = bytes.Repeat([]byte{0xff, 1}, len(r.Data)/2) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			records := benchRecords(b, 1000)
			size := 0
			for i := range records {
				bench.change(&records[i])
				size += len(records[i].Data) + len(records[i].Raw)
			}
			e := lineEncoder{raw: true}
			buf := make([]byte, 0, 4*size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				buf = buf[:0]
				for i := range records {
					buf = e.append(buf, &records[i])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(records)), "ns/record")
		})
	}
}

func BenchmarkValidLine(b *testing.B) {
	data := benchRecords(b, 1)[0].Data
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if !validLine(data) {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if !json.Valid(data) {
				b.Fatal("not valid")
			}
		}
	})
}

package hl7_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/sdk/exam"
)

const head = `MSH|^~\&|EYEHOST|CLINIC01|EMR|CLINIC01|20250314101530+0900||ORU^R01^ORU_R01|S1|P|2.5.1|||AL|NE||UNICODE UTF-8`

// oru is a message with the usual head and the segments.
func oru(segments ...string) []byte {
	return []byte(strings.Join(append([]string{head, "PID|1||T-1^^^C^MR||Kim^Siheom||19700315|F"}, segments...), "\r") + "\r")
}

func parse(t testing.TB, b []byte) *hl7.Message {
	t.Helper()
	m, err := hl7.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGet(t *testing.T) {
	m := parse(t, oru("OBR|1", `OBX|1|ST|a^b&c^d||x~y1^y2&y22|`, "OBX|2|ST|q||z", "ZZZ"))
	for path, want := range map[string]string{
		"MSH-1": "|", "MSH-2": `^~\&`, "MSH-3": "EYEHOST", "MSH-9": "ORU^R01^ORU_R01", "MSH-9.2": "R01", "MSH-10": "S1", "MSH-18": "UNICODE UTF-8",
		"PID-3": "T-1^^^C^MR", "PID-3.1": "T-1", "PID-3.2": "", "PID-3[1].4.1": "C", "PID-2": "",
		"OBX-5": "x~y1^y2&y22", "OBX-5.1": "x", "OBX-5[2]": "y1^y2&y22", "OBX[1]-5[2].2.2": "y22", "OBX-3.2.2": "c", "OBX-6": "", "OBX[2]-5": "z",
	} {
		if got := m.Get(path); got == nil || string(got) != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{
		"", "MS", "MSH", "MSH-", "MSH-0", "MSH-19", "MSH-99999999999999999999", "MSH-3.2", "MSH-3.1.2", "PID-3[2]", "OBX[3]-1", "OBX[0]-1", "OBX[-1]-1",
		"OBX[1-1", "OBX[1]5", "OBX-5[2", "OBX-5]", "OBX-5[1]x", "OBX-5.1.1.1", "OBX-5.1x", "OBX-5.", "NTE-1", "ZZZ-1", "OBX-7",
	} {
		if got := m.Get(path); got != nil {
			t.Errorf("%s is %q, want nothing", path, got)
		}
	}
	if m.Type() != "ORU^R01" || m.Len() != 6 || string(m.Segment(5).Bytes()) != "ZZZ" || m.Broken() {
		t.Errorf("type %s, %d segments, broken %v", m.Type(), m.Len(), m.Broken())
	}
}

func TestDelimiters(t *testing.T) {
	m := parse(t, []byte("MSH*!@%$*A*B*C*D***ORU!R01*1*P*2.5\rPID*1**id!x$y@second!z\r"))
	if got := string(m.Get("PID-3[2].2")); got != "z" {
		t.Errorf("second component of the second repetition is %q", got)
	}
	if got := string(m.Get("PID-3.2.2")); got != "y" || m.Type() != "ORU^R01" {
		t.Errorf("subcomponent is %q, type %s", got, m.Type())
	}
	if got, err := m.Text([]byte(`a%F%b%S%c%T%d%R%e%E%`)); got != "a*b!c$d@e%" || err != nil {
		t.Errorf("escapes %q: %v", got, err)
	}
	for in, want := range map[string]hl7.Delimiters{
		"MSH|":       {},
		"MSH|^|A":    {Field: '|', Component: '^', Repetition: '~', Escape: '\\', Subcomponent: '&', Truncation: '#'},
		"MSH|^~\\&#": {Field: '|', Component: '^', Repetition: '~', Escape: '\\', Subcomponent: '&', Truncation: '#'},
		"MSH|:~?;%|": {Field: '|', Component: ':', Repetition: '~', Escape: '?', Subcomponent: ';', Truncation: '%'},
	} {
		m, err := hl7.Parse([]byte(in))
		if err != nil && want != (hl7.Delimiters{}) {
			t.Errorf("%s: %v", in, err)
		} else if err == nil && m.Delimiters() != want {
			t.Errorf("%s: %+v", in, m.Delimiters())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]error{
		"": hl7.ErrEmpty, " \r\n\t": hl7.ErrEmpty, "\xef\xbb\xbf\r": hl7.ErrEmpty,
		"PID|1\r": hl7.ErrNotHL7, "MSH": hl7.ErrNotHL7, "MSHx^~\\&": hl7.ErrNotHL7, "MSH |^~\\&|": hl7.ErrNotHL7, "M\x00S\x00H\x00|\x00": hl7.ErrNotHL7,
		"<xml/>": hl7.ErrNotHL7, "FHS|^~\\&|\rBHS|": hl7.ErrBatch, head + "\r" + head: hl7.ErrBatch,
	} {
		if m, err := hl7.Parse([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v", in, m, err)
		}
	}
}

// The same message with other line ends, a mark, blank lines before it and no end has the same segments and identity.
func TestLineEnds(t *testing.T) {
	plain := oru("OBX|1|NM|sphere^^99EYE|R.0|-1.50")
	first := parse(t, plain)
	id, digest := first.Identity()
	for name, b := range map[string][]byte{
		"lf": bytes.ReplaceAll(plain, []byte("\r"), []byte("\n")), "crlf": bytes.ReplaceAll(plain, []byte("\r"), []byte("\r\n")),
		"no end": plain[:len(plain)-1], "mark": append([]byte("\xef\xbb\xbf"), plain...), "blank lines": append([]byte("\r\n \n"), plain...),
		"blank line between": bytes.Replace(plain, []byte("\rPID"), []byte("\r\r\nPID"), 1),
	} {
		m := parse(t, b)
		again, same := m.Identity()
		if again != id || same != digest || m.Len() != 3 || m.Broken() || string(m.Get("OBX-5")) != "-1.50" {
			t.Errorf("%s: %s, %d segments, broken %v", name, again, m.Len(), m.Broken())
		}
	}
}

func TestBrokenValue(t *testing.T) {
	m := parse(t, oru("OBX|1|TX|note||first\rsecond\r\r\nand |third\rNTE|1"))
	if got := string(m.Get("OBX-5")); got != "first\rsecond\r\r\nand " || !m.Broken() || !m.Segment(2).Broken() || m.Segment(3).Broken() {
		t.Errorf("value %q", got)
	}
	m2 := parse(t, oru("OBX|1|TX|note||first\rEND\rMSH\rlast", "ZZZ"))
	if got := string(m2.Get("OBX-5")); got != "first\rEND\rMSH\rlast" || m2.Len() != 4 {
		t.Errorf("value %q, %d segments", got, m2.Len())
	}
	if got, err := m.Text(m.Get("OBX-5")); got != "first\nsecond\n\nand " || err != nil {
		t.Errorf("text %q: %v", got, err)
	}
}

func TestIdentity(t *testing.T) {
	id := func(b []byte) string {
		id, _ := parse(t, b).Identity()
		return id
	}
	base := id(oru("OBX|1|NM|a||1"))
	if !strings.HasPrefix(base, "EYEHOST|CLINIC01|S1|") || len(base) != len("EYEHOST|CLINIC01|S1|")+32 || strings.Contains(base, "T-1") {
		t.Errorf("identity %s", base)
	}
	resent := bytes.Replace(oru("OBX|1|NM|a||1"), []byte("20250314101530"), []byte("20250314101631"), 1)
	if id(resent) != base {
		t.Error("a resend with another time in MSH-7 has another identity")
	}
	if id(oru("OBX|1|NM|a||2")) == base || id(bytes.Replace(oru("OBX|1|NM|a||1"), []byte("|S1|"), []byte("|S2|"), 1)) == base {
		t.Error("another body or control id has the same identity")
	}
	long := bytes.Replace(oru(), []byte("|EYEHOST|"), []byte("|\xff"+strings.Repeat("x", 5000)+"|"), 1)
	if got := id(long); len(got) > 400 || strings.ToValidUTF8(got, "") != got {
		t.Errorf("identity of %d bytes", len(got))
	}
}

func TestMessages(t *testing.T) {
	one, two := string(oru("OBX|1|NM|a||1")), string(oru("OBX|1|NM|a||2"))
	for name, in := range map[string]string{
		"batch": "FHS|^~\\&|\rBHS|^~\\&|\r" + one + two + "BTS|2\rFTS|1\r", "no wrap": one + two, "lf": strings.ReplaceAll("BHS|^~\\&\r"+one+two+"BTS|2", "\r", "\n"),
	} {
		var got []string
		for b := range hl7.Messages([]byte(in)) {
			got = append(got, strings.ReplaceAll(string(b), "\n", "\r"))
		}
		if !slices.Equal(got, []string{one, two}) {
			t.Errorf("%s: %q", name, got)
		}
		if r := hl7.Decode([]byte(in), hl7.Options{}); len(r.Exams) != 2 || len(r.Rejects) != 0 || r.Exams[1].Observations[0].Value != exam.Number(2) {
			t.Errorf("%s: %d exams, %+v", name, len(r.Exams), r.Rejects)
		}
	}
	in := "BHS|^~\\&|\r" + one + "BTS|\r" + one + "MSH|\rMSH|\r" + two
	bad := func(offset int) exam.Reject {
		return exam.Reject{Reason: exam.RejectNoise, Offset: int64(offset), Length: 5, Detail: hl7.ErrNotHL7.Error()}
	}
	want := []exam.Reject{bad(strings.Index(in, "MSH|\r")), bad(strings.LastIndex(in, "MSH|\r"))}
	if r := hl7.Decode([]byte(in), hl7.Options{}); len(r.Exams) != 3 || !slices.Equal(r.Rejects, want) {
		t.Errorf("%d exams, %+v, want %+v", len(r.Exams), r.Rejects, want)
	}
	many := strings.Repeat(one, 1024)
	if r := hl7.Decode([]byte(many), hl7.Options{}); len(r.Exams) != 1024 || len(r.Rejects) != 0 {
		t.Errorf("1024 messages: %d exams, %+v", len(r.Exams), r.Rejects)
	}
	if r := hl7.Decode([]byte(many+one), hl7.Options{}); len(r.Exams) != 0 || len(r.Rejects) != 1 || r.Rejects[0].Reason != exam.RejectTooLarge {
		t.Errorf("1025 messages: %d exams, %+v", len(r.Exams), r.Rejects)
	}
	if r := hl7.Decode(append(long(1025), long(1025)...), hl7.Options{}); len(r.Exams) != 0 || len(r.Rejects) != 1 || r.Rejects[0].Reason != exam.RejectTooLarge {
		t.Errorf("2050 observations: %d exams, %+v", len(r.Exams), r.Rejects)
	}
	if r := hl7.Decode([]byte("BHS|^~\\&|\rBTS|0\r"), hl7.Options{}); len(r.Rejects) != 1 || r.Rejects[0].Reason != exam.RejectEmpty {
		t.Errorf("empty batch: %+v", r)
	}
}

// visit goes through everything of a message, and counts.
func visit(m *hl7.Message) (n int) {
	for s := range m.Segments() {
		for _, f := range s.Fields() {
			n += len(f.Bytes())
		}
	}
	return n
}

// What a message costs does not grow with its fields.
func TestAllocations(t *testing.T) {
	for _, rows := range []int{1, 300} {
		b := oru(slices.Repeat([]string{"OBX|1|NM|sphere^sphere^99EYE|R.0|-1.50~x&y^z|[diop]^^UCUM|||||F"}, rows)...)
		m := parse(t, b)
		if n := testing.AllocsPerRun(20, func() {
			for s := range m.Segments() {
				for _, f := range s.Fields() {
					for r := range f.Repetitions() {
						for c := range r.Components() {
							c.Sub(2)
						}
					}
				}
			}
			m.Get("OBX-5[2].1.2")
			m.Header(10)
		}); n != 0 {
			t.Errorf("%d rows: %v allocations to visit every field", rows, n)
		}
		if n := testing.AllocsPerRun(20, func() { parse(t, b) }); n > 2 {
			t.Errorf("%d rows: %v allocations to parse", rows, n)
		}
	}
}

// lossless fails where something of b is in no part of the message.
func lossless(t *testing.T, m *hl7.Message, b []byte) {
	if !bytes.Equal(m.Bytes(), b) {
		t.Fatal("bytes differ")
	}
	d, rest := m.Delimiters(), bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	for s := range m.Segments() {
		at := bytes.Index(rest, s.Bytes())
		if at < 0 || len(bytes.Trim(rest[:at], " \t\r\n")) > 0 {
			t.Fatalf("%q stands before %q", rest[:max(at, 0)], s.Bytes())
		}
		rest = rest[at+len(s.Bytes()):]
		var fields [][]byte
		for n, f := range s.Fields() {
			if n == 1 && s.Is("MSH") {
				continue
			}
			var repetitions [][]byte
			for r := range f.Repetitions() {
				var components [][]byte
				for c := range r.Components() {
					components = append(components, c.Bytes())
				}
				repetitions = append(repetitions, bytes.Join(components, []byte{d.Component}))
			}
			if d.Component != d.Repetition && !bytes.Equal(bytes.Join(repetitions, []byte{d.Repetition}), f.Bytes()) {
				t.Fatalf("field %q is %q", f.Bytes(), repetitions)
			}
			fields = append(fields, f.Bytes())
			if !bytes.Equal(s.Field(n).Bytes(), f.Bytes()) {
				t.Fatalf("field %d is %q and %q", n, f.Bytes(), s.Field(n).Bytes())
			}
		}
		whole := append([]byte(nil), s.ID()...)
		if len(s.Bytes()) > 3 {
			whole = append(append(whole, d.Field), bytes.Join(fields, []byte{d.Field})...)
		}
		if !bytes.Equal(whole, s.Bytes()) {
			t.Fatalf("segment %q is %q", s.Bytes(), whole)
		}
	}
	if len(bytes.Trim(rest, "\r\n")) > 0 {
		t.Fatalf("%q stands behind the last segment", rest)
	}
}

// FuzzMessage: whatever comes is taken apart without loss, decoded within bounds, and never a crash.
func FuzzMessage(f *testing.F) {
	examtest.Seed(f, "testdata")
	f.Add([]byte("BHS|^~\\&|\r" + string(oru("OBX|1|NM|a||1")) + string(oru())))
	f.Add(oru("OBX|1|ED|r^^99EYE||^application^pdf^Base64^JVBERi0=~^x^y^Hex^4142", "OBX|1|SN|b||>^2^-^3~^1", `OBX||CWE|c|OD|1^\M2442\4A\C2842\^L||Q|||C`))
	f.Add([]byte("MSH|^~\\&|\x1b$B||\x1b(B|||||||||||||||ISO IR87\rPID|||\x83\x7c|\x81\x5c\rOBX|||a||\x1b$(D|^\x1b(B\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := hl7.Parse(data)
		if err == nil {
			lossless(t, m, data)
			hl7.AppendReply(nil, m, hl7.AE, hl7.Receipt{Err: hl7.ErrInternal, At: "PID^1", Text: "a|b"})
		}
		examtest.Bounded(t, data, func() exam.Result {
			for _, page := range []string{"", "shift_jis"} {
				r := hl7.Decode(data, hl7.Options{Charset: page, Codepage: page})
				if len(r.Exams)+len(r.Rejects) > 0 {
					return r
				}
			}
			if m == nil {
				return exam.Result{Exams: []*exam.Exam{{}}} // a batch of messages without observations
			}
			return exam.Result{Exams: []*exam.Exam{m.Head(hl7.Options{})}}
		})
	})
}

// The bounds hold for what was made to break them.
func TestBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("megabytes of hostile input: without -short")
	}
	for name, b := range map[string][]byte{
		"bare segments":   oru(slices.Repeat([]string{"AAA"}, 500_000)...),
		"blank lines":     oru(strings.Repeat("\r", 2_000_000)),
		"many findings":   oru(slices.Repeat([]string{"OBX|||a||b"}, 2048)...),
		"too many":        oru(slices.Repeat([]string{"OBX|||a||b"}, 200_000)...),
		"many patients":   oru(slices.Repeat([]string{"PID\rOBX|||a||b"}, 2048)...),
		"many flags":      oru("OBX|||a||b|||" + strings.Repeat("x~", 1_000_000)),
		"long escapes":    oru("OBX||TX|a||" + strings.Repeat(`\.sp9999\`, 200_000)),
		"long text":       oru("OBX||CWE|a||" + strings.Repeat(`김`, 1_000_000)),
		"katakana":        append(bytes.Replace(oru(), []byte("UNICODE UTF-8"), []byte("ISO IR14"), 1), "OBX||TX|a||"+strings.Repeat("\xb1", 1_500_000)...),
		"kana, coded":     kana("CWE", maxSent, 2048),
		"kana, long":      kana("CWE", 4096, 800),
		"kana, numbers":   kana("SN", maxSent, 2048),
		"kana, repeated":  append(kana("CWE", 1, 1), strings.Repeat("~\xb1", 1_000_000)...),
		"jis kana":        oru("OBX||TX|a||\x1b(I" + strings.Repeat("1", 1_500_000)),
		"jis korean":      oru("OBX||TX|a||\x1b$)C" + strings.Repeat("\xb1\xe8", 800_000)),
		"undecodable":     oru("OBX||TX|a||" + strings.Repeat("a\xff", 800_000)),
		"many messages":   []byte(strings.Repeat("MSH|^\r", 300_000)),
		"no messages":     []byte(strings.Repeat("MSH|\r", 300_000)),
		"dropped":         []byte(strings.Repeat(string(oru(slices.Repeat([]string{"OBX|||||b||||||X"}, 100)...)), 1000)),
		"same key":        oru(slices.Repeat([]string{"OBX|||a|R.0|b"}, 2048)...),
		"one line":        oru("OBX||ST|a||" + strings.Repeat("^~&|", 1_000_000)),
		"designations":    oru("OBX||TX|a||" + strings.Repeat("\x1b$B\x1b$)C\xb1\xe8", 300_000)),
		"document":        oru("OBX||ED|a||^^^Base64^" + strings.Repeat("QUJD", 1_000_000)),
		"broken document": oru("OBX||ED|a||^^^Base64^" + strings.Repeat("QUJD\r", 1_000_000)),
	} {
		t.Run(name, func(t *testing.T) {
			examtest.Bounded(t, b, func() exam.Result { return decodeOrHead(b) })
		})
	}
}

// maxSent is how much of a value is kept as it was sent.
const maxSent = 128

// kana is a message of values that become three times as long: katakana of one byte.
func kana(kind string, size, rows int) []byte {
	row := "OBX||" + kind + "|a||" + strings.Repeat("\xb1", size)
	return bytes.Replace(oru(slices.Repeat([]string{row}, rows)...), []byte("UNICODE UTF-8"), []byte("ISO IR14"), 1)
}

func decodeOrHead(b []byte) exam.Result {
	r := hl7.Decode(b, hl7.Options{})
	if len(r.Exams)+len(r.Rejects) > 0 {
		return r
	}
	m, err := hl7.Parse(b)
	if err != nil {
		return exam.Result{Exams: []*exam.Exam{{}}} // a batch of messages without observations
	}
	return exam.Result{Exams: []*exam.Exam{m.Head(hl7.Options{})}}
}

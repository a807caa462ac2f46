package astm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/sdk/exam"
)

func TestHeader(t *testing.T) {
	for record, want := range map[string]astm.Delimiters{
		`H|\^&|||LAB`: astm.Standard,
		`H|\^&`:       astm.Standard,
		"H|\\^&\r":    astm.Standard,
		`H!@#$!!!LAB`: {Field: '!', Repeat: '@', Component: '#', Escape: '$'},
		`H|\^|||LAB`:  {Field: '|', Repeat: '\\', Component: '^'},
		`H|^&|||LAB`:  {Field: '|', Component: '^', Escape: '&'},
		`H|^|||LAB`:   {Field: '|', Component: '^'},
		`H|`:          {Field: '|'},
		`H||||LAB`:    {Field: '|'},
	} {
		if got, ok := astm.Header([]byte(record)); !ok || got != want {
			t.Errorf("%q: %+v, %v", record, got, ok)
		}
	}
	for _, record := range []string{"", "H", "HELLO", "P|1", "H \\^&", "H\x00"} {
		if got, ok := astm.Header([]byte(record)); ok {
			t.Errorf("%q: %+v", record, got)
		}
	}
}

const paths = "H|\\^&|7||LAB^A1|||||||P|1|20250314\r\nP|1||L-1||A^B\\C^D\nO|1|S1\rO|2|S2|\rL|1"

func TestGet(t *testing.T) {
	m := astm.Message(paths)
	for path, want := range map[string]string{
		"H.1": "H", "H.2": `|\^&`, "H.3": "7", "H.5": "LAB^A1", "H.5.2": "A1", "H.14": "20250314", "P.4": "L-1", "P.6": `A^B\C^D`, "P.6.2": `B`,
		"P.6[2]": "C^D", "P.6[2].2": "D", "O.3": "S1", "O[2].3": "S2", "O[2].4": "", "L.2": "1", "P.1": "P",
		"": "", "X.1": "", "O[3].1": "", "O.9": "", "O": "", "O.x": "", "O[x].1": "", "P.6[3]": "", "P.6.9": "", "O.0": "", "O.-1": "", "PP.1": "", "P.6.x": "", "P.6[0]": "", "P.6[2": "C^D",
	} {
		if got := string(m.Get(path)); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	m = astm.Message("H!@#$!!!LAB\rP!1!!A#B|C@D\rH|\\^&\rP|1||A#B^C\r")
	for path, want := range map[string]string{"P.4": "A#B|C@D", "P.4[2]": "D", "P.4.2": "B|C", "P[2].4.1": "A#B", "H[2].2": `|\^&`} {
		if got := string(m.Get(path)); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	m = astm.Message(paths)
	if n := testing.AllocsPerRun(100, func() { m.Get("O[2].3"); m.Get("P.6[2].2") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestLossless joins the records and what ends them again.
func TestLossless(t *testing.T) {
	for _, text := range []string{paths, "", "\r\r\n", "H|\\^&\r\rP|1\n\r", "x", "\rH"} {
		m, at, got := astm.Message(text), 0, ""
		for r := range m.Records() {
			if r.At < at || strings.Trim(text[at:r.At], "\r\n") != "" || string(r.Text) != text[r.At:r.At+len(r.Text)] {
				t.Fatalf("%q: record at %d behind %d", text, r.At, at)
			}
			got += text[at:r.At] + string(r.Text) + text[r.At+len(r.Text):r.Next]
			at = r.Next
		}
		if got+text[at:] != text || strings.Trim(text[at:], "\r\n") != "" {
			t.Errorf("%q became %q", text, got+text[at:])
		}
	}
}

func TestUnescape(t *testing.T) {
	d := astm.Standard
	for in, want := range map[string]string{
		"a&F&b&S&c&R&d&E&": `a|b^c\d&`, "&X41&": "A", "&X4142&": "AB", "&X4&": "&X4&", "&XZZ&": "&XZZ&", "a&b": "a&b", "&": "&", "&&": "&&", "&H&x&N&": "&H&x&N&",
		"Q&A &F&": "Q&A |", "plain": "plain",
	} {
		if got := string(d.Unescape(nil, []byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	none := astm.Delimiters{Field: '|'}
	if got := string(none.Unescape(nil, []byte("a&F&"))); got != "a&F&" {
		t.Errorf("%q", got)
	}
}

// results reads the exams of a message.
func results(t *testing.T, message string, o astm.Options) []*exam.Exam {
	t.Helper()
	found, err := astm.Message(message).Read(o)
	if err != nil {
		t.Fatal(err)
	}
	var list []*exam.Exam
	for i := range found.Orders {
		if _, err := exam.Encode(found.Orders[i].Exam); err != nil {
			t.Fatal(err)
		}
		list = append(list, found.Orders[i].Exam)
	}
	return list
}

func TestTests(t *testing.T) {
	o := astm.Options{NoValue: []string{"9999"}, Tests: []astm.Test{
		{Source: "NCT-R", Code: exam.CodeIOP, Eye: exam.Right, Method: exam.MethodTono},
		{Source: "NCT-L", Code: exam.CodeIOP, Eye: exam.Left, Unit: "mm[Hg]"},
		{Source: "K", Eye: exam.Left},
	}}
	list := results(t, "H|\\^&|||LAB\rO|1|SP||^^^PANEL\rR|1|^^^NCT-R|14||||||\rR|2|NCT-L^x|15.0|mmHg||L\\HH||P\rR|3|^^^K|&F&x\r"+
		"R|4||>2.0|||N||F\rR|5|^^^Z|9999\rR|6|^^^Z|---\rR|7|^^^Z|\rR|8|^^^Z|9999.0\r"+
		"R|9|^^^Z|5|||||X\rX|1\rL|1|N\r", o)
	if len(list) != 1 || strings.Join(list[0].Warnings, " ") != "sentinel_value unknown_segment patient_id_blank" {
		t.Fatalf("%+v", list)
	}
	want := []exam.Observation{
		{Code: exam.CodeSpecimen, Eye: exam.Both, Value: exam.Text("SP")},
		{Code: exam.CodeIOP, Eye: exam.Right, Value: exam.Number(14), Unit: "mmHg", Method: exam.MethodTono, Seq: 1},
		{Code: exam.CodeIOP, Eye: exam.Left, Value: exam.Number(15), Unit: "mm[Hg]", Seq: 2, Text: "15.0", Flags: []string{"L", "HH", "status:P"}},
		{Code: "K", Eye: exam.Left, Value: exam.Text("|x"), Seq: 3},
		{Code: "PANEL", Eye: exam.Both, Value: exam.Text(">2.0"), Seq: 4},
	}
	got := list[0].Observations
	for i := range want {
		if i >= len(got) || got[i].Code != want[i].Code || got[i].Eye != want[i].Eye || got[i].Value != want[i].Value || got[i].Unit != want[i].Unit ||
			got[i].Method != want[i].Method || got[i].Seq != want[i].Seq || got[i].Text != want[i].Text || strings.Join(got[i].Flags, " ") != strings.Join(want[i].Flags, " ") {
			t.Fatalf("%d: %+v", i, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%+v", got)
	}
}

// TestPatients holds what is said of a person, and of the time.
func TestPatients(t *testing.T) {
	for p, want := range map[string]exam.Patient{
		"P|1|A-1^x|L-1|N-1|Kim^Siheom^M||19700315|M": {ID: "A-1", Name: "Kim Siheom", Birth: "1970-03-15", Sex: "M"},
		"P|1||L-1||Kim||197003151200|U":              {ID: "L-1", Name: "Kim", Birth: "1970-03-15"},
		"P|1||| |^Siheom||19701315|O":                {Name: "Siheom", Sex: "O"},
		"P|1":                                        {},
		"P|1|\x83\x5c\x81||\x83\x5c":                 {}, // fits no code page: two people could come to have one id
	} {
		list := results(t, "H|\\^&\r"+p+"\rR|1|^^^A|1|||||||||2025031409|\rL|1\r", astm.Options{})
		if list[0].Patient != want && !strings.Contains(list[0].Patient.Name, "\uFFFD") {
			t.Errorf("%q: %+v", p, list[0].Patient)
		}
		if list[0].Patient.ID != want.ID || list[0].TakenAt != "2025-03-14" {
			t.Errorf("%q: %+v", p, list[0])
		}
	}
	// In code page 932 the second byte of this letter is the delimiter of repeats.
	list := results(t, "H|\\^&\rP|1|7|||\x83\x5c^\x95\x5c\rR|1|^^^A|1\rL|1\r", astm.Options{CodePage: "cp932"})
	if list[0].Patient.Name != "ソ 表" || strings.Join(list[0].Warnings, " ") != "charset_undeclared" {
		t.Errorf("%+v", list[0])
	}
}

func TestContents(t *testing.T) {
	for _, c := range []struct {
		message string
		content astm.Content
		orders  int
		timed   bool
	}{
		{"H|\\^&\rQ|1|^S1||ALL\rL|1\r", astm.ContentQuery, 0, false},
		{"H|\\^&|||||||||||2025\rP|1\rO|1|S1||^^^GLU\rL|1\r", astm.ContentOrder, 0, false},
		{"H|\\^&||||||||||||20250101\rP|1\rL|1\r", astm.ContentOther, 0, true},
		{"H|\\^&\rP|1\rO|1|S1\rR|1|^^^A|----\rL|1\r", astm.ContentOther, 0, false},
		{"H|\\^&\rO|1|S1\rR|1|^^^A|\rO|2|S2\rR|1|^^^A|1\rL|1\rH|\\^&\rR|1|^^^A|1|||||||||20250101\rL|1\r", astm.ContentResult, 2, true},
	} {
		found, err := astm.Message(c.message).Read(astm.Options{})
		if err != nil || found.Content != c.content || len(found.Orders) != c.orders || found.Timed != c.timed {
			t.Errorf("%q: %+v, %v", c.message, found, err)
		}
	}
	for message, want := range map[string]error{
		"": astm.ErrNoHeader, "P|1\r": astm.ErrNoHeader, "HELLO\r": astm.ErrNoHeader,
		"H|\\^&\r" + strings.Repeat("R|1|A|1\r", astm.MaxResults+1):               astm.ErrTooMany,
		"H|\\^&\r" + strings.Repeat("O|1\rR|1|A|1\r", astm.MaxOrders+1) + "O|1\r": astm.ErrTooMany,
	} {
		if _, err := astm.Message(message).Read(astm.Options{}); !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", message, err, want)
		}
	}
}

// TestParts gives each exam the records that it rests on, with which alone it is the same.
func TestParts(t *testing.T) {
	m := astm.Message("H|\\^&|||LAB\rP|1|A\rC|1|of A\rO|1|S1\rR|1|^^^G|1\rC|1|of G\rO|2|S2\rR|1|^^^H|2\rP|2|B\rO|1|S3\rR|1|^^^I|3\rL|1|N\r")
	found, err := m.Read(astm.Options{})
	if err != nil || len(found.Orders) != 3 {
		t.Fatal(found, err)
	}
	for i, want := range []string{
		"H|\\^&|||LAB\rP|1|A\rC|1|of A\rO|1|S1\rR|1|^^^G|1\rC|1|of G\r",
		"H|\\^&|||LAB\rP|1|A\rC|1|of A\rO|2|S2\rR|1|^^^H|2\r",
		"H|\\^&|||LAB\rP|2|B\rO|1|S3\rR|1|^^^I|3\r",
	} {
		part := found.Orders[i].Part(m)
		if string(part) != want {
			t.Errorf("%d: %q", i, part)
		}
		examtest.Equal(t, results(t, string(part), astm.Options{})[0], found.Orders[i].Exam)
	}
}

// TestNumbers gives results that the source does not number their place.
func TestNumbers(t *testing.T) {
	for message, want := range map[string]string{
		"O|1|S\rR|1|^^^A|1\rR|1|^^^A|2\r":  "0 1 2",
		"O|1|S\rR||^^^A|1\rR||^^^A|2\r":    "0 1 2",
		"R|2|^^^A|1\rR|5|^^^B|2\r":         "2 5",
		"R|2|^^^A|1\rR|1|^^^B|2\r":         "1 2",
		"R|0|^^^A|1\rR|-1|^^^B|2\r":        "1 2",
		"O|1|S\rR|1|^^^specimen|1\rR|2|A|": "0 1",
	} {
		var got []string
		for _, o := range results(t, "H|\\^&\r"+message, astm.Options{})[0].Observations {
			got = append(got, string(rune('0'+o.Seq)))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %s, want %s", message, got, want)
		}
	}
}

// FuzzDecode decodes anything, within its bound of memory, and the same in however many pieces it comes.
func FuzzDecode(f *testing.F) {
	examtest.Seed(f, "testdata")
	f.Add([]byte(message))
	f.Add([]byte(enq + head + other + bye + eot))
	f.Fuzz(func(t *testing.T, data []byte) {
		examtest.Bounded(t, data, func() exam.Result { return astm.Decode(data, astm.Options{}).Result })
		for r := range astm.Message(data).Records() {
			if len(r.Field(3)) > len(r.Text) || r.Field(1) == nil {
				t.Fatalf("%q", r.Text)
			}
		}
	})
}

// FuzzLink plays anything to a link, as a whole and in pieces; it comes to the same.
func FuzzLink(f *testing.F) {
	f.Add([]byte(enq+head+other+bye+eot), uint64(0), false)
	f.Add([]byte(message+message+enq+head+spoilt+"\x021"), uint64(7), true)
	f.Add([]byte("H"+enq+bye+head+head+ack+nak+"\r\n"), uint64(3), true)
	f.Fuzz(func(t *testing.T, data []byte, cuts uint64, send bool) {
		whole, pieces := listen(t, data, 0, send), listen(t, data, cuts|1, send)
		if whole != pieces {
			t.Errorf("in pieces\n%s\nat once\n%s", pieces, whole)
		}
	})
}

// listen is what a link says to data that comes in pieces, cut where the bits of cuts say; 0 is one piece. Messages are answered
// when all has come; each is refused once.
func listen(t *testing.T, data []byte, cuts uint64, send bool) string {
	held := 0
	e := newEnd(t, astm.LinkOptions{MaxMessage: 4096, Grow: func(n int) bool { held += n; return true }})
	var said []string
	if send {
		said = append(said, e.do("send"))
	}
	for i, from := 0, 0; i < len(data); i++ {
		if i == len(data)-1 || cuts>>(i%64)&1 == 1 {
			e.l.Receive(e.now, data[from:i+1])
			said = append(said, e.said())
			from = i + 1
		}
	}
	for n := 0; e.l.Pending(); n++ {
		if n > 2*len(data) {
			t.Fatal("it never ends")
		}
		said = append(said, string(e.last.Data))
		said = append(said, e.do([]string{"not safe", "safe"}[n%2]))
		if e.l.Pending() {
			said = append(said, e.do("@1s")) // records without frames are delivered again
		}
	}
	said = append(said, e.do("@1h"))
	said = append(said, e.do("lost"))
	for n := 0; e.l.Pending(); n++ {
		if n > 2*len(data) {
			t.Fatal("it never ends")
		}
		said = append(said, string(e.last.Data))
		said = append(said, e.do("safe"), e.do("lost"))
	}
	if held != 0 {
		t.Errorf("%d bytes held", held)
	}
	return strings.Join(strings.Fields(strings.Join(said, " ")), " ")
}

package lineprofile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk/exam"
)

// profileOf is the profile of each sample.
var profileOf = map[string]string{
	"CLM-7000_line.txt":                 "clm-7000",
	"CLM-7000_two_lines_no_newline.txt": "clm-7000",
	"RC-5000.bin":                       "rc-5000",
	"RC-5000_truncated.bin":             "rc-5000",
	"TL-3000C.bin":                      "tl-3000c",
	"TAP-2000.bin":                      "tap-2000",
	"CT-80_mode1.txt":                   "ct-80",
	"CT-80_std2.txt":                    "ct-80-std2",
}

func named(t testing.TB, name string) *lineprofile.Profile {
	t.Helper()
	p, err := lineprofile.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSamples(t *testing.T) {
	decode := func(path string, data []byte) exam.Result {
		return named(t, profileOf[filepath.Base(path)]).Decode(data)
	}
	examtest.Samples(t, "testdata", len(profileOf), decode)
	t.Run("shared", func(t *testing.T) {
		examtest.SamplesOf(t, examtest.Shared(t, "huvitz"), "CLM-7000*", 2, decode)
		examtest.SamplesOf(t, examtest.Shared(t, "tomey"), "*.bin", 4, decode)
		examtest.Samples(t, examtest.Shared(t, "topcon-text"), 2, decode)
	})
}

// TestShippedSay holds what a shipped profile must say, that nobody claims a capture that was not read, and that each
// plays its instrument.
func TestShippedSay(t *testing.T) {
	names := lineprofile.Shipped()
	if len(names) < 6 {
		t.Fatalf("shipped are %q", names)
	}
	for _, name := range names {
		p := named(t, name)
		if p.Name != name || p.About == "" || p.Status != lineprofile.Simulated || p.Line.Baud == 0 || p.Line.Parity == "" || p.Line.StopBits == 0 || p.Line.DataBits == 0 {
			t.Errorf("%s: %+v", name, p)
		}
		frames := [2]string{}
		for i := range frames {
			v := lineprofile.Values{No: "0007", ID: "S-000007", Time: time.Date(2025, 3, 24, 9, i, 0, 0, time.UTC), Digit: func() byte { return '1' + byte(i) }}
			frame, err := p.Play(v)
			if err != nil {
				t.Fatal(err)
			}
			got := p.Decode(frame)
			if len(got.Exams) != 1 || len(got.Rejects) != 0 || len(got.Exams[0].Observations) < 2 {
				t.Fatalf("%s plays %q: %+v", name, frame, got)
			}
			frames[i] = string(frame)
		}
		if p.Numbered() != slices.Contains([]string{"clm-7000", "ct-80-std2", "rc-5000"}, name) {
			t.Errorf("%s: numbered is %t", name, p.Numbered())
		}
		if frames[0] == frames[1] {
			t.Errorf("%s: two exams are one", name)
		}
	}
	if _, err := lineprofile.Named("rc-500"); err == nil || !strings.Contains(err.Error(), "rc-5000") {
		t.Error(err)
	}
}

func exams(list []*exam.Exam) (texts []string) {
	for _, e := range list {
		b, err := exam.Encode(e)
		if err != nil {
			panic(err)
		}
		texts = append(texts, string(b))
	}
	return texts
}

// read feeds the chunks and reads what comes, to the end.
func read(p *lineprofile.Profile, chunks ...[]byte) (got exam.Result) {
	f := p.NewFramer()
	take := func(next func() (lineprofile.Piece, bool)) {
		for piece, ok := next(); ok; piece, ok = next() {
			if e, reject := p.Exam(&piece); reject != nil {
				got.Rejects = append(got.Rejects, *reject)
			} else {
				got.Exams = append(got.Exams, e)
			}
		}
	}
	for _, c := range chunks {
		f.Add(c)
		take(f.Next)
	}
	take(f.Silence)
	return got
}

// TestSplitAnywhere cuts each sample, twice in a row with noise between, at each byte, and into single bytes.
func TestSplitAnywhere(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 11
	}
	for sample, name := range profileOf {
		data, err := os.ReadFile(filepath.Join("testdata", sample))
		if err != nil {
			t.Fatal(err)
		}
		p := named(t, name)
		data = slices.Concat(data, []byte("\r\n"), data)
		want := p.Decode(data)
		same := func(how string, got exam.Result) {
			if !slices.Equal(exams(got.Exams), exams(want.Exams)) || !slices.Equal(got.Rejects, want.Rejects) {
				t.Fatalf("%s %s: %+v, want %+v", sample, how, got, want)
			}
		}
		var single [][]byte
		for at := 0; at < len(data); at += step {
			same("split at "+strconv.Itoa(at), read(p, data[:at], data[at:]))
		}
		for at := range data {
			single = append(single, data[at:at+1])
		}
		same("byte by byte", read(p, single...))
	}
}

const frames = `
name: unit
status: simulated
frame: {start: <STX>, end: <ETX>}
rules: [{match: '(\d+)', fields: [{code: iop, eye: R}]}]
`

func load(t testing.TB, text string) *lineprofile.Profile {
	t.Helper()
	p, err := lineprofile.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPieces shows what a stream becomes: v12 is an exam with the value 12, noise@0+3 a reject with its offset and length.
func TestPieces(t *testing.T) {
	silent := strings.Replace(frames, "{start: <STX>, end: <ETX>}", "{silence: 200ms}", 1)
	started := strings.Replace(frames, "end: <ETX>", "silence: 200ms", 1)
	ended := strings.Replace(frames, "start: <STX>, ", "", 1)
	sum := frames + "checksum: {kind: sum, place: behind, digits: 2, over: [start, end]}\n"
	lrc := frames + "checksum: {kind: xor, place: behind}\n"
	before := frames + "checksum: {kind: xor, place: before, digits: 2}\n"
	large := strings.Repeat("7", lineprofile.MaxFrame)
	parity := "\x02" + strings.Repeat("\xb1\xb2\xb4\x33", 5) + "\x03" // odd, so both marks look as they should
	for _, c := range []struct{ title, profile, in, want string }{
		{"one", frames, "\x0212\x03", "v12"},
		{"two in one read", frames, "\x0212\x03\x0213\x03", "v12 v13"},
		{"line ends between", frames, "\x0212\x03\r\n\x00\x0213\x03\r\n", "v12 v13"},
		{"noise", frames, "ab\xe7\x0212\x03cd", "noise@0+3 v12 noise@7+2"},
		{"cut, then whole", frames, "\x021\x0212\x03", "truncated@0+2 v12"},
		{"cut", frames, "\x0212", "truncated@0+3"},
		{"nothing known", frames, "\x02x\x03", "empty@0+3"},
		{"too large", frames, "\x02" + large + "7\x03\x0212\x03", "too_large@0+65536 noise@65536+3 v12"},
		{"large", frames, "\x0212 " + large[:65531] + "\x03", "v12"},
		{"endless noise", frames, strings.Repeat("x", 70_000) + "\x0212\x03", "noise@0+65536 noise@65536+4464 v12"},
		{"silence", silent, "12", "v12"},
		{"silence after a start", started, "\x0212\x0213", "v12 v13"},
		{"no start", ended, "12\x03\r\n13\x0314", "v12 v13 truncated@8+2"},
		{"no start, too large", ended, large + "77\x0312\x03", "too_large@0+65536 v12"},
		{"sum", sum, "\x0212\x0368", "v12"},
		{"sum in small letters", sum, "\x027\x033c", "v7"},
		{"wrong sum", sum, "\x0212\x0369\x0213\x0369", "checksum@0+6 v13"},
		{"sum is no sum", sum, "\x0212\x03zz", "checksum@0+6"},
		{"sum is missing", sum, "\x0212\x036", "truncated@0+5"},
		{"lrc", lrc, "\x0212\x03\x03\x0214\x03\x05", "v12 v14"}, // 31^32 is 03, as the end mark is
		{"lrc that looks like the start", lrc, "\x0213\x03\x02\x0214\x03\x05", "v13 v14"},
		{"wrong lrc", lrc, "\x0214\x03\x06", "checksum@0+5"},
		{"before the end", before, "\x021405\x03", "v14"},
		{"no room before the end", before, "\x021\x03", "checksum@0+3"},
		{"parity bits in the frame", frames, parity, "parity@0+22"},
		{"parity bits in the marks", frames, "\x82" + strings.Repeat("\xb1\xb2\x33\xb4", 5), "parity@0+21"},
		{"no letter", frames, "\x0212\xff\x03", "noise@0+5"},
	} {
		got := read(load(t, c.profile), []byte(c.in))
		var list []string
		e, r := got.Exams, got.Rejects
		for _, word := range strings.Fields(c.want) { // in the order that is wanted, each taken once
			if strings.HasPrefix(word, "v") && len(e) > 0 {
				list = append(list, "v"+e[0].Observations[0].Value.String())
				e = e[1:]
			} else if len(r) > 0 {
				list = append(list, fmt.Sprintf("%s@%d+%d", r[0].Reason, r[0].Offset, r[0].Length))
				r = r[1:]
			}
		}
		if text := strings.Join(list, " "); text != c.want || len(e) > 0 || len(r) > 0 {
			t.Errorf("%s: %s, left %+v %+v; want %s", c.title, text, e, r, c.want)
		}
	}
}

// TestDense has as much in 64 KiB as can be: more findings or fields than an exam can have are a reject, within the bounds.
func TestDense(t *testing.T) {
	p := named(t, "clm-7000")
	for token, want := range map[string]string{
		"S=+01.00":     exam.RejectTooLarge,
		"A=  1":        exam.RejectTooLarge,
		"R:":           exam.RejectTooLarge,
		"A=   ":        exam.RejectTooLarge,
		"? ":           exam.RejectEmpty,
		"LM2RKA=  1E$": exam.RejectTooLarge,
		"LM2RK R: E$":  exam.RejectTooLarge,
		"LM2RK" + strings.Repeat("A=  1", 800) + "E$": exam.RejectTooLarge,
		"LM2RK":          exam.RejectTruncated,
		"LM2RKS=+1.00  ": exam.RejectTruncated,
	} {
		data := []byte(strings.Repeat(token, 20+65_000/len(token)))
		if !strings.Contains(token, "LM2RK") {
			data = slices.Concat([]byte("LM2RK"), data, []byte("E$"))
		}
		if !testing.Short() { // the race detector drops what package regexp would use again
			examtest.Bounded(t, data, func() exam.Result { return p.Decode(data) })
		}
		got := p.Decode(data)
		if n := len(got.Rejects); n == 0 || got.Rejects[n-1].Reason != want {
			t.Errorf("%s: %d exams, %+v, want %s", token, len(got.Exams), got.Rejects, want)
		}
	}
}

package lineprofile_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk/exam"
)

// TestFaults has each kind of mistake: the comment behind a line is what must be said of it, and nothing else is.
func TestFaults(t *testing.T) {
	for _, text := range []string{
		``,                // the profile is empty
		`[]`,              // the value has the wrong type
		"name: a\n\tb: c", // found character that cannot start any token
		`name: a b # name: write
status: new # status: write one of verified, simulated
colour: red # unknown key colour: there are name, about
line: {baud: fast, parity: some} # whole number | line.parity: write one of none
encoding: latin # encoding: write us-ascii
frame: {start: <STC>} # frame.start: <STC> is no control character | frame: write end
checksum: {kind: crc, place: behind, digits: 3, over: [stx]} # kind: write one of sum | digits: write 2 | over: write | it needs frame.end
repeat: 10 # wrong type
eye_order: both # eye_order: write one of left
date: tomorrow # date: write it with YYYY
rules: # 
  - {match: '(', fields: [{code: sphere}]} # is no regular expression
  - {match: 'a', fields: [{code: sphere}]} # match has 0 groups for 1 fields
  - {match: '(a)', fields: [{code: spere}]} # unknown, perhaps sphere
  - {match: '(a)', fields: [{code: sphere, unit: D}]} # has its unit already
  - {match: '(a)', fields: [{code: sphere, width: 3}]} # it has no groups
  - {match: 'a', fields: [{code: sphere, width: 3}, {code: axis}]} # give each of them a width
  - {match: '(a)', fields: [{code: sphere, eye: X, scale: 3, seq: -1, warn: "No!"}]} # write R, L, B | power of ten | single shot | a word of letters
  - {match: '(a)', eye: both, fields: [{}]} # eye: write R, L or B | what the value is
  - {fields: []} # match: write a regular expression
  - match: (a)
    fields:
      - code: sphere
        wide: 3 # unknown key wide: there are code, width
`,
		`name: a
status: simulated
frame: {start: <STX>, end: <ETX>, silence: 1s} # leave it out where end marks
checksum: {digits: 2} # write sum or xor
rules:
  - {match: '(a)', fields: [{code: taken_at}, {code: sphere, eye: first}]} # has 1 groups for 2 | write eye_order
`,
		`name: a
status: simulated
frame: {end: <ETX>}
rules: [{match: '(\d+)', fields: [{code: iop, eye: R}]}]
sample: ['x<ETX>'] # does not read it: no finding
`,
		`name: a
status: simulated
frame: {end: <ETX>}
rules: [{match: '(\d+)', fields: [{code: iop, eye: R}]}]
sample: ['12 x<ETX>'] # no rule for a part of it
`,
		"name: a\n---\nname: b",
	} {
		_, err := lineprofile.Load([]byte(text))
		var faults lineprofile.Faults
		if !errors.As(err, &faults) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		missing := 0
		for i, line := range strings.Split(text, "\n") {
			_, comment, _ := strings.Cut(line, " # ")
			for want := range strings.SplitSeq(comment, " | ") {
				if want = strings.TrimSpace(want); want == "" {
					continue
				}
				missing++
				if !strings.Contains(err.Error()+"\n", "line "+strconv.Itoa(i+1)+": ") || !has(faults, i+1, want) {
					t.Errorf("line %d: not said: %s", i+1, want)
				}
			}
		}
		if missing > 0 && len(faults) < missing || len(faults) == 0 {
			t.Errorf("%d faults, want %d", len(faults), missing)
		}
		t.Log("\n" + err.Error())
	}
}

func has(faults lineprofile.Faults, line int, text string) bool {
	for _, f := range faults {
		if f.Line == line && strings.Contains(f.Text, text) {
			return true
		}
	}
	return false
}

func TestRepeat(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 10 * time.Second, "repeat: 0s\n": 0, "repeat: 1m\n": time.Minute} {
		if got := load(t, frames+text).Repeat; got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

// TestValues reads what instruments write for numbers, dates and the like.
func TestValues(t *testing.T) {
	p := load(t, `
name: unit
status: simulated
frame: {end: ;}
split: "|"
date: YYYY/MM/DD hh:mm:ss
error_words: [OVER]
rules:
  - {match: 'p(.*)', method: tono, fields: [{code: iop, eye: R, none: ["0.0"]}]}
  - {match: 'c(.*)', fields: [{code: cct, eye: L, scale: 1000}]}
  - {match: 'v(.*)', fields: [{code: va, eye: B}]}
  - {match: 'n(.*)', fields: [{code: exam_no}]}
  - {match: 's(?P<seq>\d+) (?P<eye>\w+) (.*)', method: autoref, fields: [{code: sphere}]}
  - {match: 'x(.)(.*)', fields: [{code: sign}, {code: prism_v, eye: R}]}
  - {match: 'u(.*)', fields: [{code: X-1, unit: ratio, eye: R}]}
  - {match: 'd(.*) t(.*)', fields: [{code: taken_at}, {code: taken_at}]}
  - {match: 'k(.*)', fields: [{code: patient.birth}]}
  - {match: 'g(.*)', fields: [{code: patient.sex}]}
  - {match: 'm(.*)', fields: [{code: patient.name}]}
`)
	for in, want := range map[string]string{
		"p14.7":           "iop R 14.7 mmHg tono 0",
		"p 15":            "iop R 15 mmHg tono 0",
		"p+,5":            "iop R 0.5 mmHg tono 0",
		"p- 1,5":          "iop R -1.5 mmHg tono 0",
		"p-0.00":          "iop R 0 mmHg tono 0",
		"pOVER":           "error R OVER  tono 0",
		"pHIGH":           "iop R HIGH mmHg tono 0",
		"c0.557":          "cct L 557 um  0",
		"v0.8 +2":         "va_ext B 0.8+2   0",
		"v>2.0":           "va B >2.0   0",
		"n0042|p1":        "exam_no B 0042   0, iop R 1 mmHg tono 0",
		"s2 OS -1":        "sphere L -1 D autoref 2",
		"s2 OD 1|s2 OD 2": "sphere R 1 D autoref 2, sphere R 2 D autoref 3 duplicate",
		"xD0.5":           "prism_v R -0.5 prism  0",
		"xU0.5":           "prism_v R 0.5 prism  0",
		"u0.3":            "X-1 R 0.3 ratio  0",
		"p1|zz":           "iop R 1 mmHg tono 0 unknown_segment",
		"p1|s2 ?? 1":      "iop R 1 mmHg tono 0 unknown_segment",
		"p1|s2 Q 1":       "iop R 1 mmHg tono 0 unknown_segment",
		"p1|d2025/3":      "iop R 1 mmHg tono 0 unknown_segment",
	} {
		got := read(p, []byte(in+";"))
		if len(got.Exams) != 1 {
			t.Errorf("%s: %+v", in, got)
			continue
		}
		var list []string
		for _, o := range got.Exams[0].Observations {
			list = append(list, strings.Join([]string{o.Code, o.Eye, o.Value.String(), o.Unit, o.Method, strconv.Itoa(o.Seq)}, " "))
		}
		text := strings.Join(list, ", ")
		if w := got.Exams[0].Warnings; len(w) > 0 {
			text += " " + strings.Join(w, " ")
		}
		if text != want {
			t.Errorf("%s: %s, want %s", in, text, want)
		}
	}
	for _, none := range []string{"p", "p--.-", "p   ", "p---", "p0.0", "n0042"} {
		if got := read(p, []byte(none+";")); len(got.Exams) != 0 || len(got.Rejects) != 1 || got.Rejects[0].Reason != exam.RejectEmpty {
			t.Errorf("%s: %+v", none, got)
		}
	}
	got := read(p, []byte("k1987/ 3/4|g2|mSynth  Person|d2025/03/24 t 9:05:00|p1;"))
	if e := got.Exams[0]; e.Patient != (exam.Patient{Name: "Synth Person", Birth: "1987-03-04", Sex: "F"}) || e.TakenAt != "2025-03-24T09:05:00" || e.Warnings != nil {
		t.Errorf("%+v", e)
	}
	for _, day := range []string{"2025/13/01", "2025/02/30", "25/02/03", "2025/02/03 25:00:00", "2025/02/03 10:00:00 x", "2025-02-03", "2025/02/29", "2100/02/29", "2025/04/31", "2025/00/01", "2025/01/00"} {
		if e := read(p, []byte("d"+day+" t|p1;")).Exams[0]; e.TakenAt != "" || len(e.Warnings) != 1 {
			t.Errorf("%s: %s %q", day, e.TakenAt, e.Warnings)
		}
	}
	for day, want := range map[string]string{"2025/2/3": "2025-02-03", "2025/ 2/ 3 ": "2025-02-03", "2025/02/03 10:00": "2025-02-03T10:00", "2024/02/29": "2024-02-29", "2000/02/29": "2000-02-29"} {
		if e := read(p, []byte("d"+day+" t|p1;")).Exams[0]; e.TakenAt != want {
			t.Errorf("%s: %s, want %s", day, e.TakenAt, want)
		}
	}
}

// TestColumns counts them in the instrument's bytes, and refuses what is longer or shorter.
func TestColumns(t *testing.T) {
	const text = `
name: unit
status: simulated
frame: {end: <CR>}
encoding: cp949
rules: [{match: A, fields: [{code: patient.name, width: 8}, {code: iop, eye: R, width: 4}]}]
`
	for in, want := range map[string]string{
		"A\xb1\xe8\xbd\xc3\xc7\xe5  14.7":  "14.7 \uae40\uc2dc\ud5cc",
		"AKim     14.7 ":                   "14.7 Kim",
		"A\xb1\xe8\xbd\xc3\xc7\xe5   14.7": exam.RejectBadLength,
		"A\xb1\xe8\xbd\xc3\xc7\xe5 14.7":   exam.RejectBadLength,
		"AKim    14.":                      exam.RejectBadLength,
		"A\xb1":                            exam.RejectNoise,
		"A":                                exam.RejectEmpty,
	} {
		got := read(load(t, text), []byte(in+"\r"))
		var said string
		if len(got.Exams) == 1 {
			said = got.Exams[0].Observations[0].Value.String() + " " + got.Exams[0].Patient.Name
		} else {
			said = got.Rejects[0].Reason
		}
		if said != want {
			t.Errorf("%q: %s, want %s", in, said, want)
		}
	}
}

// TestWith is what a clinic sets for its own unit.
func TestWith(t *testing.T) {
	p, err := named(t, "tap-2000").With("<ACK>", "none", "cp932", "right")
	if err != nil {
		t.Fatal(err)
	}
	if string(p.Answers()) != "\x06" || len(p.Refuses()) > 0 || p.Encoding != "cp932" {
		t.Errorf("%+v", p)
	}
	frame, err := p.Play(lineprofile.Values{No: "1", Digit: func() byte { return '1' }})
	if err != nil {
		t.Fatal(err)
	}
	e := p.Decode(frame).Exams[0]
	if len(e.Warnings) > 0 || e.Observations[0].Eye != exam.Right {
		t.Errorf("%+v", e)
	}
	_, err = named(t, "rc-5000").With("<ACKK>", "<NACK>", "latin", "left")
	if err == nil || strings.Count(err.Error(), "\n") != 3 && !strings.Contains(err.Error(), "encoding") {
		t.Error(err)
	}
}

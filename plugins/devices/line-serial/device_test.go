package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

func TestAnsweredWhenStored(t *testing.T) {
	bubble(t, "rc-5000", answered, func(t *testing.T, r *rig) {
		r.hold = true
		r.say(frameOf(t, "rc-5000", 1))
		if got := r.hears(); got != "" {
			t.Errorf("it hears %q before its exam is stored", got)
		}
		r.hold = false
		r.open()
		r.say(frameOf(t, "rc-5000", 1))
		if got := r.hears(); got != ack {
			t.Errorf("it hears %q", got)
		}
		r.want("exam")
		if e, err := exam.Decode(r.all()[0].Data); err != nil || len(e.Observations) != 24 || r.all()[0].Labels["status"] != lineprofile.Simulated {
			t.Errorf("%+v %v %v", e, err, r.all()[0].Labels)
		}
	})
}

// TestSplit sends a frame in two parts, parted at each byte, in single bytes, and two at once.
func TestSplit(t *testing.T) {
	for _, profile := range lineprofile.Shipped() {
		bubble(t, profile, answered, func(t *testing.T, r *rig) {
			n := len(frameOf(t, profile, 1))
			words, parts := []string{}, 40
			if testing.Short() {
				parts = 4
			}
			for at := 1; at < n; at += 1 + n/parts {
				frame := frameOf(t, profile, at)
				r.say(frame[:at], frame[at:])
				words = append(words, "exam")
				if got := r.hears(); got != ack {
					t.Fatalf("%s parted at %d hears %q", profile, at, got)
				}
			}
			for _, c := range []byte(frameOf(t, profile, n)) {
				r.say(string(c))
			}
			if got := r.hears(); got != ack {
				t.Errorf("%s byte by byte hears %q", profile, got)
			}
			r.say(frameOf(t, profile, n+1) + frameOf(t, profile, n+2))
			if got := r.hears(); got != ack+ack {
				t.Errorf("two %s at once hear %q", profile, got)
			}
			r.want(strings.Join(append(words, "exam exam exam"), " "))
		})
	}
}

// TestFaults has everything that is no frame, and the frame behind it.
func TestFaults(t *testing.T) {
	const profile = "rc-5000"
	frame := func(n int) string { return frameOf(t, profile, n) }
	for title, c := range map[string]struct {
		says []string // "" is silence of 11 s
		want string
	}{
		"noise":                {[]string{"x\xe7\x1fnoise" + frame(1)}, "noise exam"},
		"noise between":        {[]string{frame(1) + "noise" + frame(2)}, "exam noise exam"},
		"noise alone":          {[]string{"noise", "", frame(1)}, "noise exam"},
		"cut, then silence":    {[]string{frame(1)[:60], "", frame(2)}, "truncated exam"},
		"cut, then whole":      {[]string{frame(1)[:60] + frame(1)}, "truncated exam"},
		"the end of one":       {[]string{frame(1)[60:], frame(2)}, "noise exam"},
		"a value lost a digit": {[]string{strings.Replace(frame(1), "42.50", "42.5", 1), frame(2)}, "bad_length exam"},
		"nothing measured":     {[]string{"\x01*0001\r\x02RK\r\x04\r", frame(2)}, "empty exam"},
		"no frame is so long":  {[]string{"\x01" + strings.Repeat("x", 70_000), frame(2)}, "too_large noise exam"},
		"odd parity read as 8": {[]string{parityOf(frame(1), 1), frame(2)}, "parity exam"},
		"even parity":          {[]string{parityOf(frame(1), 0), "", frame(2)}, "parity exam"},
	} {
		t.Run(title, func(t *testing.T) {
			bubble(t, profile, nil, func(t *testing.T, r *rig) {
				for _, text := range c.says {
					if text == "" {
						time.Sleep(11 * time.Second)
						continue
					}
					r.say(text)
				}
				r.want(c.want)
				for _, rec := range r.all() {
					if rec.Kind == sdk.KindReject && (len(rec.Raw) == 0 || len(rec.Raw) > lineprofile.MaxFrame || !strings.Contains(strings.Join(c.says, ""), string(rec.Raw))) {
						t.Errorf("the evidence is %q", rec.Raw)
					}
				}
				if strings.Contains(c.want, "parity") && !strings.Contains(r.log.String(), "check parity and data_bits") {
					t.Error(r.log.String())
				}
			})
		})
	}
}

// parityOf is a text as an instrument with seven bits sends it, to a port that reads eight.
func parityOf(text string, odd byte) string {
	b := []byte(text)
	for i, c := range b {
		bits := odd
		for ; c > 0; c >>= 1 {
			bits ^= c & 1
		}
		b[i] |= bits << 7
	}
	return string(b)
}

// TestSlowSender pauses between its bytes, less than would make its frame a cut one.
func TestSlowSender(t *testing.T) {
	bubble(t, "ct-80", nil, func(t *testing.T, r *rig) {
		for _, c := range []byte(frameOf(t, "ct-80", 1)) {
			r.say(string(c))
			time.Sleep(9 * time.Second)
		}
		r.want("exam")
	})
}

// TestLineVanishes in the middle of a frame: what came is evidence, and the error of Read has the host open the line again.
func TestLineVanishes(t *testing.T) {
	bubble(t, "rc-5000", nil, func(t *testing.T, r *rig) {
		r.say(frameOf(t, "rc-5000", 1)[:60])
		r.line.Close()
		r.settle()
		r.want("truncated")
		if r.failed == nil {
			t.Error("Read goes on without a line")
		}
		r.open()
		r.say(frameOf(t, "rc-5000", 1))
		r.want("truncated exam")
	})
}

// TestResends are copies of a frame that was stored, and none of them is a second exam; each is answered where it must be,
// and not where the answer would be taken for that of the next exam.
func TestResends(t *testing.T) {
	const profile = "tl-3000c" // without time and number
	frame := frameOf(t, profile, 1)
	bubble(t, profile, answered, func(t *testing.T, r *rig) {
		r.say(frame + frame + frame)
		if got := r.hears(); got != ack {
			t.Errorf("three copies before the answer hear %q", got)
		}
		r.say(frame)
		if got := r.hears(); got != "" {
			t.Errorf("a copy that may have crossed the answer hears %q", got)
		}
		r.say(frame)
		if got := r.hears(); got != ack {
			t.Errorf("the next one hears %q", got)
		}
		r.want("exam")
	})
	bubble(t, profile, answered, func(t *testing.T, r *rig) { // the host dies before it says that it has stored the exam
		r.cut = true
		r.say(frame)
		r.cut = false
		r.open()
		time.Sleep(time.Hour)
		r.say(frame + frame)
		if got := r.hears(); got != ack {
			t.Errorf("after a restart it hears %q", got)
		}
		r.want("exam")
		time.Sleep(time.Minute)
		r.say(frame)
		r.hears()
		r.want("exam exam")
	})
	bubble(t, profile, answered, func(t *testing.T, r *rig) { // it was answered, and that is known after a restart
		r.say(frame)
		if got := r.hears(); got != ack {
			t.Errorf("it hears %q", got)
		}
		time.Sleep(time.Second)
		r.open()
		r.say(frame)
		if got := r.hears(); got != ack {
			t.Errorf("after a restart it hears %q", got)
		}
		r.want("exam exam")
	})
}

// TestNothingMeasured is stored and answered like an exam, once: sending it again would not help.
func TestNothingMeasured(t *testing.T) {
	const empty = "\x01*0001\r\x02RK\r\x04\r"
	bubble(t, "rc-5000", answered, func(t *testing.T, r *rig) {
		r.say(empty + empty + empty)
		if got := r.hears(); got != ack {
			t.Errorf("it hears %q", got)
		}
		r.say(frameOf(t, "rc-5000", 1))
		if got := r.hears(); got != ack {
			t.Errorf("the next exam hears %q", got)
		}
		r.want("empty exam")
	})
}

// TestEqualMeasurements come without an answer, from instruments with and without a clock.
func TestEqualMeasurements(t *testing.T) {
	midnight := strings.Replace(frameOf(t, "ct-80", 1), "08:05:00", "00:00:00", 1)
	for _, c := range []struct {
		profile, frame string
		pause          time.Duration
		want           string
	}{
		{"tl-3000c", frameOf(t, "tl-3000c", 1), 9 * time.Second, "exam"},
		{"tl-3000c", frameOf(t, "tl-3000c", 1), 11 * time.Second, "exam exam"},
		{"clm-7000", frameOf(t, "clm-7000", 1), time.Hour, "exam exam"}, // its counter began again
		{"ct-80", frameOf(t, "ct-80", 1), time.Hour, "exam"},
		{"ct-80", midnight, time.Hour, "exam exam"}, // its clock was never set
	} {
		bubble(t, c.profile, nil, func(t *testing.T, r *rig) {
			r.say(c.frame)
			time.Sleep(c.pause)
			r.say(c.frame)
			r.want(c.want)
		})
	}
}

func TestRefuse(t *testing.T) {
	bubble(t, "rc-5000", answered, func(t *testing.T, r *rig) { // it sends again
		r.refuse = 2
		for _, want := range []string{nak, nak, ack} {
			r.say(frameOf(t, "rc-5000", 1))
			if got := r.hears(); got != want {
				t.Errorf("it hears %q, want %q", got, want)
			}
		}
		r.want("exam")
	})
	bubble(t, "rc-5000", nil, func(t *testing.T, r *rig) { // it does not
		r.refuse = 3
		r.say(frameOf(t, "rc-5000", 1), frameOf(t, "rc-5000", 2))
		r.want("")
		time.Sleep(4 * time.Second)
		r.want("exam exam")
	})
}

const summed = `
name: summed
status: simulated
frame: {start: <STX>, end: <ETX>}
checksum: {kind: sum, place: behind, digits: 2, over: [start, end]}
ack: <ACK>
nak: <NAK>
rules: [{match: '(\d+)', fields: [{code: iop, eye: R}]}, {match: 'no(\S+)', fields: [{code: exam_no}]}]
sample: ['<STX>1{d} no{no}<ETX>']
`

func profileFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "summed.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestChecksum(t *testing.T) {
	file := profileFile(t, summed)
	bubble(t, "summed", map[string]any{"profile_file": file}, func(t *testing.T, r *rig) {
		for text, want := range map[string]string{"\x0212\x0369": nak, "\x0212\x0368": ack} {
			r.say(text)
			if got := r.hears(); got != want {
				t.Errorf("%q hears %q", text, got)
			}
		}
		if got := strings.Join(r.records(), " "); got != "checksum exam" && got != "exam checksum" {
			t.Error(got)
		}
	})
}

// TestSilence ends frames where no mark does. A line that goes before it is silent has not ended one.
func TestSilence(t *testing.T) {
	text := strings.NewReplacer("checksum", "#", "end: <ETX>", "silence: 300ms", "<ETX>", "").Replace(summed)
	file := profileFile(t, text)
	for silence, wait := range map[string]time.Duration{"0s": 300 * time.Millisecond, "2s": 2 * time.Second} {
		bubble(t, "summed", map[string]any{"profile_file": file, "silence": silence}, func(t *testing.T, r *rig) {
			r.say("\x0212 no1")
			time.Sleep(wait - 50*time.Millisecond)
			r.say("7")
			time.Sleep(wait - 50*time.Millisecond)
			r.want("")
			time.Sleep(100 * time.Millisecond)
			if got := r.hears(); got != ack {
				t.Errorf("it hears %q", got)
			}
			r.want("exam")
			r.say("\x0212 no18")
			r.line.Close()
			r.settle()
			r.want("exam truncated")
			r.failed = nil
		})
	}
}

func TestCapture(t *testing.T) {
	bubble(t, captures, nil, func(t *testing.T, r *rig) {
		r.say("\r\n\x01HNT")
		time.Sleep(100 * time.Millisecond)
		r.say("-1P\xff\r")
		time.Sleep(time.Second)
		r.say("\r\n\x01HNT-1P\xff\r")
		time.Sleep(time.Second)
		r.say(strings.Repeat("x", lineprofile.MaxFrame+1))
		time.Sleep(time.Second)
		r.want("serial.capture serial.capture serial.capture serial.capture")
		all := r.all()
		first := all[0]
		var data struct {
			Began  time.Time
			Bytes  int
			Chunks []struct {
				Millis float64 `json:"at_ms"`
				Hex    string
			}
		}
		if err := json.Unmarshal(first.Data, &data); err != nil {
			t.Fatal(err)
		}
		if string(first.Raw) != "\r\n\x01HNT-1P\xff\r" || data.Bytes != len(first.Raw) || len(data.Chunks) != 2 ||
			data.Chunks[0].Hex != "0d0a01484e54" || data.Chunks[1].Hex != "2d3150ff0d" || data.Chunks[1].Millis != 105 || data.Began.IsZero() {
			t.Errorf("%q %+v", first.Raw, data)
		}
		if len(all[2].Raw) != lineprofile.MaxFrame || string(all[3].Raw) != "x" {
			t.Errorf("a long burst has %d and %d bytes", len(all[2].Raw), len(all[3].Raw))
		}
	})
}

func TestSettings(t *testing.T) {
	file := profileFile(t, summed)
	dir := filepath.Dir(file)
	broken := profileFile(t, summed+"colour: red\nrepeat: soon\n")
	for _, c := range []struct {
		settings map[string]any
		want     string // empty: they are right
	}{
		{map[string]any{"profile": "rc-5000"}, ""},
		{map[string]any{"profile": "capture"}, ""},
		{map[string]any{"profile_file": file}, ""},
		{map[string]any{"profile_file": dir, "profile": "summed"}, ""},
		{map[string]any{"profile": "tap-2000", "eye_order": "right", "encoding": "cp949"}, ""},
		{map[string]any{}, "profile is missing"},
		{map[string]any{"profile": "rc5000"}, "rc-5000"},
		{map[string]any{"profile_file": dir}, "name the profile"},
		{map[string]any{"profile_file": dir, "profile": "other"}, "check settings: profile_file: open"},
		{map[string]any{"profile_file": file, "profile": "other"}, "profile is other"},
		{map[string]any{"profile_file": broken}, "unknown key colour"},
		{map[string]any{"profile_file": broken}, broken + ": line"},
		{map[string]any{"profile_file": broken}, "line 11: the value has the wrong type: write a time"},
		{map[string]any{"profile": "rc-5000", "ack": "<ACKNOWLEDGE"}, ""},
		{map[string]any{"profile": "rc-5000", "ack": "<ACC>"}, "ack: write"},
		{map[string]any{"profile": "capture", "ack": "<ACK>"}, "leave out"},
		{map[string]any{"profile": "rc-5000", "eye_order": "left"}, "names the eyes itself"},
	} {
		c.settings["port"] = "tcp://127.0.0.1:1"
		text, err := json.Marshal(c.settings)
		if err != nil {
			t.Fatal(err)
		}
		err = (&device{}).prepare(sdk.Env{Settings: sdk.NewSettings(text)}, "")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", text, err, c.want)
		}
	}
}

func TestPosition(t *testing.T) {
	for _, p := range []place{{}, {stored: 3, last: hash([]byte("x"))}, {stored: 1 << 40, last: hash(nil), told: true}} {
		if got, err := placeOf(p.position()); got != p || err != nil {
			t.Errorf("%+v, %v, want %+v", got, err, p)
		}
	}
	if p, err := placeOf(""); p != (place{}) || err != nil {
		t.Error(p, err)
	}
	for _, bad := range []sdk.Position{"7", "-1 - waits", "1 x", "1 - told x", "other"} {
		if p, err := placeOf(bad); err == nil {
			t.Errorf("%q is %+v", bad, p)
		}
	}
}

// TestInstrument has the driver read what the instrument plays in each of its ways: each exam once.
func TestInstrument(t *testing.T) {
	for _, profile := range append(lineprofile.Shipped(), "summed") {
		for _, answer := range []bool{false, true} {
			settings, file := map[string]any{"ack": "none", "nak": "none"}, ""
			if profile == "summed" {
				file = profileFile(t, summed)
				settings["profile_file"] = file
			}
			turns := []string{"", noise, split, cut, silence}
			if answer {
				settings["ack"], settings["nak"] = "<ACK>", "<NAK>"
				turns = append(turns, double)
				if file != "" {
					turns = append(turns, spoil)
				}
			}
			t.Run(fmt.Sprint(profile, " ", answer), func(t *testing.T) {
				bubble(t, profile, settings, func(t *testing.T, r *rig) {
					p, err := (&Choice{Profile: profile, ProfileFile: file, Ack: settings["ack"].(string), Nak: settings["nak"].(string)}).load()
					if err != nil {
						t.Fatal(err)
					}
					var out strings.Builder
					i := newInstrument(p, 1, answer && p.Numbered(), time.Second)
					err = i.play(context.Background(), &outlet{conn: r.line}, &options{count: 2 * len(turns), every: 15 * time.Second}, turns, &out)
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
					exams, numbers := 0, map[string]int{}
					for _, word := range r.records() {
						if word == exam.Kind {
							exams++
						}
					}
					for _, rec := range r.all() {
						if e, err := exam.Decode(rec.Data); rec.Kind == exam.Kind && err == nil {
							for _, o := range e.Observations {
								if o.Code == exam.CodeExamNo {
									numbers[o.Value.String()]++
								}
							}
							numbers[e.Patient.ID]++
						}
					}
					if exams != 2*len(turns) {
						t.Errorf("%d exams of %d: %v\n%s", exams, 2*len(turns), r.records(), out.String())
					}
					if answer && p.Numbered() && (numbers["K-000001"] != 1 || numbers["K-000010"] != 1 || !strings.Contains(out.String(), "answered K-000010\n")) {
						t.Errorf("%v\n%s", numbers, out.String())
					}
				})
			})
		}
	}
}

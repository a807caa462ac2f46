package gdt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/gdt"
	"github.com/hostd/hostd/core/sdk/exam"
)

func decode(_ string, data []byte) exam.Result { return gdt.Decode(data, gdt.Options{}) }

func TestSamples(t *testing.T) {
	examtest.Samples(t, "testdata", 4, decode)
	examtest.Samples(t, examtest.Shared(t, "gdt"), 4, decode)
}

// file writes lines with their lengths: "3000 T-1".
func file(lines ...string) string {
	var b strings.Builder
	for _, l := range lines {
		field, text, _ := strings.Cut(l, " ")
		fmt.Fprintf(&b, "%03d%s%s\r\n", len(text)+9, field, text)
	}
	return b.String()
}

// TestTests reads the fields of a perimeter, which gives numbers with their units.
func TestTests(t *testing.T) {
	got := decode("", []byte(file("8000 6310", "3000 T-1", "8410 MD_R", "8411 Mean defect", "8420 -3,40", "8421 dB", "8410 MD_L", "8420 1.0", "8421 dB",
		"8420 1.5", "8411 only a name", "8420 x", "8432 24032025", "8439 101500", "6200 01012020", "6227 restless", "9999 new")))
	if len(got.Exams) != 1 || len(got.Rejects) != 0 {
		t.Fatalf("%+v", got)
	}
	e := got.Exams[0]
	want := []exam.Observation{
		{Code: "MD_R", Eye: exam.Both, Value: exam.Number(-3.4), Unit: "dB", Text: "-3,40"},
		{Code: "MD_L", Eye: exam.Both, Value: exam.Number(1), Unit: "dB", Text: "1.0"},
		{Code: "MD_L", Eye: exam.Both, Value: exam.Number(1.5), Seq: 1},
		{Code: "note", Eye: exam.Both, Value: exam.Text("restless"), Seq: 1},
		{Code: "MD_L", Eye: exam.Both, Value: exam.Text("x"), Seq: 2},
	}
	if e.TakenAt != "2025-03-24T10:15:00" || len(e.Observations) != len(want) || !slices.Equal(e.Warnings, []string{exam.WarnUnknownSegment}) {
		t.Fatalf("%+v", e)
	}
	for _, w := range want {
		if !slices.ContainsFunc(e.Observations, func(o exam.Observation) bool {
			return o.Code == w.Code && o.Seq == w.Seq && o.Value == w.Value && o.Unit == w.Unit && o.Text == w.Text && o.Eye == w.Eye
		}) {
			t.Errorf("missing %+v in %+v", w, e.Observations)
		}
	}
}

// TestDamage holds that what stands before a fault is kept, and what follows is a reject with its place.
func TestDamage(t *testing.T) {
	const first, more = "8000 6310", "6228 a finding"
	good := file(first, "3000 T-1", more)
	two := good + file(first, "3000 T-2", more, more)
	for title, c := range map[string]struct {
		in             string
		exams, rejects int
		reason         string
		offset         int
		warning        string
	}{
		"whole":               {good, 1, 0, "", 0, ""},
		"blanks behind it":    {good + "\r\n\x1a", 1, 0, "", 0, ""},
		"two records":         {two, 2, 0, "", 0, ""},
		"cut in a line":       {two[:len(two)-5], 2, 1, exam.RejectTruncated, len(two) - 18, exam.WarnBrokenSegment},
		"cut between lines":   {file(first, "8100 00099", "3000 T-1", more), 1, 1, exam.RejectTruncated, 57, exam.WarnBrokenSegment},
		"total length right":  {file(first, "8100 00057", "3000 T-1", more), 1, 0, "", 0, ""},
		"no finding":          {file(first, "3000 T-1") + good, 1, 1, exam.RejectEmpty, 0, ""},
		"not digits":          {good + "0x0" + good[3:], 1, 1, exam.RejectBadLength, len(good), exam.WarnBrokenSegment},
		"blanks":              {" \r\n", 0, 1, exam.RejectEmpty, 0, ""},
		"something else":      {"<Data/>", 0, 1, exam.RejectMalformed, 0, ""},
		"length 000":          {good + "0006228\r\n", 1, 1, exam.RejectBadLength, len(good), exam.WarnBrokenSegment},
		"too many findings":   {file(first) + strings.Repeat(file("8402 A"), 2100), 0, 1, exam.RejectTooLarge, 0, ""},
		"too much text":       {file(first) + strings.Repeat(file("6228 "+strings.Repeat("x", 900)), 200), 0, 1, exam.RejectTooLarge, 0, ""},
		"no patient":          {file(first, more), 1, 0, "", 0, exam.WarnPatientIDBlank},
		"says 7 bit, is none": {file(first, "9206 1", "3000 T-1", "3101 M\x81ller", more), 1, 0, "", 0, exam.WarnEncodingMislabelled},
		"says nothing":        {file(first, "3000 T-1", "3101 M\x81ller", more), 1, 0, "", 0, exam.WarnCharsetUndeclared},
		"UTF-8":               {file(first, "3000 T-1", "3101 Müller", more), 1, 0, "", 0, ""},
	} {
		got := decode("", []byte(c.in))
		if len(got.Exams) != c.exams || len(got.Rejects) != c.rejects {
			t.Errorf("%s: %+v", title, got)
			continue
		}
		if c.rejects > 0 && (got.Rejects[0].Reason != c.reason || got.Rejects[0].Offset != int64(c.offset)) {
			t.Errorf("%s: %+v", title, got.Rejects)
		}
		if c.exams > 0 {
			if last := got.Exams[c.exams-1]; strings.Join(last.Warnings, " ") != c.warning || last.Patient.Name != "" && last.Patient.Name != "Müller" {
				t.Errorf("%s: %+v", title, last)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	examtest.Seed(f, "testdata")
	f.Fuzz(func(t *testing.T, data []byte) {
		examtest.Bounded(t, data, func() exam.Result { return decode("", data) })
	})
}

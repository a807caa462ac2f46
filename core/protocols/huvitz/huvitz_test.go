package huvitz_test

import (
	"slices"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/huvitz"
	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

func decode(_ string, data []byte) exam.Result { return huvitz.Decode(data, xmlexam.Options{}) }

func TestSamples(t *testing.T) {
	examtest.Samples(t, "testdata", 2, decode)
	examtest.SamplesOf(t, examtest.Shared(t, "huvitz"), "*.xml", 2, decode)
}

// TestUnknownNames holds that what nobody knows is no finding, and is told.
func TestUnknownNames(t *testing.T) {
	const file = "<datalab><ref><rrs>-1,25</rrs><rxs>1</rxs><rrx>1</rrx><rrp>65</rrp><rlp>64</rlp></ref><ker><krr3>7.9</krr3></ker>" +
		"<tono><tr00>13</tr00><tx01>14</tx01><t>1</t></tono><misc><C-R1x>9</C-R1x></misc></datalab>"
	got := decode("", []byte(file))
	if len(got.Exams) != 1 || len(got.Exams[0].Observations) != 3 {
		t.Fatalf("%+v", got)
	}
	e := got.Exams[0]
	if v, _ := e.Observations[0].Value.Float(); v != -1.25 || e.Observations[2].Seq != 1 {
		t.Errorf("%+v", e.Observations)
	}
	if want := []string{exam.WarnDuplicate, exam.WarnUnknownSegment}; !slices.Equal(e.Warnings, want) {
		t.Errorf("%q, want %q", e.Warnings, want)
	}
}

func TestNotOfThisFormat(t *testing.T) {
	for in, reason := range map[string]string{
		"<Data><R/></Data>": exam.RejectMalformedXML, "<datalab><patient>7</patient></datalab>": exam.RejectEmpty, "<datalab>": exam.RejectMalformedXML,
	} {
		if got := decode("", []byte(in)); len(got.Exams) != 0 || len(got.Rejects) != 1 || got.Rejects[0].Reason != reason {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	examtest.Seed(f, "testdata")
	f.Fuzz(func(t *testing.T, data []byte) {
		examtest.Bounded(t, data, func() exam.Result { return decode("", data) })
	})
}

package myah_test

import (
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/myah"
	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

func decode(_ string, data []byte) exam.Result { return myah.Decode(data, xmlexam.Options{}) }

func TestSamples(t *testing.T) { examtest.Samples(t, "testdata", 1, decode) }

func TestBadInput(t *testing.T) {
	const one = "<XMLDataPolarExportation><Patient><ID>T-1</ID></Patient><PatientEyeData><PatientID>T-1</PatientID><Eye>OD</Eye>" +
		"<Data><AxialLength>24.5</AxialLength></Data></PatientEyeData></XMLDataPolarExportation>"
	if got := decode("", []byte(one)); len(got.Exams) != 1 || len(got.Exams[0].Observations) != 1 || got.Exams[0].Warnings != nil {
		t.Fatalf("%+v", got)
	}
	for in, reason := range map[string]string{
		strings.Replace(one, "<PatientID>T-1", "<PatientID>T-2", 1): exam.RejectNoise,
		strings.Replace(one, "24.5", "", 1):                         exam.RejectEmpty,
		one[:120]:                                                   exam.RejectMalformedXML,
		"<Data/>":                                                   exam.RejectMalformedXML,
	} {
		if got := decode("", []byte(in)); len(got.Exams) != 0 || len(got.Rejects) != 1 || got.Rejects[0].Reason != reason {
			t.Errorf("%q: %+v", in, got)
		}
	}
	for in, warning := range map[string]string{
		strings.Replace(one, "OD", "OX", 1):                                                  exam.WarnUnknownSegment,
		strings.Replace(one, "T-1", "", 2):                                                   exam.WarnPatientIDBlank,
		strings.Replace(one, "<AxialLength>", "<Odd>1</Odd><AxialLength>", 1):                exam.WarnUnknownSegment,
		strings.Replace(one, "<Data>", "<Data><AxialLength>1</AxialLength></Data><Data>", 1): exam.WarnUnknownSegment,
	} {
		if got := decode("", []byte(in)); len(got.Exams) != 1 || len(got.Exams[0].Warnings) != 1 || got.Exams[0].Warnings[0] != warning {
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

package topascope_test

import (
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/topascope"
	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

func TestSamples(t *testing.T) {
	examtest.Samples(t, "testdata", 1, func(_ string, data []byte) exam.Result {
		return topascope.Decode(data, xmlexam.Options{})
	})
}

func TestUnits(t *testing.T) {
	const file = `<Measurement iop_unit="kPa" cct_unit="mm"><PatientID>T-1</PatientID><DateTime>2025-03-27 9:05:59</DateTime>` +
		`<Eye type="OS"><IOP>2,0</IOP><CIOP>2.1</CIOP><CCT>0.557</CCT></Eye></Measurement>`
	got := topascope.Decode([]byte(file), xmlexam.Options{})
	if len(got.Exams) != 1 || got.Exams[0].TakenAt != "2025-03-27T09:05:59" {
		t.Fatalf("%+v", got)
	}
	want := map[string]float64{exam.CodeIOPKPa: 2, exam.CodeIOPCorrKP: 2.1, exam.CodeCCT: 557}
	for _, o := range got.Exams[0].Observations {
		if v, _ := o.Value.Float(); o.Eye != exam.Left || v != want[o.Code] {
			t.Errorf("%+v", o)
		}
		delete(want, o.Code)
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
}

func TestNotOfThisFormat(t *testing.T) {
	for in, reason := range map[string]string{
		"<Data><R/></Data>": exam.RejectMalformedXML,
		"<Measurement/>":    exam.RejectEmpty,
		"<Measurement>":     exam.RejectMalformedXML,
		"":                  exam.RejectEmpty,
	} {
		got := topascope.Decode([]byte(in), xmlexam.Options{})
		if len(got.Exams) != 0 || len(got.Rejects) != 1 || got.Rejects[0].Reason != reason || strings.Contains(got.Rejects[0].Detail, "Data") {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	examtest.Seed(f, "testdata")
	f.Fuzz(func(t *testing.T, data []byte) {
		examtest.Bounded(t, data, func() exam.Result { return topascope.Decode(data, xmlexam.Options{}) })
	})
}

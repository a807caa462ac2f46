// Package examtest compares what a decoder makes of sample files with what it should make: X.want.json beside X.
package examtest

import (
	"cmp"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk/exam"
)

// want is a .want.json: one exam, or a list of them, and what was not readable.
type want struct {
	Exams   *[]json.RawMessage `json:"exams"`
	Rejects []exam.Reject      `json:"rejects"`
}

// Samples decodes every file below dir that has a .want.json and fails t where the two differ: observations are compared
// as a set, without their text as sent, everything else exactly. Each exam must survive Encode and Decode. It fails, too,
// where there are fewer than least samples, so that lost testdata do not look like success.
func Samples(t *testing.T, dir string, least int, decode func(path string, data []byte) exam.Result) {
	t.Helper()
	SamplesOf(t, dir, "*", least, decode)
}

// SamplesOf is Samples for the files whose names match pattern.
func SamplesOf(t *testing.T, dir, pattern string, least int, decode func(path string, data []byte) exam.Result) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		sample, isWant := strings.CutSuffix(path, ".want.json")
		if err != nil || !isWant {
			return err
		}
		if ok, err := filepath.Match(pattern, filepath.Base(sample)); !ok || err != nil {
			return err
		}
		found++
		t.Run(filepath.Base(sample), func(t *testing.T) {
			data, wantExams, wantRejects := read(t, sample)
			compare(t, decode(sample, data), wantExams, wantRejects)
		})
		return nil
	})
	if err != nil || found < least {
		t.Fatalf("%d samples in %s, want %d: %v", found, dir, least, err)
	}
}

func read(t *testing.T, sample string) (data []byte, exams []*exam.Exam, rejects []exam.Reject) {
	t.Helper()
	data, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(sample + ".want.json")
	if err != nil {
		t.Fatal(err)
	}
	var w want
	if err := json.Unmarshal(text, &w); err != nil {
		t.Fatal(err)
	}
	if w.Exams == nil {
		w.Exams = &[]json.RawMessage{text}
	}
	for _, one := range *w.Exams {
		e, err := exam.Decode(one)
		if err != nil {
			t.Fatal(err)
		}
		exams = append(exams, e)
	}
	return data, exams, w.Rejects
}

func compare(t *testing.T, got exam.Result, wantExams []*exam.Exam, wantRejects []exam.Reject) {
	t.Helper()
	for i := range got.Rejects {
		if got.Rejects[i].Detail == "" {
			t.Errorf("reject %d has no detail", i)
		}
		got.Rejects[i].Detail = ""
	}
	if !slices.Equal(got.Rejects, wantRejects) {
		t.Errorf("rejects %+v, want %+v", got.Rejects, wantRejects)
	}
	if len(got.Exams) != len(wantExams) {
		t.Fatalf("%d exams, want %d", len(got.Exams), len(wantExams))
	}
	for i, e := range got.Exams {
		Equal(t, e, wantExams[i])
	}
}

// Equal fails t where got is not want: observations as a set, without their text as sent, everything else exactly.
func Equal(t *testing.T, got, want *exam.Exam) {
	t.Helper()
	encoded, err := exam.Encode(got)
	if err != nil {
		t.Fatal(err)
	}
	back, err := exam.Decode(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if back.Patient != want.Patient || back.Device != want.Device || back.TakenAt != want.TakenAt {
		t.Errorf("head\n%+v %+v %s, want\n%+v %+v %s", back.Patient, back.Device, back.TakenAt, want.Patient, want.Device, want.TakenAt)
	}
	if !slices.Equal(back.Warnings, want.Warnings) {
		t.Errorf("warnings %q, want %q", back.Warnings, want.Warnings)
	}
	a, b := sorted(back.Observations), sorted(want.Observations)
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && byKey(a[0], b[0]) < 0:
			t.Errorf("observation too many: %+v", a[0])
			a = a[1:]
		case len(a) == 0 || byKey(a[0], b[0]) > 0:
			t.Errorf("observation missing: %+v", b[0])
			b = b[1:]
		default:
			if a[0].Value != b[0].Value || a[0].Unit != b[0].Unit {
				t.Errorf("observation %+v, want %+v", a[0], b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
}

func sorted(list []exam.Observation) []exam.Observation {
	list = slices.Clone(list)
	slices.SortFunc(list, byKey)
	return list
}

func byKey(a, b exam.Observation) int {
	return cmp.Or(cmp.Compare(a.Eye, b.Eye), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Code, b.Code))
}

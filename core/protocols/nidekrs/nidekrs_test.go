package nidekrs_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk/exam"
)

// decode makes of a capture what a want file has of it.
func decode(data []byte) (r exam.Result, control []string) {
	for f := range nidekrs.Frames(data) {
		switch f.Kind {
		case nidekrs.Control:
			control = append(control, f.Control()...)
		case nidekrs.Rejected:
			r.Rejects = append(r.Rejects, f.Reject())
		case nidekrs.Exam, nidekrs.Refractor:
			if e, reject := new(nidekrs.Reader).Read(&f); reject != nil {
				r.Rejects = append(r.Rejects, *reject)
			} else {
				r.Exams = append(r.Exams, e)
			}
		}
	}
	return r, control
}

func samples(t *testing.T, dir string, least int) {
	t.Helper()
	examtest.Samples(t, dir, least, func(path string, data []byte) exam.Result {
		text, err := os.ReadFile(path + ".want.json")
		if err != nil {
			t.Fatal(err)
		}
		var want struct{ Control []string }
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		r, control := decode(data)
		if !slices.Equal(control, want.Control) {
			t.Errorf("%s: control %q, want %q", path, control, want.Control)
		}
		return r
	})
}

func TestSamples(t *testing.T) { samples(t, "testdata", 38) }

func TestSharedSamples(t *testing.T) {
	samples(t, examtest.Shared(t, "nidek-rs232"), 30)
	samples(t, examtest.Shared(t, "nidek-rt"), 8)
}

package host

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

func TestAssignArgs(t *testing.T) {
	good := AssignArgs{Device: "ark-1", ID: "r1", Patient: exam.Patient{ID: "P1", Name: "Muster Anna", Birth: "1970-03", Sex: "F"}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for says, change := range map[string]func(a *AssignArgs){
		"DEVICE/RECORD":  func(a *AssignArgs) { a.ID = "" },
		"id is missing":  func(a *AssignArgs) { a.Patient.ID = " \t" },
		"one line":       func(a *AssignArgs) { a.Patient.Name = "SECRET\n" },
		"256 bytes":      func(a *AssignArgs) { a.Patient.ID = strings.Repeat("SECRET", 100) },
		"not YYYY-MM-DD": func(a *AssignArgs) { a.Patient.Birth = "SECRET" },
		"not M, F, O":    func(a *AssignArgs) { a.Patient.Sex = "SECRET" },
		"not UTF-8":      func(a *AssignArgs) { a.Patient.Name = "SECRET\xff" },
	} {
		a := good
		change(&a)
		if err := a.Check(); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// What an operator leaves out is as the instrument said it, unless that was of another patient.
func TestGivenPatient(t *testing.T) {
	full := exam.Patient{ID: "P1", Name: "Muster Anna", Birth: "1970-03-15", Sex: "F"}
	for _, c := range []struct{ given, before, want exam.Patient }{
		{exam.Patient{ID: "P1"}, exam.Patient{Name: "Muster Anna", Birth: "1970-03-15", Sex: "F"}, full},
		{exam.Patient{ID: "P1", Name: "Muster Anna"}, exam.Patient{ID: " ", Name: "M A", Birth: "1970-03-15", Sex: "F"}, full},
		{exam.Patient{ID: "P1"}, full, full},
		{exam.Patient{ID: "P2"}, full, exam.Patient{ID: "P2"}},
		{exam.Patient{ID: "P2", Sex: "M"}, full, exam.Patient{ID: "P2", Sex: "M"}},
	} {
		if got := given(&c.given, &c.before); got != c.want {
			t.Errorf("%+v of %+v is %+v, want %+v", c.given, c.before, got, c.want)
		}
	}
}

// An assignment has everything of the exam's forms but the data that is its own, and an id that is the same for the same patient, another
// for another patient or another form, and tells nobody without the key who it is.
func TestAssignmentRecord(t *testing.T) {
	image, late := sdk.Attachment{Name: "1.jpg", Hash: "a"}, sdk.Attachment{Name: "2.jpg", Hash: "b"}
	raw, data := sdk.Attachment{Role: "raw", Hash: "c"}, sdk.Attachment{Role: "data", Hash: "d"}
	first := sdk.Record{ID: "r1", Attachments: []sdk.Attachment{image, raw}}
	second := sdk.Record{ID: "r2", Amends: "r1", Labels: map[string]string{"a": "b"}, Attachments: []sdk.Attachment{late, image, raw, data}}
	f := &forms{source: "ark-1", root: "r1", list: []sdk.Record{first, second}}
	h := &Host{idKey: bytes.Repeat([]byte{1}, 32)}
	ids := map[string]bool{}
	make := func(patient string) *sdk.Record {
		t.Helper()
		e := &exam.Exam{Patient: exam.Patient{ID: patient}, Observations: []exam.Observation{{Code: "sphere", Eye: exam.Right, Value: exam.Number(1)}}}
		r, err := h.assignment(f, e)
		if err != nil {
			t.Fatal(err)
		}
		ids[r.ID] = true
		return r
	}
	one, again := make("P1"), make("P1")
	if one.ID != again.ID || one.ContentHash() != again.ContentHash() || one.Amends != "r1" || one.Patient != "P1" || one.Labels["a"] != "b" {
		t.Errorf("%+v, again %+v", one, again)
	}
	if got := one.Attachments; len(got) != 3 || got[0] != image || got[1] != late || got[2] != raw {
		t.Errorf("attachments %+v", got)
	}
	make("P2")
	f.list = append(f.list, sdk.Record{ID: one.ID, Amends: "r1"})
	make("P1")
	h.idKey = bytes.Repeat([]byte{2}, 32)
	make("P1")
	if len(ids) != 4 {
		t.Errorf("%d ids, want 4: %v", len(ids), ids)
	}
}

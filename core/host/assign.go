package host

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// AssignArgs say to whom an exam belongs.
type AssignArgs struct {
	By      string       `json:"by"`
	Device  string       `json:"device"`
	ID      string       `json:"id"` // of the exam's record, or of one that amends it
	Patient exam.Patient `json:"patient"`
	Correct bool         `json:"correct,omitempty"` // another patient takes the place of the one it has
}

// Assigned is what became of an assignment.
type Assigned struct {
	Device  string `json:"device"`
	Exam    string `json:"exam"`              // id of the exam's first record
	Record  string `json:"record"`            // id of the record that says so
	Already bool   `json:"already,omitempty"` // it was so before, and nothing was done
}

// maxPatient is the most of each text of a patient, in bytes.
const maxPatient = 256

// Check says what is wrong with the arguments, without a word of the patient's data.
func (a *AssignArgs) Check() error {
	p := &a.Patient
	switch {
	case a.Device == "" || a.ID == "":
		return errors.New("name the exam as DEVICE/RECORD: see hostd exams --unassigned")
	case strings.TrimSpace(p.ID) == "":
		return errors.New("the patient's id is missing")
	case len(p.ID) > maxPatient || len(p.Name) > maxPatient:
		return fmt.Errorf("the patient's id and name may have %d bytes each", maxPatient)
	case strings.ContainsFunc(p.ID+p.Name, unicode.IsControl):
		return errors.New("the patient's id and name must be of one line")
	}
	return exam.Validate(&exam.Exam{Patient: *p})
}

// errHasPatient is an exam that is not to be assigned without a word more.
var errHasPatient = errors.New("the exam has a patient already; --correct puts this one in the other's place")

// assign puts a record into the spool that amends an exam: the same findings, with a patient.
func (h *Host) assign(ctx context.Context, a AssignArgs) (done Assigned, err error) {
	if err := a.Check(); err != nil {
		return done, err
	}
	h.assigning.Lock()
	defer h.assigning.Unlock()
	err = h.spool.Undisturbed(func() error { // the new record names the attachments of the old one
		f, err := h.formsOf(ctx, a.Device, a.ID)
		if err != nil {
			return err
		}
		done.Device, done.Exam, done.Record = f.source, f.root, f.newest().ID
		e, err := h.exam(f.newest())
		if err != nil {
			return fmt.Errorf("read exam %s of %s: %w", f.newest().ID, f.source, err)
		}
		if done.Already = given(&a.Patient, &e.Patient) == e.Patient; done.Already {
			return nil
		}
		if strings.TrimSpace(e.Patient.ID) != "" && !a.Correct {
			return fmt.Errorf("%s/%s: %w", f.source, f.root, errHasPatient)
		}
		e.Patient = given(&a.Patient, &e.Patient)
		e.Warnings = slices.DeleteFunc(e.Warnings, func(w string) bool { return w == exam.WarnPatientIDBlank })
		r, err := h.assignment(f, e)
		if err != nil {
			return err
		}
		done.Record = r.ID
		return h.add(ctx, f.source, r, func() error { return h.audit.note(a.By, opAssign, assignNote{Assigned: done, Correct: a.Correct}) })
	})
	return done, err
}

// assignNote is what the audit has of an assignment. Who the patient is stands in the record alone.
type assignNote struct {
	Assigned
	Correct bool `json:"correct,omitempty"`
}

// given is the patient as an operator names him. What he leaves out the instrument may have said; of another patient it counts
// for nothing.
func given(p, before *exam.Patient) exam.Patient {
	is := *p
	if strings.TrimSpace(before.ID) != "" && before.ID != p.ID {
		return is
	}
	for at, text := range map[*string]string{&is.Name: before.Name, &is.Birth: before.Birth, &is.Sex: before.Sex} {
		if *at == "" {
			*at = text
		}
	}
	return is
}

// assignment is the record of an exam that has got its patient: everything that its forms had, so that a sink which got none of
// them lacks nothing. Its id is made of the form that it follows and of the patient, with the key of the index, since ids are shown where no patient
// data may be: the same assignment is the same record, and a later one another.
func (h *Host) assignment(f *forms, e *exam.Exam) (*sdk.Record, error) {
	data, err := exam.Encode(e)
	if err != nil {
		return nil, err
	}
	last := f.newest()
	sum := hmac.New(sha256.New, h.idKey)
	for _, text := range []string{f.source, f.root, last.ID, e.Patient.ID, e.Patient.Name, e.Patient.Birth, e.Patient.Sex} {
		sum.Write(fmt.Appendf(nil, "%d:%s", len(text), text))
	}
	digest := sum.Sum(nil)
	r := &sdk.Record{
		ID: "assign-" + hex.EncodeToString(digest[:16]), Kind: exam.Kind, Time: last.Time, Labels: last.Labels, ContentType: exam.ContentType,
		Data: data, Raw: last.Raw, Digest: digest, Amends: f.root, Patient: e.Patient.ID,
	}
	for i := range f.list {
		for _, a := range f.list[i].Attachments {
			if a.Role == "" && !slices.Contains(r.Attachments, a) || a.Role == "raw" && &f.list[i] == last {
				r.Attachments = append(r.Attachments, a)
			}
		}
	}
	if len(r.Data)+len(r.Raw) > sdk.MaxInline {
		if err := h.spillData(r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// spillData moves the data into an attachment, as serve does.
func (h *Host) spillData(r *sdk.Record) error {
	f, err := os.CreateTemp(h.places.staging, "assign-*")
	if err != nil {
		return Environment(fmt.Errorf("stage exam: %w", err))
	}
	_, err = f.Write(r.Data)
	if err = errors.Join(err, f.Close()); err != nil {
		return Environment(fmt.Errorf("stage exam: %w", errors.Join(err, os.Remove(f.Name()))))
	}
	sum := sha256.Sum256(r.Data)
	a := sdk.Attachment{Name: "data", ContentType: r.ContentType, Size: int64(len(r.Data)), Hash: hex.EncodeToString(sum[:]), Role: "data"}
	if err := h.spool.TakeBlob(f.Name(), a.Hash, a.Size); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	r.Data, r.Attachments = nil, append(r.Attachments, a)
	return nil
}

// add puts a record of the host's own into the spool, as if the device had sent it, once note has it in the audit. It returns
// when it is on the disk.
func (h *Host) add(ctx context.Context, device string, r *sdk.Record, note func() error) error {
	body := wire.AppendRecord(nil, r)
	var head wire.Head
	err := wire.Scan(body, &head)
	if err == nil {
		err = note()
	}
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	entry := spool.Entry{Payload: body, Own: true, Sinks: h.intake.routing.Load().route(device, &head)}
	if err := h.spool.Append(ctx, spool.Batch{Device: device, Records: []spool.Entry{entry}}, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done // not ctx: the record may be stored by then
}

// Assign asks the running host to say to whom an exam belongs.
func Assign(ctx context.Context, c *config.Config, a AssignArgs) (done Assigned, err error) {
	if err := a.Check(); err != nil {
		return done, err
	}
	err = ask(ctx, c, opAssign, a, &done)
	return done, err
}

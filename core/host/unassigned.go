package host

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Unassigned lists the newest exams that name no patient, at most limit, newest first: those of the spool, of what is held back,
// and of the database where there is one. With an error of the database the list is of the rest. It works beside a running host.
func Unassigned(ctx context.Context, c *config.Config, limit int) ([]Exam, error) {
	i, err := inspect(c)
	if err != nil {
		return nil, err
	}
	u := unassigned{seen: map[examName]bool{}, list: []Exam{}}
	for found, err := range i.Find(ctx, spool.Lookup{Kind: exam.Kind}) {
		if err != nil {
			return nil, err
		}
		if found.Copy { // it says nothing about what came before it
			continue
		}
		if err := u.record(found.Ref); err != nil {
			return nil, err
		}
		if len(u.list) == limit {
			break
		}
	}
	for l, err := range i.Held("") {
		if err != nil {
			return nil, err
		}
		if err := u.record(spool.Ref{Seq: l.Seq, Device: l.Device, Received: l.Received.UnixNano(), Payload: l.Payload}); err != nil {
			return nil, err
		}
	}
	rows, err := exams(ctx, c, func(ctx context.Context, r *dbpool.Reader) ([]dbpool.ExamRow, error) { return r.Unassigned(ctx, limit) })
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // no host has run yet, or no sink needs one
	}
	for _, e := range rows {
		if name := (examName{e.Device, e.RecordID}); !u.seen[name] {
			u.seen[name] = true
			u.list = append(u.list, e)
		}
	}
	slices.SortStableFunc(u.list, func(a, b Exam) int { return b.ReceivedAt.Compare(a.ReceivedAt) })
	return u.list[:min(len(u.list), limit)], err
}

type examName struct{ device, id string }

// unassigned gathers exams, newest first, by their first records: a newer form that names a patient comes before the older ones.
type unassigned struct {
	seen map[examName]bool
	list []Exam
	head wire.Head
	dec  wire.Decoder
}

func (u *unassigned) record(ref spool.Ref) error {
	if wire.Scan(ref.Payload, &u.head) != nil || string(u.head.Kind) != exam.Kind {
		return nil
	}
	name := examName{ref.Device, string(u.head.ID)}
	if len(u.head.Amends) > 0 {
		name.id = string(u.head.Amends)
	}
	if u.seen[name] {
		return nil
	}
	u.seen[name] = true
	if !u.head.Unassigned {
		return nil
	}
	var r sdk.Record
	if err := u.dec.Record(ref.Payload, &r); err != nil {
		return err
	}
	row := Exam{RecordID: name.id, Device: name.device, ReceivedAt: time.Unix(0, ref.Received).UTC()}
	if e, err := exam.Decode(r.Data); err == nil { // an exam in an attachment, or one that no sink can read, is listed all the same
		row.TakenAt, row.Make, row.Model, row.Observations = e.TakenAt, e.Device.Make, e.Device.Model, len(e.Observations)
	}
	u.list = append(u.list, row)
	return nil
}

// exams asks the database.
func exams(ctx context.Context, c *config.Config, list func(context.Context, *dbpool.Reader) ([]dbpool.ExamRow, error)) ([]Exam, error) {
	p, err := newPlaces(c)
	if err != nil {
		return nil, err
	}
	pool := &c.Database.Pool
	ctx, cancel := context.WithTimeout(ctx, pool.ConnectTimeout+pool.OperationTimeout)
	defer cancel()
	r, err := dbpool.OpenReaderOf(ctx, databaseOptions(c, &p))
	if err != nil {
		return nil, Environment(err)
	}
	rows, err := list(ctx, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	out := make([]Exam, len(rows))
	for i := range rows {
		e := &rows[i]
		out[i] = Exam{
			RecordID: e.RecordID, Device: e.Source, ReceivedAt: e.ReceivedAt, TakenAt: e.TakenAt, PatientID: e.PatientID,
			Make: e.DeviceMake, Model: e.DeviceModel, Observations: e.Observations,
		}
	}
	return out, nil
}

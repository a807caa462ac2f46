package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// maxExam is the most of an exam that was moved into an attachment, in bytes.
const maxExam = 16 << 20

// maxAmends is how many amendments are followed to the first record of an exam.
const maxAmends = 8

// forms are what is stored of one exam: its first record, and those that amend it.
type forms struct {
	source string // the device's name, by which the sinks know the exam
	root   string // id of the first record
	list   []sdk.Record
}

// newest is the form that counts.
func (f *forms) newest() *sdk.Record { return &f.list[len(f.list)-1] }

// add takes a form once: the same record may be in the log, in a copy, and held back for several sinks.
func (f *forms) add(r sdk.Record) {
	if r.Kind == exam.Kind && !f.has(r.ID) {
		f.list = append(f.list, r)
	}
}

func (f *forms) has(id string) bool {
	return slices.ContainsFunc(f.list, func(r sdk.Record) bool { return r.ID == id })
}

// rootOf follows amendments to the first record.
func rootOf(amends map[string]string, id string) string {
	for range maxAmends {
		next, ok := amends[id]
		if !ok {
			break
		}
		id = next
	}
	return id
}

// formsOf finds an exam by the id of any of its forms: in the log, among what is held back, and in the database where the
// spool does not have its first one any more.
func (h *Host) formsOf(ctx context.Context, device, id string) (*forms, error) {
	f := &forms{source: device, root: id}
	since, err := h.first(ctx, f)
	amends := map[string]string{}
	if err == nil {
		err = h.eachRecord(ctx, f.source, spool.Lookup{Kind: exam.Kind, From: since}, func(_ spool.Ref, head *wire.Head) error {
			if len(head.Amends) > 0 {
				amends[string(head.ID)] = string(head.Amends)
			}
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	for one := range maps.Keys(withRoot(amends, f.root)) {
		if err := h.eachRecord(ctx, f.source, spool.Lookup{ID: one}, f.decode); err != nil {
			return nil, err
		}
	}
	if !f.has(f.root) {
		if err := h.storedForms(ctx, f); err != nil && len(f.list) == 0 {
			return nil, fmt.Errorf("%w: the spool has no exam %s of %s, and the database cannot be asked: %w", ErrNoRecord, id, device, err)
		}
	}
	if len(f.list) == 0 {
		return nil, fmt.Errorf("%w: %s has no exam %s, neither in the spool nor in the database", ErrNoRecord, device, id)
	}
	slices.SortStableFunc(f.list, func(a, b sdk.Record) int {
		return cmp.Or(a.Received.Compare(b.Received), cmp.Compare(a.Seq, b.Seq))
	})
	return f, nil
}

// clockBack is how far the clock may have been put back between an exam and what amends it.
const clockBack = 24 * time.Hour

// first goes on from a form of the exam to its first record, as far as the spool has them. No form is older than since.
func (h *Host) first(ctx context.Context, f *forms) (since time.Time, err error) {
	for range maxAmends {
		onward := ""
		since = time.Time{}
		err := h.eachRecord(ctx, f.source, spool.Lookup{ID: f.root}, func(ref spool.Ref, head *wire.Head) error {
			if string(head.Kind) != exam.Kind {
				return fmt.Errorf("the record %s of %s is no exam: its kind is %s", head.ID, ref.Device, head.Kind)
			}
			f.source, onward, since = ref.Device, string(head.Amends), time.Unix(0, ref.Received).Add(-clockBack)
			return nil
		})
		if err != nil || onward == "" {
			return since, err
		}
		f.root = onward
	}
	return since, nil
}

// withRoot are the ids that lead to root, and root.
func withRoot(amends map[string]string, root string) map[string]bool {
	ids := map[string]bool{root: true}
	for id := range amends {
		if rootOf(amends, id) == root {
			ids[id] = true
		}
	}
	return ids
}

// decode is a function for eachRecord.
func (f *forms) decode(ref spool.Ref, _ *wire.Head) error {
	var r sdk.Record
	var dec wire.Decoder
	if err := dec.Record(bytes.Clone(ref.Payload), &r); err != nil {
		return fmt.Errorf("read record %d: %w", ref.Seq, err)
	}
	r.Source, r.Received, r.Seq = ref.Device, time.Unix(0, ref.Received).UTC(), ref.Seq
	f.add(r)
	return nil
}

// eachRecord goes through a device's records of the log, newest first, and then through those that are held back, of which it looks
// at ID and Kind alone.
func (h *Host) eachRecord(ctx context.Context, device string, q spool.Lookup, each func(spool.Ref, *wire.Head) error) error {
	var head wire.Head
	q.Device = device
	for found, err := range h.spool.Find(ctx, q) {
		if err == nil {
			err = wire.Scan(found.Ref.Payload, &head)
		}
		if err == nil {
			err = each(found.Ref, &head)
		}
		if err != nil {
			return err
		}
	}
	for l, err := range h.spool.Held("") {
		if err != nil {
			return err
		}
		if l.Device != device || wire.Scan(l.Payload, &head) != nil ||
			q.ID != "" && q.ID != string(head.ID) || q.Kind != "" && q.Kind != string(head.Kind) {
			continue
		}
		if err := each(spool.Ref{Seq: l.Seq, Device: l.Device, Received: l.Received.UnixNano(), Payload: l.Payload}, &head); err != nil {
			return err
		}
	}
	return nil
}

const sqlForms = "SELECT record_id, amends, kind, received_at, seq, labels, data FROM record WHERE source = ? AND (record_id = ? OR amends = ?)"

// storedForms adds what the shipped tables of the database have of an exam: no source's bytes, and no attachments, which the sinks
// have had long ago.
func (h *Host) storedForms(ctx context.Context, f *forms) error {
	for range maxAmends {
		res, err := h.db.store("assign").Query(ctx, sdk.Query{SQL: sqlForms, Args: []any{f.source, f.root, f.root}})
		if err != nil {
			return err
		}
		root := f.root
		for _, row := range res.Rows {
			r, err := storedForm(row)
			if err != nil {
				return err
			}
			r.Source = f.source
			if r.ID == f.root && r.Amends != "" {
				root = r.Amends
			}
			f.add(r)
		}
		if root == f.root {
			return nil
		}
		f.root = root
	}
	return nil
}

func storedForm(row []any) (r sdk.Record, err error) {
	r = sdk.Record{ID: asText(row[0]), Amends: asText(row[1]), Kind: asText(row[2]), Data: []byte(asText(row[6]))}
	switch at := row[3].(type) {
	case time.Time:
		r.Received = at.UTC()
	default:
		if r.Received, err = time.Parse(time.RFC3339Nano, asText(at)); err != nil {
			return r, fmt.Errorf("read received_at of a stored record: %w", err)
		}
	}
	if n, ok := row[4].(int64); ok {
		r.Seq = uint64(n)
	}
	if err := json.Unmarshal([]byte(asText(row[5])), &r.Labels); err != nil {
		return r, fmt.Errorf("read labels of a stored record: %w", err)
	}
	return r, nil
}

// asText is a text of an answer, in whichever form the database has it.
func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

// exam decodes a form, whose data may be in an attachment.
func (h *Host) exam(r *sdk.Record) (*exam.Exam, error) {
	data := r.Data
	if at := slices.IndexFunc(r.Attachments, isData); len(data) == 0 && at >= 0 {
		in, err := h.spool.ReadBlob(r.Attachments[at].Hash)
		if err != nil {
			return nil, err
		}
		data, err = io.ReadAll(io.LimitReader(in, maxExam+1))
		if cerr := in.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, err
		}
		if len(data) > maxExam {
			return nil, fmt.Errorf("the exam has more than %d MiB", maxExam>>20)
		}
	}
	return exam.Decode(data)
}

func isData(a sdk.Attachment) bool { return a.Role == "data" }

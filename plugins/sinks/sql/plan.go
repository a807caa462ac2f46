package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

const (
	tableRecord      = "record"
	tableExam        = "exam"
	tableObservation = "observation"
	tableAttachment  = "attachment"

	// timeForm is RFC 3339, UTC, of one width, so that text sorts as time does.
	timeForm = "2006-01-02T15:04:05.000000000Z"

	// firstAmended is the idx of the first attachment that an amendment adds; a record's own begin at 0.
	firstAmended = 1 << 20

	// Bytes on the wire of a row with the names of its columns, besides its texts; generous.
	rowRecord      = 512
	rowExam        = 512
	rowObservation = 192
	rowAttachment  = 192
)

const (
	deleteObservations = "DELETE FROM observation WHERE source = ? AND record_id = ?"
	deleteAttachments  = "DELETE FROM attachment WHERE source = ? AND record_id = ? AND idx < ?"
)

// Columns of the shipped tables, in the order of their values in a plan.
var (
	keyColumns         = []string{"source", "record_id"}
	recordColumns      = []string{"source", "record_id", "kind", "taken_at", "received_at", "seq", "content_type", "labels", "data", "raw", "content_hash", "amends", "unassigned"}
	examColumns        = []string{"source", "record_id", "patient_id", "patient_name", "patient_birth", "patient_sex", "device_make", "device_model", "device_serial", "taken_at", "received_at", "unassigned", "warnings", "amended_by"}
	observationColumns = []string{"source", "record_id", "idx", "code", "eye", "method", "seq", "value_num", "value_text", "unit", "text", "flags"}
	attachmentColumns  = []string{"source", "record_id", "idx", "name", "content_type", "size", "hash", "role"}
)

// plan is what one record changes.
type plan struct {
	changes []sdk.Change
	hash    string // the record's content hash
	size    int    // bytes on the wire, at most
}

// subject is what a record's rows of exam, observation and attachment are about: itself, or what it amends.
type subject struct {
	source   any // a string, boxed once for all rows
	id       any
	received any   // of the record, in timeForm
	key      int   // bytes of source and id
	past     *past // what is stored of it, where that was looked up
}

func (d *delivery) planRecord(ctx context.Context, i int) (*plan, error) {
	r := &d.records[i]
	body, err := d.content(ctx, r)
	if err != nil {
		return nil, err
	}
	var e *exam.Exam
	if r.Kind == exam.Kind {
		if e, err = exam.Decode(body.data); err != nil {
			return nil, sdk.Permanent(err)
		}
	}
	root := d.past.root(r)
	if d.mapping != nil {
		return d.planMapped(ctx, &scope{record: r, content: body, original: root, exam: e})
	}
	s := subject{source: r.Source, id: root, received: r.Received.UTC().Format(timeForm), key: len(r.Source) + len(root), past: d.past.of(r.Source, root)}
	p := &plan{hash: r.ContentHashHex(), changes: make([]sdk.Change, 0, 4)}
	p.record(r, &s, body, e, d.again[i])
	switch {
	case e != nil && s.past.newerThan(r):
	case e != nil && (r.Amends != "" || d.again[i]):
		p.replaceExam(r, &s, e)
	case e != nil:
		p.insertExam(r, &s, e)
	}
	kept, err := d.kept(ctx, &s, r)
	if err != nil {
		return nil, err
	}
	p.attachments(r, &s, kept, d.again[i])
	return p, nil
}

// record adds the record's own row. It is new, for there is no receipt of it; only a second try writes over what is
// there without one.
func (p *plan) record(r *sdk.Record, s *subject, c content, e *exam.Exam, again bool) {
	unassigned := r.Unassigned
	if e != nil {
		unassigned = blank(e.Patient.ID) // serve of an older plugin does not see it where it moved the exam
	}
	id, label := any(r.ID), labels(r.Labels)
	if r.Amends == "" {
		id = s.id
	}
	values := []any{
		s.source, id, r.Kind, takenAt(r, e), s.received,
		int64(r.Seq), text(r.ContentType), label, blob(c.data), blob(c.raw),
		p.hash, text(r.Amends), unassigned,
	}
	p.size += rowRecord + 2*len(r.Source) + 3*len(r.ID) + len(r.Kind) + len(r.ContentType) + len(label) + len(c.data) + len(c.raw) + len(r.Amends)
	if again {
		p.changes = append(p.changes, sdk.Upsert{Table: tableRecord, Key: keyColumns, Columns: recordColumns, Values: values})
		return
	}
	p.changes = append(p.changes, sdk.Insert{Table: tableRecord, Columns: recordColumns, Values: values})
}

// insertExam adds the exam of a new record. It is an insert, and no upsert, so that an original that comes after its
// correction fails here and is looked at again, instead of undoing the correction.
func (p *plan) insertExam(r *sdk.Record, s *subject, e *exam.Exam) {
	p.changes = append(p.changes, sdk.Insert{Table: tableExam, Columns: examColumns, Values: p.exam(r, s, e)})
	p.observations(s, e)
}

// replaceExam writes the exam over what is stored of it.
func (p *plan) replaceExam(r *sdk.Record, s *subject, e *exam.Exam) {
	p.changes = append(p.changes,
		sdk.Upsert{Table: tableExam, Key: keyColumns, Columns: examColumns, Values: p.exam(r, s, e)},
		sdk.Exec{SQL: deleteObservations, Args: []any{s.source, s.id}, Want: -1})
	p.observations(s, e)
}

func (p *plan) exam(r *sdk.Record, s *subject, e *exam.Exam) []any {
	amendedBy := ""
	if r.Amends != "" {
		amendedBy = r.ID
	}
	who := e.Patient
	if blank(who.ID) && s.past != nil && !blank(s.past.patient.ID) {
		who = s.past.patient
	}
	if blank(who.ID) {
		who.ID = ""
	}
	p.size += rowExam + s.key + len(r.ID) + len(who.ID) + len(who.Name) +
		len(e.Device.Make) + len(e.Device.Model) + len(e.Device.Serial) + len(e.TakenAt) + 32*len(e.Warnings)
	return []any{
		s.source, s.id,
		text(who.ID), text(who.Name), who.Birth, who.Sex,
		text(e.Device.Make), text(e.Device.Model), text(e.Device.Serial),
		e.TakenAt, s.received, who.ID == "",
		list(e.Warnings), amendedBy,
	}
}

func (p *plan) observations(s *subject, e *exam.Exam) {
	if len(e.Observations) == 0 {
		return
	}
	values := make([]any, 0, len(e.Observations)*len(observationColumns))
	for i := range e.Observations {
		o := &e.Observations[i]
		var number any
		if f, ok := o.Value.Float(); ok {
			number = f
		}
		value, flags := text(o.Value.String()), list(o.Flags)
		values = append(values,
			s.source, s.id, int64(i), text(o.Code), o.Eye, text(o.Method), int64(o.Seq),
			number, value, text(o.Unit), text(o.Text), flags,
		)
		p.size += rowObservation + s.key + len(o.Code) + len(o.Method) + len(value) + len(o.Unit) + len(o.Text) + len(flags)
	}
	p.changes = append(p.changes, sdk.Insert{Table: tableObservation, Columns: observationColumns, Values: values})
}

// attachments adds the rows of attachments. Those of an amendment are added to the amended record behind all that are
// there, from firstAmended on, in the order in which amendments are stored, but for those that it kept; its moved Data and Raw stay its own.
func (p *plan) attachments(r *sdk.Record, s *subject, kept map[file]bool, again bool) {
	if again && r.Amends == "" {
		p.changes = append(p.changes, sdk.Exec{SQL: deleteAttachments, Args: []any{s.source, s.id, int64(firstAmended)}, Want: -1})
	}
	if len(r.Attachments) == 0 {
		return
	}
	values := make([]any, 0, len(r.Attachments)*len(attachmentColumns))
	next := s.past.nextIdx()
	for i := range r.Attachments {
		a := &r.Attachments[i]
		id, idx := any(r.ID), int64(i)
		if r.Amends != "" && a.Role == "" {
			if kept[fileOf(a)] {
				continue
			}
			id, idx = s.id, next
			next++
		}
		values = append(values, s.source, id, idx, text(a.Name), text(a.ContentType), a.Size, text(a.Hash), text(a.Role))
		p.size += rowAttachment + len(r.ID) + s.key + len(a.Name) + len(a.ContentType) + len(a.Hash)
	}
	if len(values) > 0 {
		p.changes = append(p.changes, sdk.Insert{Table: tableAttachment, Columns: attachmentColumns, Values: values})
	}
}

// takenAt is the instrument's own word where there is one, else the record's time, or NULL.
func takenAt(r *sdk.Record, e *exam.Exam) any {
	switch {
	case e != nil && e.TakenAt != "":
		return e.TakenAt
	case r.Time.IsZero():
		return nil
	}
	return r.Time.Format(time.RFC3339Nano)
}

// text is s as every database takes it: what is not UTF-8, and NUL, which PostgreSQL refuses, become U+FFFD.
func text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// blank says that an id names nobody.
func blank(id string) bool { return strings.TrimSpace(id) == "" }

// blob is b, or NULL.
func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// list is a JSON array of texts.
func list(words []string) string {
	if len(words) == 0 {
		return "[]"
	}
	return encode(words)
}

// labels is a JSON object of texts, its names in order.
func labels(m map[string]string) string {
	if len(m) == 0 {
		return "{}"
	}
	return encode(m)
}

// encode cannot fail on texts; encoding/json replaces what is not UTF-8, and escapes NUL.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%q", err.Error())
	}
	return string(b)
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

const (
	maxHops  = 8   // from an amendment to the record that it amends in the end
	maxNames = 400 // ids in one query
)

const (
	selectAmends = "SELECT record_id, amends FROM record WHERE amends <> '' AND source = ? AND record_id IN "
	selectExams  = "SELECT e.record_id, e.patient_id, e.patient_name, e.patient_birth, e.patient_sex, e.amended_by, r.seq, r.received_at " +
		"FROM exam e LEFT JOIN record r ON r.source = e.source AND r.record_id = e.amended_by WHERE e.source = ? AND e.record_id IN "
	selectLast = "SELECT record_id, MAX(idx) FROM attachment WHERE source = ? AND record_id IN "
	groupLast  = " GROUP BY record_id"

	selectFiles = "SELECT name, hash FROM attachment WHERE role = '' AND source = ? AND record_id = ? AND hash IN "
)

type identity struct{ source, id string }

// history is what the database has of the exams that the rest of a delivery amends. Most deliveries amend nothing, and
// ask nothing.
type history struct {
	store sdk.Store
	roots map[identity]string // from an amended id on to the first record of the exam
	exams map[identity]*past
}

// past is what is stored of one exam.
type past struct {
	patient  exam.Patient
	amended  bool
	seq      uint64 // of the record that amended it last
	received string // of the same, in timeForm
	lastIdx  int64  // of its attachments
}

// load asks anew for all that is left: what a chunk stored counts for the next one.
func (h *history) load(ctx context.Context, store sdk.Store, d *delivery) error {
	*h = history{store: store}
	named := map[string][]string{}
	for i := d.next; i < len(d.records); i++ {
		switch r := &d.records[i]; {
		case r.Amends != "":
			named[r.Source] = append(named[r.Source], text(r.Amends))
		case d.again[i]:
			named[r.Source] = append(named[r.Source], r.ID)
		}
	}
	if len(named) == 0 {
		return nil
	}
	h.roots, h.exams = map[identity]string{}, map[identity]*past{}
	for source, ids := range named {
		if err := h.loadSource(ctx, source, ids); err != nil {
			return err
		}
	}
	return nil
}

func (h *history) loadSource(ctx context.Context, source string, ids []string) error {
	roots, err := h.follow(ctx, source, ids)
	if err != nil {
		return err
	}
	for _, id := range roots {
		h.exams[identity{source, id}] = &past{lastIdx: -1}
	}
	if err := h.query(ctx, selectExams, "", source, roots, h.addExam); err != nil {
		return fmt.Errorf("look up amended exams: %w", err)
	}
	if err := h.query(ctx, selectLast, groupLast, source, roots, h.addLast); err != nil {
		return fmt.Errorf("look up attachments of amended exams: %w", err)
	}
	return nil
}

// follow finds the first record of each: an amendment may amend an amendment.
func (h *history) follow(ctx context.Context, source string, ids []string) ([]string, error) {
	newest := ids
	for range maxHops {
		var onward []string
		err := h.query(ctx, selectAmends, "", source, newest, func(source string, row []any) {
			h.roots[identity{source, asText(row[0])}] = asText(row[1])
			onward = append(onward, asText(row[1]))
		})
		if err != nil {
			return nil, fmt.Errorf("look up what is amended: %w", err)
		}
		if len(onward) == 0 {
			break
		}
		ids, newest = append(ids, onward...), onward
	}
	for i, id := range ids {
		ids[i] = h.first(source, id)
	}
	return ids, nil
}

func (h *history) query(ctx context.Context, head, tail, source string, ids []string, add func(source string, row []any)) error {
	for len(ids) > 0 {
		n := min(len(ids), maxNames)
		args := make([]any, 1, n+1)
		args[0] = source
		for _, id := range ids[:n] {
			args = append(args, id)
		}
		res, err := h.store.Query(ctx, sdk.Query{SQL: head + "(?" + strings.Repeat(",?", n-1) + ")" + tail, Args: args})
		if err != nil {
			return err
		}
		for _, row := range res.Rows {
			add(source, row)
		}
		ids = ids[n:]
	}
	return nil
}

func (h *history) addExam(source string, row []any) {
	p := h.exams[identity{source, asText(row[0])}]
	if p == nil {
		return
	}
	p.patient = exam.Patient{ID: asText(row[1]), Name: asText(row[2]), Birth: asText(row[3]), Sex: asText(row[4])}
	p.amended = asText(row[5]) != ""
	if seq, ok := row[6].(int64); ok {
		p.seq, p.received = uint64(seq), asText(row[7])
	}
}

func (h *history) addLast(source string, row []any) {
	if p := h.exams[identity{source, asText(row[0])}]; p != nil {
		if last, ok := row[1].(int64); ok {
			p.lastIdx = last
		}
	}
}

// asked says whether there was anything to ask.
func (h *history) asked() bool { return h.exams != nil }

// root is the id of the record whose exam r is about.
func (h *history) root(r *sdk.Record) string {
	if r.Amends == "" {
		return r.ID
	}
	return h.first(r.Source, text(r.Amends))
}

func (h *history) first(source, id string) string {
	for range maxHops {
		next, ok := h.roots[identity{source, id}]
		if !ok {
			break
		}
		id = next
	}
	return id
}

func (h *history) of(source, root string) *past { return h.exams[identity{source, root}] }

// newerThan says whether r comes late: an amendment that was stored after it is in its place. A smaller number alone
// says nothing after the spool was lost, an earlier time nothing after the clock was put back.
func (p *past) newerThan(r *sdk.Record) bool {
	if p == nil || !p.amended {
		return false
	}
	return r.Amends == "" || r.Seq < p.seq && r.Received.UTC().Format(timeForm) < p.received
}

// file is an attachment by what it is called and what is in it.
type file struct{ name, hash string }

func fileOf(a *sdk.Attachment) file { return file{text(a.Name), text(a.Hash)} }

// kept are the attachments of an amending exam that the exam has already: an assignment names all that its forms had.
func (d *delivery) kept(ctx context.Context, s *subject, r *sdk.Record) (map[file]bool, error) {
	if r.Amends == "" || r.Kind != exam.Kind || len(r.Attachments) == 0 {
		return nil, nil
	}
	kept := map[file]bool{}
	for part := range slices.Chunk(r.Attachments, maxNames) {
		args := []any{s.source, s.id}
		for i := range part {
			args = append(args, text(part[i].Hash))
		}
		res, err := d.env.Store.Query(ctx, sdk.Query{SQL: selectFiles + "(?" + strings.Repeat(",?", len(part)-1) + ")", Args: args})
		if err != nil {
			return nil, fmt.Errorf("look up attachments of an amended exam: %w", err)
		}
		for _, row := range res.Rows {
			kept[file{asText(row[0]), asText(row[1])}] = true
		}
	}
	return kept, nil
}

func (p *past) nextIdx() int64 {
	if p == nil {
		return firstAmended
	}
	return max(p.lastIdx+1, firstAmended)
}

// asText is a text of an answer, in whichever form the database has it.
func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(timeForm)
	}
	return ""
}

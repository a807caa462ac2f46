package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Reasons of dead letters.
var (
	errRequired  = errors.New("there is no value, and the column must have one")
	errAmbiguous = errors.New("the lookup found more than one row")
	errSameKey   = errors.New("two rows of one record have the same key")
)

// planMapped makes the rows of a record. An error is permanent where the record is at fault, or the mapping.
func (d *delivery) planMapped(ctx context.Context, sc *scope) (*plan, error) {
	p := &plan{hash: sc.record.ContentHashHex()}
	if n := len(d.mapping.lookups); n > 0 {
		sc.answers = make([]answer, n)
	}
	for _, t := range d.mapping.tables {
		w := writer{delivery: d, scope: sc, table: t, plan: p}
		sc.table = t
		if err := w.run(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// writer makes one table's rows of one record.
type writer struct {
	*delivery
	scope *scope
	table *tableMap
	plan  *plan
	fixed []any // values of table.fixed, once the first row needs them
	rows  []sdk.Row
}

func (w *writer) run(ctx context.Context) error {
	if !w.table.where.takes(w.scope.record) {
		return nil
	}
	if err := w.each(ctx); err != nil {
		return err
	}
	if len(w.rows) == 0 {
		return nil
	}
	if len(w.table.key) == 0 {
		w.plan.changes = append(w.plan.changes, sdk.Insert{Table: w.table.name, Rows: w.rows})
		return nil
	}
	if err := w.keys(); err != nil {
		return err
	}
	w.plan.changes = append(w.plan.changes, sdk.Upsert{Table: w.table.name, Key: w.table.key, Rows: w.rows})
	return nil
}

// each goes through what makes a row.
func (w *writer) each(ctx context.Context) error {
	sc := w.scope
	switch w.table.rows {
	case rowsRecord:
		return w.row(ctx)
	case rowsAttachment:
		for i := range sc.record.Attachments {
			if sc.attachment, sc.idx = &sc.record.Attachments[i], i; sc.attachment.Role != "" {
				continue // the record's own content
			}
			if err := w.row(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	if sc.exam == nil {
		return nil
	}
	switch w.table.rows {
	case rowsEye:
		for _, eye := range [...]string{exam.Right, exam.Left} {
			if sc.eye = eye; w.table.found(sc) {
				if err := w.row(ctx); err != nil {
					return err
				}
			}
		}
	case rowsObservation:
		for i := range sc.exam.Observations {
			if sc.observation, sc.idx = &sc.exam.Observations[i], i; w.table.where.takesObservation(sc.observation) {
				if err := w.row(ctx); err != nil {
					return err
				}
			}
		}
	default:
		if sc.eye = ""; w.table.found(sc) {
			return w.row(ctx)
		}
	}
	return nil
}

// found says whether the exam, or its eye, has something to write: what where asks for; and where that names no codes,
// a value for one of the columns that pick observations.
func (t *tableMap) found(sc *scope) bool {
	there := t.rows == rowsExam && !t.where.observes()
	for i := range sc.exam.Observations {
		if there {
			break
		}
		o := &sc.exam.Observations[i]
		there = (sc.eye == "" || o.Eye == sc.eye) && t.where.takesObservation(o)
	}
	if !there || t.where.code != nil || len(t.picks) == 0 {
		return there
	}
	return slices.ContainsFunc(t.picks, func(p *pick) bool { return p.find(sc) != nil })
}

// row makes one row.
func (w *writer) row(ctx context.Context) error {
	t := w.table
	if w.fixed == nil {
		w.fixed = make([]any, len(t.fixed))
		for i, c := range t.fixed {
			v, err := w.value(ctx, c)
			if err != nil {
				return err
			}
			w.fixed[i] = v
		}
	}
	row := make(sdk.Row, len(t.columns))
	w.plan.size += t.size
	for i, c := range t.fixed {
		w.put(row, c, w.fixed[i])
	}
	for _, c := range t.varied {
		v, err := w.value(ctx, c)
		if err != nil {
			return err
		}
		w.put(row, c, v)
	}
	w.rows = append(w.rows, row)
	return nil
}

func (w *writer) put(row sdk.Row, c *column, v any) {
	switch v := v.(type) {
	case omitted:
		return
	case string:
		w.plan.size += len(v)
	case []byte:
		w.plan.size += len(v)
	}
	row[c.name] = v
}

// omitted is the value of a column that is left as it is.
type omitted struct{}

// keeps says whether the column is left as it is: an amendment that names no patient says nothing about him. A required
// column has a value in each row: databases look for it before they see that the row is there.
func (w *writer) keeps(c *column) bool {
	sc := w.scope
	if !c.patient || c.required || sc.record.Amends == "" || len(w.table.key) == 0 || sc.exam != nil && sc.exam.Patient.ID != "" {
		return false
	}
	return true
}

// value is the column's value for the row.
func (w *writer) value(ctx context.Context, c *column) (any, error) {
	if c.constant != nil {
		return c.constant, nil
	}
	if w.keeps(c) {
		return omitted{}, nil
	}
	v, said, err := w.found(ctx, c)
	if err != nil {
		return nil, err
	}
	if v != nil && c.convert != nil {
		if v, err = c.convert(v); err != nil && !c.lenient {
			return nil, sdk.Permanent(fmt.Errorf("map %s: %s %w", c.title, said, err))
		}
	}
	switch {
	case v != nil:
		return v, nil
	case c.fallback != nil:
		return c.fallback, nil
	case c.required:
		return nil, sdk.Permanent(fmt.Errorf("map %s: %s: %w", c.title, c.lacks(w.scope), errRequired))
	}
	return nil, nil
}

// found is the first value that there is, and what it is called; nil is none.
func (w *writer) found(ctx context.Context, c *column) (v any, said string, err error) {
	if c.lookup != nil {
		v, err = w.look(ctx, c)
		return v, "the lookup's answer", err
	}
	for i := range c.from {
		if v = c.from[i].get(w.scope); v != nil {
			return v, c.from[i].text, nil
		}
	}
	return nil, "", nil
}

// lacks says what there is nothing of.
func (c *column) lacks(sc *scope) string {
	if c.lookup == nil {
		return c.from[0].text
	}
	for i := range c.lookup.with {
		if c.lookup.with[i].get(sc) == nil {
			return "a lookup without " + c.lookup.with[i].text
		}
	}
	return "the lookup found nothing"
}

// look is the look-up's answer, asked for once a record where it is the same for all rows.
func (w *writer) look(ctx context.Context, c *column) (any, error) {
	l := c.lookup
	if l.slot >= 0 && w.scope.answers[l.slot].asked {
		return w.scope.answers[l.slot].value, nil
	}
	v, err := w.ask(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", c.title, err)
	}
	if l.slot >= 0 {
		w.scope.answers[l.slot] = answer{asked: true, value: v}
	}
	return v, nil
}

// ask queries the database. Where an argument has no value there is nothing to find. That nothing was found is only
// taken from the cache where the mapping says so: a patient who was entered since is found at once.
func (w *writer) ask(ctx context.Context, l *lookup) (any, error) {
	args := make([]any, len(l.with))
	for i := range l.with {
		v := l.with[i].get(w.scope)
		if v == nil {
			return nil, nil
		}
		args[i], _ = plain(v) // it takes everything
	}
	res, err := w.env.Store.Query(ctx, l.query(args))
	switch {
	case err != nil:
		return nil, fmt.Errorf("look up: %w", err)
	case len(res.Rows) == 0 || len(res.Rows[0]) == 0:
		return nil, nil
	case len(res.Rows) > 1:
		return nil, sdk.Permanent(errAmbiguous)
	}
	if v := res.Rows[0][0]; v != "" {
		return v, nil
	}
	return nil, nil
}

// keys holds that no row of the record overwrites another one of it.
func (w *writer) keys() error {
	if len(w.rows) < 2 {
		return nil
	}
	seen := make(map[string]bool, len(w.rows))
	var key []byte
	for _, row := range w.rows {
		key = key[:0]
		for _, c := range w.table.key {
			key = appendKey(key, row[c])
		}
		if seen[string(key)] {
			return sdk.Permanent(fmt.Errorf("map %s: %w: take another column into its key, or fewer rows by where", w.table.name, errSameKey))
		}
		seen[string(key)] = true
	}
	return nil
}

// appendKey writes a value so that different ones, also in a row, are different.
func appendKey(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(append(strconv.AppendInt(append(b, 's'), int64(len(v)), 10), ':'), v...)
	case []byte:
		return append(append(strconv.AppendInt(append(b, 'b'), int64(len(v)), 10), ':'), v...)
	case int64:
		return strconv.AppendInt(append(b, 'i'), v, 10)
	case float64:
		return strconv.AppendUint(append(b, 'f'), math.Float64bits(v), 10)
	case time.Time:
		return strconv.AppendInt(append(b, 't'), v.UnixNano(), 10)
	default:
		return fmt.Appendf(b, "%T:%v;", v, v)
	}
}

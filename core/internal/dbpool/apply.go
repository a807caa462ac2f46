package dbpool

import (
	"context"
	"fmt"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// manner is how the rows of a call are sent.
type manner int

const (
	merged manner = iota // rows of different changes share statements, see run
	apart                // each change has its own statements
	singly               // each row has
)

// apply runs the changes of one call inside the session's transaction. An error may leave some of them done: the caller
// undoes them.
func (s *session) apply(ctx context.Context, c *call, how manner) ([]sdk.Changed, error) {
	known, err := s.receipts(ctx, c)
	if err != nil {
		return nil, err
	}
	r := &run{session: s, merge: how == merged && c.merge, most: mostInStatement, rows: c.rows, sink: c.sink, out: make([]sdk.Changed, len(c.changes)), now: formatTime(time.Now())}
	if how == singly {
		r.most = 1
	}
	for i := range c.changes {
		if err := r.change(ctx, &c.changes[i], i, known); err != nil {
			return nil, &sdk.ChangeError{Index: i, Err: err}
		}
	}
	return r.out, r.flush(ctx)
}

const mostInStatement = 1 << 30 // the database sets its own bound

// run is one call being applied.
//
// Rows that different changes write to the same table gather in a batch and share statements. Nobody can see the
// difference: the order of the rows of one table is kept (a batch of another form for the same table sends the first
// one off before it), and rows of different tables pass each other only where the tables are plain, that is without
// foreign keys and triggers of their own, so that no statement reads or changes what another one of the batch wrote; a
// plain table's constraints look at its own rows alone. A statement of the sink's own may read anything, so all batches
// are sent off before it; a call with one that asks what the last statement did is not merged at all. All this is
// inside one transaction, so nobody else sees anything of it before its end.
type run struct {
	*session
	merge   bool
	most    int // rows in one statement
	rows    int // of the call
	sink    string
	out     []sdk.Changed
	now     string // when the receipts of this call were first seen
	batches []*batch
}

// batch is rows of one form that wait to be sent.
type batch struct {
	shape *shape
	args  []any
	rows  int
}

func (r *run) change(ctx context.Context, ch *change, i int, known map[receiptKey]string) error {
	if ch.once == nil {
		n, err := r.single(ctx, ch)
		r.out[i].Rows = n
		return err
	}
	o := ch.once
	if hash, there := known[o.id]; there {
		r.out[i].Outcome = sdk.Duplicate
		if hash != o.hash {
			r.out[i].Outcome = sdk.Conflict
		}
		return nil
	}
	known[o.id] = o.hash
	for k := range o.changes {
		n, err := r.single(ctx, &o.changes[k])
		if err != nil {
			return err
		}
		r.out[i].Rows += n
	}
	receipt := &rowSet{
		shape: receiptShape, table: tableReceipt, columns: receiptColumns, n: 1,
		args: []any{o.hash, r.now, o.id.id, r.out[i].Rows, o.seq, r.sink, o.id.source},
	}
	return r.write(ctx, receipt)
}

func (r *run) single(ctx context.Context, ch *change) (int64, error) {
	if ch.exec != nil {
		return r.own(ctx, ch.exec)
	}
	return int64(ch.rows.n), r.write(ctx, ch.rows)
}

// write sends the rows, or adds them to the batch of their table.
func (r *run) write(ctx context.Context, set *rowSet) error {
	if set.n == 0 {
		return nil
	}
	sh, err := r.shape(ctx, set)
	if err != nil {
		return err
	}
	if err := r.dialect.fit(sh, set); err != nil {
		return err
	}
	if !r.merge || !sh.plain {
		if err := r.flush(ctx); err != nil {
			return err
		}
		return r.insert(ctx, sh, set.args, set.n, r.most)
	}
	b, err := r.batch(ctx, sh)
	if err != nil {
		return err
	}
	b.args = append(b.args, set.args...)
	b.rows += set.n
	if whole := b.rows - b.rows%r.dialect.rows; whole > 0 {
		if err := r.insert(ctx, sh, b.args, whole, r.most); err != nil {
			return err
		}
		rest := copy(b.args, b.args[whole*len(sh.columns):])
		clear(b.args[rest:])
		b.args, b.rows = b.args[:rest], b.rows-whole
	}
	return nil
}

// batch is the open batch of the shape; one of another shape for the same table is sent off first.
func (r *run) batch(ctx context.Context, sh *shape) (*batch, error) {
	for _, b := range r.batches {
		switch {
		case b.shape == sh:
			return b, nil
		case b.shape.id == sh.id:
			err := r.send(ctx, b)
			b.shape = sh
			return b, err
		}
	}
	b := &batch{shape: sh, args: make([]any, 0, min(r.rows, r.dialect.rows)*len(sh.columns))}
	r.batches = append(r.batches, b)
	return b, nil
}

func (r *run) send(ctx context.Context, b *batch) error {
	if b.rows == 0 {
		return nil
	}
	err := r.insert(ctx, b.shape, b.args, b.rows, r.most)
	clear(b.args)
	b.args, b.rows = b.args[:0], 0
	return err
}

func (r *run) flush(ctx context.Context) error {
	for _, b := range r.batches {
		if err := r.send(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// own runs a statement of the sink's own, after everything that stands before it.
func (r *run) own(ctx context.Context, e *execution) (int64, error) {
	if err := r.flush(ctx); err != nil {
		return 0, err
	}
	done, err := r.session.exec(ctx, e.st.text, e.args...)
	if err != nil {
		return 0, r.dialect.clean(ctx, e.st.print, err, e.st.words)
	}
	n, err := done.RowsAffected()
	if err != nil {
		return 0, r.dialect.clean(ctx, e.st.print, err, e.st.words)
	}
	if e.want >= 0 && n != e.want {
		return 0, sdk.Permanent(fmt.Errorf("%s: %d rows were affected, %d were wanted: %w", e.st.print, n, e.want, ErrRefused))
	}
	return n, nil
}

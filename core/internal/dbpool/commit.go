package dbpool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// Write applies the changes in one transaction; see sdk.Store. It shares its commit with the writes of others that came
// meanwhile, but not their fate: each is undone alone if it fails. When ctx ends while it is being written, the outcome
// is unknown.
func (s *store) Write(ctx context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	c, err := s.pool.dialect.read(changes)
	if err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		return []sdk.Changed{}, nil
	}
	j := &job{line: s.line, kind: writing, statement: c.title(), rows: c.rows, call: c}
	out, err := s.pool.guard.do(ctx, j, s.pool.opt.AcquireTimeout)
	if err != nil {
		return nil, err
	}
	return out.([]sdk.Changed), nil
}

// serveWrites is the writer: it commits one group after the other, without waiting for a group to fill, until the guard
// stops.
func (p *Pool) serveWrites(ctx context.Context) error {
	w := &writer{pool: p}
	for {
		l := p.guard.take(writing)
		if l == nil {
			return w.close()
		}
		answers := w.group(ctx, l)
		for i, j := range l.jobs {
			p.note(ctx, j, time.Since(l.since), answers[i].err)
		}
		if !p.guard.give(l, answers) {
			return w.close()
		}
	}
}

// writer is what one writing goroutine has.
type writer struct {
	pool    *Pool
	session *session
}

func (w *writer) close() error {
	if w.session == nil {
		return nil
	}
	return w.session.conn.Close()
}

// renew gives the session up; the next group makes another.
func (w *writer) renew(ctx context.Context) {
	if w.session == nil {
		return
	}
	if err := w.session.drop(ctx); err != nil {
		w.pool.log.Warn("database connection not given up", "err", clean("close", err, ""))
	}
	w.session = nil
}

// group writes the calls of a lease in one transaction and gives their answers. Whatever comes of it, cached answers
// that rest on the tables are not found afterwards: the commit may have happened.
func (w *writer) group(ctx context.Context, l *lease) []answer {
	op, cancel := context.WithTimeout(ctx, w.pool.opt.OperationTimeout)
	defer cancel()
	w.pool.guard.mayCancel(l, cancel)
	answers := make([]answer, len(l.jobs))
	err := life.Call(func() error { return w.transact(op, l.jobs, answers) })
	if err != nil {
		err = w.pool.caught(l.jobs[0].statement, err)
		for i := range answers {
			if answers[i].err == nil {
				answers[i] = answer{err: err}
			}
		}
		w.renew(ctx)
	}
	for i, j := range l.jobs {
		if answers[i].err == nil || sdk.ClassOf(answers[i].err) == sdk.ClassUnknown {
			w.pool.tables.changed(j.call.tables, j.call.execs)
		}
	}
	return answers
}

// transact applies each call behind a savepoint and commits once. An error is that of every call that has none of its
// own, and leaves the session unusable.
func (w *writer) transact(ctx context.Context, jobs []*job, answers []answer) (err error) {
	if w.session == nil {
		if w.session, err = newSession(ctx, w.pool.dialect, w.pool.writer.Load()); err != nil {
			return err
		}
	}
	if err := w.session.begin(ctx); err != nil {
		return err
	}
	done := uint64(0)
	for i, j := range jobs {
		out, err := w.session.isolated(ctx, j.call)
		if err != nil && !permanent(err) {
			return ungrouped(err)
		}
		answers[i] = answer{out, err}
		if err == nil {
			done++
		} else if err := w.session.do(ctx, sqlRollback); err != nil {
			return sdk.WithClass(sdk.ClassUnavailable, err) // the call's own error has undone the others too: they come again
		}
		if err := w.session.do(ctx, sqlRelease); err != nil {
			return sdk.WithClass(sdk.ClassUnavailable, err)
		}
	}
	if err := w.session.do(ctx, "COMMIT"); err != nil {
		return uncertain(err)
	}
	w.pool.guard.wrote(done)
	return nil
}

// isolated applies one call behind a savepoint. Merged statements do not tell which change failed, so after a permanent
// error the call is applied again, change by change.
func (s *session) isolated(ctx context.Context, c *call) ([]sdk.Changed, error) {
	if err := s.do(ctx, sqlSave); err != nil {
		return nil, err
	}
	out, err := s.apply(ctx, c, c.merge)
	if err == nil || !permanent(err) || !c.merge {
		return out, err
	}
	if undo := s.do(ctx, sqlRollback); undo != nil {
		return nil, err
	}
	return s.apply(ctx, c, unmerged)
}

// unmerged is for apply: each change has its own statements.
const unmerged = false

// ungrouped takes the number of the change off an error that befell the whole transaction.
func ungrouped(err error) error {
	var ce *sdk.ChangeError
	if errors.As(err, &ce) {
		return ce.Err
	}
	return err
}

// uncertain is the error of a commit. Where the database said that it is locked or full it has undone the transaction;
// in every other case nobody knows.
func uncertain(err error) error {
	if sdk.ClassOf(err) == sdk.ClassBusy || errors.Is(err, ErrFull) {
		return err
	}
	return sdk.WithClass(sdk.ClassUnknown, fmt.Errorf("the outcome is not known: %w", err))
}

func (g *guard) wrote(calls uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commits++
	g.written += calls
}

package dbpool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// Write applies the changes in one transaction; see sdk.Store. In an embedded database it shares its commit with the
// writes of others that came meanwhile, but not their fate: each is undone alone if it fails. When ctx ends while it is
// being written, the outcome is unknown.
func (s *store) Write(ctx context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	c, err := s.pool.dialect.read(changes)
	if err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		return []sdk.Changed{}, nil
	}
	return s.submit(ctx, c)
}

// submit takes a lease for the call.
func (s *store) submit(ctx context.Context, c *call) ([]sdk.Changed, error) {
	c.sink = s.line.holder
	j := &job{line: s.line, lane: s.pool.writeLane(), statement: c.title(), rows: c.rows, call: c}
	out, err := s.pool.guard.do(ctx, j, s.pool.limits.Load().AcquireTimeout)
	if err != nil {
		return nil, err
	}
	return out.([]sdk.Changed), nil
}

// write writes the calls of a lease and gives their answers. Whatever comes of it, cached answers that rest on the
// tables are not found afterwards: the commit may have happened.
func (w *worker) write(ctx context.Context, l *lease) []answer {
	op, cancel := context.WithTimeout(ctx, w.pool.limits.Load().OperationTimeout)
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
	} else if err := w.session.rest(ctx); err != nil {
		w.pool.log.Warn("database connection not given back", "err", err)
	}
	for i, j := range l.jobs {
		if answers[i].err == nil || sdk.ClassOf(answers[i].err) == sdk.ClassUnknown {
			w.pool.tables.changed(j.call.tables, j.call.execs)
		}
	}
	return answers
}

// transact applies the calls and commits. An error is that of every call that has none of its own, and leaves the
// session unusable.
func (w *worker) transact(ctx context.Context, jobs []*job, answers []answer) error {
	if !w.pool.dialect.served {
		return w.together(ctx, jobs, answers)
	}
	for i, j := range jobs {
		if err := w.alone(ctx, j.call, &answers[i]); err != nil {
			return err
		}
	}
	return nil
}

// together applies each call behind a savepoint and commits once.
func (w *worker) together(ctx context.Context, jobs []*job, answers []answer) error {
	if len(jobs) == 1 {
		return w.sole(ctx, jobs[0].call, &answers[0])
	}
	s := w.session
	if err := w.begin(ctx, narrow); err != nil {
		return err
	}
	done := uint64(0)
	for i, j := range jobs {
		out, err := s.isolated(ctx, j.call)
		if err != nil && !permanent(err) {
			return ungrouped(err)
		}
		answers[i] = answer{out, err}
		if err == nil {
			done++
		} else if err := s.do(ctx, s.dialect.undo); err != nil {
			return sdk.WithClass(sdk.ClassUnavailable, err) // the call's own error has undone the others too: they come again
		}
		if err := s.do(ctx, s.dialect.release); err != nil {
			return sdk.WithClass(sdk.ClassUnavailable, err)
		}
	}
	if err := s.do(ctx, "COMMIT"); err != nil {
		return uncertain(err)
	}
	w.pool.guard.wrote(done)
	return nil
}

// sole applies a call that has the transaction to itself. It needs no savepoint, for which SQLite would keep a copy of
// every page that the call changes, most of them in a file. After a permanent error it is applied again, change by
// change, as in isolated.
func (w *worker) sole(ctx context.Context, c *call, a *answer) error {
	s := w.session
	for how := merged; ; how = apart {
		if err := w.begin(ctx, narrow); err != nil {
			return err
		}
		out, err := s.apply(ctx, c, how)
		if err == nil {
			if err := s.do(ctx, "COMMIT"); err != nil {
				return uncertain(err)
			}
			a.out = out
			w.pool.guard.wrote(1)
			return nil
		}
		if !permanent(err) {
			return ungrouped(err)
		}
		if undo := s.do(ctx, s.dialect.rollback); undo != nil {
			w.renew(ctx) // the error has undone the transaction itself
		}
		if how == apart || !c.merge {
			a.err = err
			return nil
		}
	}
}

// isolated applies one call behind a savepoint. Merged statements do not tell which change failed, so after a permanent
// error the call is applied again, change by change.
func (s *session) isolated(ctx context.Context, c *call) ([]sdk.Changed, error) {
	if err := s.do(ctx, s.dialect.save); err != nil {
		return nil, err
	}
	out, err := s.apply(ctx, c, merged)
	if err == nil || !permanent(err) || !c.merge {
		return out, err
	}
	if undo := s.do(ctx, s.dialect.undo); undo != nil {
		return nil, err
	}
	return s.apply(ctx, c, apart)
}

// alone writes one call in a transaction of its own. After a permanent error it is applied again, change by change: to
// know which one failed, to see a receipt that another transaction has written meanwhile, and to look again at tables
// that somebody changed. The call's own answer is put into a; the error is that of the session.
func (w *worker) alone(ctx context.Context, c *call, a *answer) error {
	s := w.session
	how := merged
	for {
		var out []sdk.Changed
		err := w.pool.again(ctx, func() (err error) {
			if out, err = w.attempt(ctx, c, how); cause(err).again {
				err = errors.Join(err, s.do(ctx, s.dialect.rollback))
			}
			return err
		})
		switch {
		case err == nil:
			a.out = out
			w.pool.guard.wrote(1)
			return nil
		case cause(err).again:
			a.err = ungrouped(err)
			return nil
		case !permanent(err):
			return ungrouped(err)
		}
		if undo := s.do(ctx, s.dialect.rollback); undo != nil {
			a.err = err
			return undo
		}
		next := apart
		if errors.Is(err, errTwice) {
			next = singly
		}
		if next <= how {
			a.err = err
			return nil
		}
		how = next
		s.known.forget(0)
	}
}

// begin starts a transaction. A connection may be dead and say so only now, as all have after a restart of the server:
// then nothing has happened yet, and a new one serves as well.
func (w *worker) begin(ctx context.Context, k lane) error {
	take := func(ctx context.Context) (*sql.Conn, *link, error) { return w.pool.take(ctx, k, w.lease) }
	err := w.session.open(ctx, take)
	if !broke(err, w.lease.last) {
		return err
	}
	w.renew(ctx)
	w.lease.last.tell(err)
	return w.session.open(ctx, take)
}

// attempt is one transaction with one call.
func (w *worker) attempt(ctx context.Context, c *call, how manner) ([]sdk.Changed, error) {
	s := w.session
	if err := w.begin(ctx, wide); err != nil {
		return nil, err
	}
	out, err := s.apply(ctx, c, how)
	if err != nil {
		return nil, err
	}
	mark := s.link.mark()
	if err := s.do(ctx, "COMMIT"); err != nil && s.link.sentSince(mark) {
		return nil, uncertain(err)
	} else if err != nil {
		return nil, err
	}
	return out, nil
}

// ungrouped takes the number of the change off an error that befell the whole transaction.
func ungrouped(err error) error {
	var ce *sdk.ChangeError
	if errors.As(err, &ce) {
		return ce.Err
	}
	return err
}

// uncertain is the error of a commit. Where the database said so it has undone the transaction; in every other case
// nobody knows.
func uncertain(err error) error {
	if cause(err).undone {
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

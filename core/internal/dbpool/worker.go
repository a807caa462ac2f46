package dbpool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// worker is what one goroutine has that serves leases.
type worker struct {
	pool    *Pool
	session *session
	turn    chan *lease // where its leases come
	lease   *lease      // that it serves now
}

// serve answers one lease of the lane after the other until the guard stops.
func (p *Pool) serve(k lane) func(context.Context) error {
	return func(ctx context.Context) error {
		known := p.known
		if !p.dialect.served {
			known = newCatalog() // one that is of its connection's version
		}
		w := &worker{pool: p, session: newSession(p.dialect, known), turn: make(chan *lease, 1)}
		for {
			l := p.guard.take(k, w.turn)
			if l == nil {
				return w.session.close()
			}
			w.lease = l
			answers := w.answer(ctx, l)
			p.note(ctx, l, answers)
			goOn, kept := p.guard.give(l, answers)
			if l.jobs[0].call != nil {
				runtime.Gosched() // who has an answer goes first: what they write next joins the next group
			}
			if kept != nil {
				p.reclaim(l, kept)
			}
			if !goOn {
				return w.session.close()
			}
		}
	}
}

// answer serves the lease, unless the server was lost since its requests were queued.
func (w *worker) answer(ctx context.Context, l *lease) (answers []answer) {
	if err := w.pool.breaker.allow(); err != nil {
		answers = make([]answer, len(l.jobs))
		for i, j := range l.jobs {
			answers[i].err = fmt.Errorf("%s: %w", j.statement, err)
		}
		return answers
	}
	if l.jobs[0].call != nil {
		answers = w.write(ctx, l)
	} else {
		answers = w.read(ctx, l.jobs[0])
	}
	if w.pool.breaker != nil {
		w.judge(answers[0].err)
	}
	return answers
}

// read runs a read. After an error that is no answer of the database a connection that is kept is given up.
func (w *worker) read(ctx context.Context, j *job) []answer {
	var out any
	err := life.Call(func() (err error) {
		out, err = j.run(w)
		return err
	})
	if err != nil && !permanent(err) {
		w.renew(ctx)
	}
	return []answer{{out, w.pool.caught(j.statement, err)}}
}

// reclaim cuts a connection that an operation did not give back, and has the handle exchanged, whose place it keeps.
func (p *Pool) reclaim(l *lease, kept *link) {
	kept.cut()
	p.log.Error("database operation ended without its connection; that is cut and the others are replaced", "holder", names(l.jobs), "statement", l.jobs[0].statement)
	if err := p.renew(l.jobs[0].lane); err != nil {
		p.log.Error("database connections not replaced", "err", err)
	}
}

// judge tells the breaker what an operation's end says about the server: an error that its time is over says nothing.
func (w *worker) judge(err error) {
	switch {
	case lost(err, w.lease.last):
		w.pool.breaker.fails(w.lease.since, err)
	case err == nil, cause(err).text != "":
		w.pool.breaker.works()
	}
}

// renew gives the connection up; the next lease gets another.
func (w *worker) renew(ctx context.Context) {
	if err := w.session.drop(ctx); err != nil {
		w.pool.log.Warn("database connection not given up", "err", w.pool.dialect.clean(ctx, "close", err, ""))
	}
}

// Conflicts with other transactions are tried again at once, so often and with such pauses.
const (
	maxAgain   = 3
	firstAgain = 10 * time.Millisecond
	lastAgain  = 100 * time.Millisecond
)

// again runs do, and after a conflict with another transaction runs it again.
func (p *Pool) again(ctx context.Context, do func() error) error {
	pause := life.Backoff{First: firstAgain, Longest: lastAgain}
	for n := 0; ; n++ {
		err := do()
		if !cause(err).again || n == maxAgain || pause.Wait(ctx) != nil {
			return err
		}
		p.guard.repeated()
	}
}

func (g *guard) repeated() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.repeats++
}

// caught gives a panic in an operation a class and a text, and logs it with its stack.
func (p *Pool) caught(statement string, err error) error {
	var bug *life.Panic
	if !errors.As(err, &bug) {
		return err
	}
	p.log.Error("database operation panicked", "statement", statement, "stack", string(bug.Stack))
	return sdk.WithClass(sdk.ClassUnknown, &faultError{text: statement + ": the host has a fault here; its log has the place"})
}

// note logs a finished operation: each one at debug if the query log is on, slow ones as a warning.
func (p *Pool) note(ctx context.Context, l *lease, answers []answer) {
	o := p.limits.Load()
	if !o.QueryLog && o.SlowQuery <= 0 {
		return
	}
	took := time.Since(l.since)
	for i, j := range l.jobs {
		if o.QueryLog && p.log.Enabled(ctx, slog.LevelDebug) {
			p.log.Debug("database operation", "holder", j.line.holder, "statement", j.statement, "took", took, "class", sdk.ClassOf(answers[i].err).String())
		}
		if o.SlowQuery > 0 && took >= o.SlowQuery {
			p.log.Warn("slow database operation", "holder", j.line.holder, "statement", j.statement, "took", took.Round(time.Millisecond), "waited", l.since.Sub(j.since).Round(time.Millisecond))
		}
	}
}

package dbpool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// Limits of an answer.
const (
	defaultRows = 1000
	mostRows    = 10_000
	mostBytes   = 4 << 20
)

// Query reads the whole answer under one lease; see sdk.Store. Beyond MaxRows or 4 MiB it is a permanent error. An
// answer is cached by statement, arguments, MaxRows and CacheFor, for every sink alike, until a Write changes one of
// its Tables. A Write with an Exec drops all cached answers, for its tables are not known; changes that triggers make in
// other tables, and those of other programs, are seen when the answer's time has passed.
func (s *store) Query(ctx context.Context, q sdk.Query) (sdk.Result, error) {
	st, err := parse(q.SQL)
	if err != nil {
		return sdk.Result{}, err
	}
	if !st.begins(s.pool.dialect.reads) {
		return sdk.Result{}, refused("run %s: a query begins with SELECT, WITH or VALUES", st.print)
	}
	if q.MaxRows == 0 {
		q.MaxRows = defaultRows
	}
	if q.MaxRows < 0 || q.MaxRows > mostRows {
		return sdk.Result{}, refused("run %s: MaxRows is %d; it must be 1 to %d", st.print, q.MaxRows, mostRows)
	}
	args, err := st.fill(q.Args)
	if err != nil {
		return sdk.Result{}, err
	}
	if q.CacheFor <= 0 || s.pool.opt.Cache == nil {
		return s.read(ctx, st, args, q.MaxRows)
	}
	return s.cached(ctx, q, st, args)
}

// cached asks the cache, under a key that holds the versions of the tables: what was read before a commit can never be
// found after it, however long it took to read.
func (s *store) cached(ctx context.Context, q sdk.Query, st *statement, args []any) (sdk.Result, error) {
	key := queryKey(q, args, s.pool.tables.of(q.Tables))
	raw, hit, err := s.pool.opt.Cache.GetOrLoad(ctx, key, q.CacheFor, func(ctx context.Context) ([]byte, error) {
		res, err := s.read(ctx, st, args, q.MaxRows)
		if err != nil {
			return nil, err
		}
		return encodeResult(res), nil
	})
	if err != nil {
		return sdk.Result{}, clean(st.print, err, st.words)
	}
	res, err := decodeResult(raw)
	if err != nil {
		return sdk.Result{}, fmt.Errorf("%s: read cached answer: %w", st.print, err)
	}
	res.Cached = hit
	return res, nil
}

// read takes a lease for one query.
func (s *store) read(ctx context.Context, st *statement, args []any, most int) (sdk.Result, error) {
	j := &job{line: s.line, kind: reading, statement: st.print}
	opCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	j.stop = cancel
	j.run = func(r *reads) (any, error) {
		ctx, cancel := context.WithTimeout(opCtx, s.pool.opt.OperationTimeout)
		defer cancel()
		return readAll(ctx, r.db, st, args, most)
	}
	out, err := s.pool.guard.do(ctx, j, s.pool.opt.AcquireTimeout)
	if err != nil {
		return sdk.Result{}, err
	}
	return out.(sdk.Result), nil
}

// readAll runs the query and reads its answer to the end.
func readAll(ctx context.Context, db *sql.DB, st *statement, args []any, most int) (res sdk.Result, err error) {
	rows, err := db.QueryContext(ctx, st.text, args...)
	if readOnly(err) {
		return res, refused("run %s: a query may only read", st.print)
	}
	if err != nil {
		return res, clean(st.print, err, st.words)
	}
	defer func() { err = either(err, rows.Close()) }()
	if res.Columns, err = rows.Columns(); err != nil {
		return res, clean(st.print, err, st.words)
	}
	size := 0
	into := make([]any, len(res.Columns))
	for rows.Next() {
		row := make([]any, len(into))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return res, clean(st.print, err, st.words)
		}
		for _, v := range row {
			size += sizeOf(v)
		}
		if len(res.Rows) == most || size > mostBytes {
			return res, sdk.Permanent(fmt.Errorf("%s: more than %d rows or %d MiB; ask for less, or raise MaxRows up to %d: %w",
				st.print, most, mostBytes>>20, mostRows, ErrTooMuch))
		}
		res.Rows = append(res.Rows, row)
	}
	return res, clean(st.print, rows.Err(), st.words)
}

// serveReads is one reader: it runs one query after the other until the guard stops.
func (p *Pool) serveReads(ctx context.Context) error {
	for {
		l := p.guard.take(reading)
		if l == nil {
			return nil
		}
		j := l.jobs[0]
		p.guard.mayCancel(l, j.stop)
		var out any
		err := life.Call(func() (err error) {
			out, err = j.run(p.reader.Load())
			return err
		})
		err = p.caught(j.statement, err)
		p.note(ctx, j, time.Since(l.since), err)
		if !p.guard.give(l, []answer{{out, err}}) {
			return nil
		}
	}
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
func (p *Pool) note(ctx context.Context, j *job, took time.Duration, err error) {
	if p.opt.QueryLog && p.log.Enabled(ctx, slog.LevelDebug) {
		p.log.Debug("database operation", "holder", j.line.holder, "statement", j.statement, "took", took, "class", sdk.ClassOf(err).String())
	}
	if p.opt.SlowQuery > 0 && took >= p.opt.SlowQuery {
		p.log.Warn("slow database operation", "holder", j.line.holder, "statement", j.statement, "took", took.Round(time.Millisecond), "waited", (time.Since(j.since) - took).Round(time.Millisecond))
	}
}

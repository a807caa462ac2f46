package dbpool

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// Limits of an answer.
const (
	defaultRows = 1000
	mostRows    = 10_000
	mostBytes   = 4 << 20
	mostNone    = time.Minute // that an answer without rows is kept
)

// Query reads the whole answer under one lease; see sdk.Store. Beyond MaxRows or 4 MiB it is a permanent error. An
// answer is cached by statement, arguments and limits, for every sink alike, until a Write changes one of its Tables,
// which may be named with their schema or without. A Write with an Exec drops all cached answers, for its tables are not
// known; changes that triggers make in other tables, and those of other programs, are seen when the answer's time has
// passed.
func (s *store) Query(ctx context.Context, q sdk.Query) (sdk.Result, error) {
	st, args, err := s.pool.dialect.reading(&q)
	if err != nil {
		return sdk.Result{}, err
	}
	if q.CacheFor <= 0 || s.pool.opt.Cache == nil {
		return s.read(ctx, st, args, q.MaxRows)
	}
	return s.cached(ctx, q, st, args)
}

// reading checks a query of a sink, and gives it what it leaves out.
func (d *dialect) reading(q *sdk.Query) (*statement, []any, error) {
	st, err := d.parse(q.SQL)
	if err != nil {
		return nil, nil, err
	}
	if !st.begins(d.reads) {
		return nil, nil, refused("run %s: a query begins with SELECT, WITH or VALUES", st.print)
	}
	if d.bars != nil {
		if word := d.bars(st, true); word != "" {
			return nil, nil, refused("run %s: a query may only read, and %s does more", st.print, word)
		}
	}
	if q.MaxRows == 0 {
		q.MaxRows = defaultRows
	}
	if q.MaxRows < 0 || q.MaxRows > mostRows {
		return nil, nil, refused("run %s: MaxRows is %d; it must be 1 to %d", st.print, q.MaxRows, mostRows)
	}
	args, err := d.fill(st, q.Args)
	return st, args, err
}

// cached asks the cache, under a key that holds the versions of the tables: what was read before a commit can never be
// found after it, however long it took to read.
func (s *store) cached(ctx context.Context, q sdk.Query, st *statement, args []any) (sdk.Result, error) {
	key := queryKey(q, stored(q.Args), s.pool.tables.of(q.Tables))
	raw, hit, err := s.pool.opt.Cache.GetOrLoad(ctx, key, q.CacheFor, func(ctx context.Context) ([]byte, error) {
		res, err := s.read(ctx, st, args, q.MaxRows)
		if err != nil {
			return nil, err
		}
		if len(res.Rows) == 0 {
			return nil, none{raw: encodeResult(res), ttl: min(q.CacheNoneFor, mostNone)}
		}
		return encodeResult(res), nil
	})
	if err != nil {
		return sdk.Result{}, s.pool.dialect.clean(ctx, st.print, err, st.words)
	}
	res, err := decodeResult(raw)
	if err != nil {
		return sdk.Result{}, fmt.Errorf("%s: read cached answer: %w", st.print, err)
	}
	res.Cached = hit
	return res, nil
}

// stored is the arguments as they are before a dialect gives them forms of its own, by which no key could tell them apart.
func stored(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		out[i], _ = toStored(a) // fill has refused what cannot be stored
	}
	return out
}

// none is an answer without rows on its way to the cache, which keeps it for a time of its own.
type none struct {
	raw []byte
	ttl time.Duration
}

// Error is what a cache would say that does not know Brief.
func (none) Error() string { return "the answer has no rows" }

// Brief is cache.Brief.
func (n none) Brief() ([]byte, time.Duration) { return n.raw, n.ttl }

// read takes a lease for one query.
func (s *store) read(ctx context.Context, st *statement, args []any, most int) (sdk.Result, error) {
	j := &job{line: s.line, lane: wide, statement: st.print, run: func(w *worker) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, w.pool.limits.Load().OperationTimeout)
		defer cancel()
		w.pool.guard.mayCancel(w.lease, cancel)
		return w.ask(ctx, cancel, st, args, most)
	}}
	out, err := s.pool.guard.do(ctx, j, s.pool.limits.Load().AcquireTimeout)
	if err != nil {
		return sdk.Result{}, err
	}
	return out.(sdk.Result), nil
}

// ask runs the query, and after a conflict, or on a connection that was dead before, runs it again.
func (w *worker) ask(ctx context.Context, stop context.CancelFunc, st *statement, args []any, most int) (res sdk.Result, err error) {
	ask := func() (err error) {
		res, err = w.once(ctx, stop, st, args, most)
		return err
	}
	if err = w.pool.again(ctx, ask); broke(err, w.lease.last) {
		w.lease.last.tell(err)
		err = ask()
	}
	return res, err
}

// once runs it on a connection that is lent, or on the worker's own, where that is kept.
func (w *worker) once(ctx context.Context, stop context.CancelFunc, st *statement, args []any, most int) (res sdk.Result, err error) {
	d, s := w.pool.dialect, w.session
	if d.served {
		err = w.pool.lend(ctx, w.lease, func(conn *sql.Conn) error {
			res, err = d.ask(ctx, stop, conn, nil, st, args, most)
			return err
		})
		return res, err
	}
	if err := w.keep(ctx); err != nil {
		return res, err
	}
	kept := s.kept
	if len(st.text) > maxKeptText {
		kept = nil
	}
	return d.ask(ctx, stop, s.conn, kept, st, args, most)
}

// keep makes sure that the worker has a connection, of the newest handle.
func (w *worker) keep(ctx context.Context) (err error) {
	s, db := w.session, w.pool.handleOf(wide)
	if s.conn != nil && s.db == db {
		return nil
	}
	if err := s.close(); err != nil {
		return w.pool.dialect.clean(ctx, "close", err, "")
	}
	s.conn, _, err = w.pool.take(ctx, wide, w.lease)
	s.db = db
	return err
}

// ask runs a query and reads its answer to the end, or ends ctx by stop. It has the driver do so: database/sql gives
// rows that are handed on a goroutine that waits for the end of ctx, and the driver has one of its own. Where kept is
// not nil, the statement stays prepared in it.
func (d *dialect) ask(ctx context.Context, stop context.CancelFunc, conn *sql.Conn, kept prepared, st *statement, args []any, most int) (res sdk.Result, err error) {
	err = conn.Raw(func(conn any) error {
		return kept.query(ctx, conn, st.text, args, func(rows driver.Rows) (err error) {
			if res, err = d.readAll(ctx, rows, st, most); err != nil {
				stop() // else the end of rows reads the rest
			}
			return err
		})
	})
	return res, d.asked(ctx, st, err)
}

// readAll reads an answer row by row.
func (d *dialect) readAll(ctx context.Context, rows driver.Rows, st *statement, most int) (sdk.Result, error) {
	res := sdk.Result{Columns: rows.Columns()}
	show := d.shows(rows)
	into := make([]driver.Value, len(res.Columns))
	size := 0
	for {
		if err := cmp.Or(ctx.Err(), rows.Next(into)); err == io.EOF { //nolint:errorlint // a driver gives it as it is
			return res, nil
		} else if err != nil {
			return res, err
		}
		row := make([]any, len(into))
		for i, v := range into {
			size += sizeOf(v)
			row[i] = show(i, v)
		}
		if len(res.Rows) == most || size > mostBytes {
			return res, sdk.Permanent(fmt.Errorf("%s: more than %d rows or %d MiB; ask for less, or raise MaxRows up to %d: %w",
				st.print, most, mostBytes>>20, mostRows, ErrTooMuch))
		}
		res.Rows = append(res.Rows, row)
	}
}

// shows gives a function for the form of the values of a column: bytes are not the driver's, a time is in UTC, and what
// else the dialect says.
func (d *dialect) shows(rows driver.Rows) func(i int, v any) any {
	types, ok := rows.(driver.RowsColumnTypeDatabaseTypeName)
	return func(i int, v any) any {
		if b, ok := v.([]byte); ok {
			v = bytes.Clone(b)
		}
		if d.shown != nil && ok {
			v = d.shown(types.ColumnTypeDatabaseTypeName(i), v)
		}
		return inUTC(v)
	}
}

func inUTC(v any) any {
	if t, ok := v.(time.Time); ok {
		return t.UTC()
	}
	return v
}

// asked is the error of a query.
func (d *dialect) asked(ctx context.Context, st *statement, err error) error {
	err = d.clean(ctx, st.print, err, st.words)
	if errors.Is(err, errReadOnly) {
		return refused("run %s: a query may only read", st.print)
	}
	return err
}

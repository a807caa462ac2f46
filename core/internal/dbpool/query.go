package dbpool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
	p := s.pool
	j := &job{line: s.line, lane: wide, statement: st.print}
	opCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	j.stop = cancel
	j.run = func(l *lease) (out any, err error) {
		ctx, cancel := context.WithTimeout(opCtx, p.opt.OperationTimeout)
		defer cancel()
		ask := func() error {
			return p.reading(ctx, l, func(db asker) (err error) {
				out, err = p.dialect.readAll(ctx, cancel, db, st, args, most)
				return err
			})
		}
		if err = p.again(ctx, ask); broke(err, l.last) {
			l.last.tell(err)
			err = ask()
		}
		return out, err
	}
	out, err := p.guard.do(ctx, j, p.opt.AcquireTimeout)
	if err != nil {
		return sdk.Result{}, err
	}
	return out.(sdk.Result), nil
}

// reading gives use what it can ask: a connection that the lease has, where there is a server.
func (p *Pool) reading(ctx context.Context, l *lease, use func(asker) error) error {
	if !p.dialect.served {
		return use(p.handleOf(wide))
	}
	return p.lend(ctx, l, func(conn *sql.Conn) error { return use(conn) })
}

// asker is a *sql.DB or a *sql.Conn.
type asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// readAll runs the query and reads its answer to the end, or ends ctx by stop.
func (d *dialect) readAll(ctx context.Context, stop context.CancelFunc, db asker, st *statement, args []any, most int) (res sdk.Result, err error) {
	rows, err := db.QueryContext(ctx, st.text, args...)
	if err != nil {
		return res, d.asked(ctx, st, err)
	}
	defer func() { err = d.either(ctx, err, rows.Close()) }()
	if res.Columns, err = rows.Columns(); err != nil {
		return res, d.asked(ctx, st, err)
	}
	show, err := d.shows(rows)
	if err != nil {
		return res, d.asked(ctx, st, err)
	}
	size := 0
	into := make([]any, len(res.Columns))
	for rows.Next() {
		row := make([]any, len(into))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return res, d.asked(ctx, st, err)
		}
		for i, v := range row {
			size += sizeOf(v)
			row[i] = show(i, v)
		}
		if len(res.Rows) == most || size > mostBytes {
			stop() // else Close reads the rest
			return res, sdk.Permanent(fmt.Errorf("%s: more than %d rows or %d MiB; ask for less, or raise MaxRows up to %d: %w",
				st.print, most, mostBytes>>20, mostRows, ErrTooMuch))
		}
		res.Rows = append(res.Rows, row)
	}
	return res, d.asked(ctx, st, rows.Err())
}

// shows gives a function for the form of the values of a column: a time is in UTC, and what else the dialect says.
func (d *dialect) shows(rows *sql.Rows) (func(i int, v any) any, error) {
	if d.shown == nil {
		return func(_ int, v any) any { return inUTC(v) }, nil
	}
	types, err := rows.ColumnTypes()
	return func(i int, v any) any { return inUTC(d.shown(types[i].DatabaseTypeName(), v)) }, err
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

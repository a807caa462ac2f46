package dbpool

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// SetQuiet shortens the time after which an idle connection to a server is pinged before it is used.
func SetQuiet(p *Pool, quiet time.Duration) { p.links.opt.quiet = quiet }

// Misuse runs use under a lease, as the host's own code would that has a fault: kept, it does not give its connection
// back.
func Misuse(ctx context.Context, p *Pool, holder string, kept bool, use func(context.Context, *sql.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.limits.Load().OperationTimeout)
	defer cancel()
	j := &job{line: p.guard.join(holder), lane: wide, statement: "LEAK"}
	j.run = func(w *worker) (any, error) {
		p.guard.mayCancel(w.lease, cancel)
		if !kept {
			return nil, p.lend(ctx, w.lease, func(c *sql.Conn) error { return use(ctx, c) })
		}
		c, _, err := p.take(ctx, wide, w.lease)
		if err != nil {
			return nil, err
		}
		return nil, use(ctx, c)
	}
	_, err := p.guard.do(ctx, j, p.limits.Load().AcquireTimeout)
	return err
}

// Alone asks q, whose answer is one row, by database/sql alone with a deadline: as most programs do, or with the
// statement prepared before. end closes it.
func Alone(ctx context.Context, o Options, q sdk.Query, prepare bool) (ask, end func() error, err error) {
	d, err := filled(&o)
	if err != nil {
		return nil, nil, err
	}
	c, err := d.connector(&o, mayRead, nil)
	if err != nil {
		return nil, nil, err
	}
	st, err := d.parse(q.SQL)
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(d.places(wide, o.MaxOpen))
	db.SetMaxIdleConns(d.places(wide, o.MaxOpen))
	run := func(ctx context.Context) (*sql.Rows, error) { return db.QueryContext(ctx, st.text, q.Args...) }
	if prepare {
		stmt, err := db.PrepareContext(ctx, st.text)
		if err != nil {
			return nil, nil, errors.Join(err, db.Close())
		}
		run = func(ctx context.Context) (*sql.Rows, error) { return stmt.QueryContext(ctx, q.Args...) }
	}
	ask = func() error {
		ctx, cancel := context.WithTimeout(ctx, o.OperationTimeout)
		defer cancel()
		rows, err := run(ctx)
		if err != nil {
			return err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if !rows.Next() {
			return errors.Join(rows.Err(), sql.ErrNoRows)
		}
		return errors.Join(rows.Scan(into...), rows.Close())
	}
	return ask, db.Close, nil
}

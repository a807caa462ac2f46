package dbpool

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// prepared is the queries and the statements for rows that a driver's connection has prepared, by their text. nil keeps none.
// Their drivers have all of database/sql's interfaces with a context.
type prepared map[string]driver.Stmt

// query runs a query on the driver's connection and has its rows read.
func (p prepared) query(ctx context.Context, conn any, text string, args []any, read func(driver.Rows) error) error {
	named, err := checked(conn, args)
	if err != nil {
		return err
	}
	if q, ok := conn.(driver.QueryerContext); ok && p == nil {
		if err := direct(ctx, q, text, named, read); !errors.Is(err, driver.ErrSkip) {
			return err
		}
	}
	st, err := p.prepare(ctx, conn, text)
	if err != nil {
		return err
	}
	err = indirect(ctx, st.(driver.StmtQueryContext), named, read)
	if p == nil {
		err = cmp.Or(err, st.Close())
	}
	return err
}

// direct runs a query that is not prepared.
func direct(ctx context.Context, q driver.QueryerContext, text string, args []driver.NamedValue, read func(driver.Rows) error) (err error) {
	rows, err := q.QueryContext(ctx, text, args)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, rows.Close()) }()
	return read(rows)
}

// indirect runs one that is.
func indirect(ctx context.Context, st driver.StmtQueryContext, args []driver.NamedValue, read func(driver.Rows) error) (err error) {
	rows, err := st.QueryContext(ctx, args)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, rows.Close()) }()
	return read(rows)
}

// checked gives arguments the form in which the driver takes them. They are of its own types already, or of none that
// need another.
func checked(conn any, args []any) ([]driver.NamedValue, error) {
	check, _ := conn.(driver.NamedValueChecker)
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
		if check == nil {
			continue
		}
		if err := check.CheckNamedValue(&out[i]); err != nil && !errors.Is(err, driver.ErrSkip) {
			return nil, err
		}
	}
	return out, nil
}

// prepare finds the statement, or prepares it.
func (p prepared) prepare(ctx context.Context, conn any, text string) (driver.Stmt, error) {
	if st := p[text]; st != nil {
		return st, nil
	}
	if len(p) >= maxKept {
		if err := p.close(); err != nil {
			return nil, err
		}
	}
	st, err := conn.(driver.ConnPrepareContext).PrepareContext(ctx, text)
	if err == nil && p != nil {
		p[text] = st
	}
	return st, err
}

// end lets all go before their connection does. One that is gone has taken them along.
func (p prepared) end(conn *sql.Conn) error {
	defer clear(p)
	if len(p) == 0 {
		return nil
	}
	return conn.Raw(func(any) error { return p.close() })
}

func (p prepared) close() error {
	defer clear(p)
	var errs []error
	for _, st := range p {
		errs = append(errs, st.Close())
	}
	return errors.Join(errs...)
}

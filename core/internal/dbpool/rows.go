package dbpool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// rowStmts are statements for rows that are prepared on a connection which is kept. They go past database/sql, which
// would check every value once more, and make a new list of them for every statement. The zero value is ready.
type rowStmts struct {
	stmts map[string]driver.Stmt
	args  []driver.NamedValue // empty between statements, so that no row is kept
}

// exec runs a statement with the values of its rows, each of a type that drivers take.
func (r *rowStmts) exec(ctx context.Context, conn *sql.Conn, text string, args []any) error {
	return conn.Raw(func(c any) error {
		st, err := r.stmt(ctx, c, text)
		if err != nil {
			return err
		}
		defer func() { clear(r.args) }()
		r.args = r.args[:0]
		for i, v := range args {
			r.args = append(r.args, driver.NamedValue{Ordinal: i + 1, Value: v})
		}
		_, err = st.ExecContext(ctx, r.args)
		return err
	})
}

// stmt prepares a statement, or finds it prepared.
func (r *rowStmts) stmt(ctx context.Context, conn any, text string) (driver.StmtExecContext, error) {
	st := r.stmts[text]
	if st == nil {
		if len(r.stmts) >= maxKept {
			if err := r.drop(); err != nil {
				return nil, err
			}
		}
		p, ok := conn.(driver.ConnPrepareContext)
		if !ok {
			return nil, fmt.Errorf("a connection of type %T prepares no statement", conn)
		}
		var err error
		if st, err = p.PrepareContext(ctx, text); err != nil {
			return nil, err
		}
		if r.stmts == nil {
			r.stmts = map[string]driver.Stmt{}
		}
		r.stmts[text] = st
	}
	e, ok := st.(driver.StmtExecContext)
	if !ok {
		return nil, fmt.Errorf("a statement of type %T takes no context", st)
	}
	return e, nil
}

// close lets go of all statements, before their connection is closed.
func (r *rowStmts) close(conn *sql.Conn) error {
	if len(r.stmts) == 0 {
		return nil
	}
	return conn.Raw(func(any) error { return r.drop() })
}

func (r *rowStmts) drop() error {
	errs := make([]error, 0, len(r.stmts))
	for _, st := range r.stmts {
		errs = append(errs, st.Close())
	}
	clear(r.stmts)
	return errors.Join(errs...)
}

package dbpool

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
)

// sqlserverDoor makes connections that outlive a deadline.
type sqlserverDoor struct{ *mssql.Connector }

// Connect is driver.Connector's. With an error the driver may give a connection that is none.
func (d sqlserverDoor) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := d.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return sqlserverConn{conn.(*mssql.Conn)}, nil
}

// sqlserverConn is a connection to which a deadline is a cancel. The driver takes context.DeadlineExceeded for an error of
// the network and gives the connection up, although the server has confirmed that the statement ended (1.11.2,
// Conn.checkBadConn).
type sqlserverConn struct{ *mssql.Conn }

// PrepareContext is driver.ConnPrepareContext's, by which database/sql runs every statement of this driver.
func (c sqlserverConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	st, err := c.Conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if plain, ok := st.(*mssql.Stmt); ok {
		return sqlserverStmt{plain}, nil
	}
	return st, nil
}

// Ping is driver.Pinger's.
func (c sqlserverConn) Ping(ctx context.Context) error {
	return ended(ctx, c.Conn.Ping(cancels{ctx})) //nolint:contextcheck // ctx is in it
}

type sqlserverStmt struct{ *mssql.Stmt }

// ExecContext is driver.StmtExecContext's.
func (s sqlserverStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	res, err := s.Stmt.ExecContext(cancels{ctx}, args) //nolint:contextcheck // ctx is in it
	return res, ended(ctx, err)
}

// QueryContext is driver.StmtQueryContext's.
func (s sqlserverStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.Stmt.QueryContext(cancels{ctx}, args) //nolint:contextcheck // ctx is in it
	if err != nil {
		return nil, ended(ctx, err)
	}
	return rows, nil
}

// ended gives back the end that ctx had.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// cancels is a context that ends as the one in it does, but always as one that was cancelled, those derived from it too.
// It hides the values: by one of them a derived context would find the real end.
type cancels struct{ context.Context }

// Deadline is context.Context's.
func (cancels) Deadline() (time.Time, bool) { return time.Time{}, false }

// Err is context.Context's.
func (c cancels) Err() error {
	if c.Context.Err() != nil {
		return context.Canceled
	}
	return nil
}

// Value is context.Context's.
func (cancels) Value(any) any { return nil }

package dbpool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"
)

const (
	mostInStatement = 64  // rows in one insert; more gained nothing when it was measured
	maxKept         = 256 // statements, shapes and tables that a session keeps of each
	undoTime        = 5 * time.Second
)

// session is the writer's connection with what was prepared and learnt on it. It belongs to the writer's goroutine.
type session struct {
	dialect *dialect
	conn    *sql.Conn
	version int64 // of the catalog that tables and shapes rest on
	tables  map[string]*table
	shapes  map[string]*shape
	stmts   map[string]*sql.Stmt
}

func newSession(ctx context.Context, d *dialect, db *sql.DB) (*session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, clean("connect for writing", err, "")
	}
	return &session{dialect: d, conn: conn, version: -1, tables: map[string]*table{}, shapes: map[string]*shape{}, stmts: map[string]*sql.Stmt{}}, nil
}

// drop undoes the transaction, if there is one, and gives the connection up rather than back: after an error nobody
// knows what state it is in. The error says that the connection could not be given up.
func (s *session) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, undoTime)
	defer cancel()
	_, undo := s.conn.ExecContext(ctx, "ROLLBACK")
	// A bad connection is closed by database/sql, which undoes the transaction even where the statement could not.
	err := s.conn.Raw(func(any) error { return errors.Join(driver.ErrBadConn, undo) })
	if errors.Is(err, driver.ErrBadConn) {
		return nil
	}
	return errors.Join(err, s.conn.Close())
}

// begin starts a transaction and forgets what it knew of the tables if somebody changed one.
func (s *session) begin(ctx context.Context) error {
	if err := s.do(ctx, s.dialect.begin); err != nil {
		return err
	}
	st, err := s.stmt(ctx, sqlVersion) //nolint:sqlclosecheck // kept by the session
	if err != nil {
		return clean("read the catalog", err, "")
	}
	var version int64
	if err := st.QueryRowContext(ctx).Scan(&version); err != nil {
		return clean("read the catalog", err, "")
	}
	if version != s.version {
		clear(s.tables)
		clear(s.shapes)
		s.version = version
	}
	return nil
}

// do runs one of the host's own statements.
func (s *session) do(ctx context.Context, text string) error {
	st, err := s.stmt(ctx, text) //nolint:sqlclosecheck // kept by the session
	if err == nil {
		_, err = st.ExecContext(ctx)
	}
	return clean(text, err, "")
}

// stmt prepares a statement, or finds it prepared.
func (s *session) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if st := s.stmts[text]; st != nil {
		return st, nil
	}
	if len(s.stmts) >= maxKept {
		for _, st := range s.stmts {
			if err := st.Close(); err != nil {
				return nil, err
			}
		}
		clear(s.stmts)
	}
	st, err := s.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	s.stmts[text] = st
	return st, nil
}

// insert writes n rows with as few statements as their kept sizes allow: powers of two.
func (s *session) insert(ctx context.Context, sh *shape, args []any, n int) error {
	for size := sh.most; n > 0; {
		for size > n {
			size /= 2
		}
		text := sh.sql[size]
		if text == "" {
			text = s.dialect.insertSQL(sh, size)
			sh.sql[size] = text
		}
		st, err := s.stmt(ctx, text) //nolint:sqlclosecheck // kept by the session
		if err == nil {
			_, err = st.ExecContext(ctx, args[:size*len(sh.columns)]...)
		}
		if err != nil {
			return clean(sh.title(), err, text)
		}
		args, n = args[size*len(sh.columns):], n-size
	}
	return nil
}

func (sh *shape) title() string {
	if len(sh.key) > 0 {
		return "upsert into " + sh.table
	}
	return "insert into " + sh.table
}

package dbpool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"time"
)

const (
	maxKept     = 256  // statements, shapes and tables that a session keeps of each
	maxKeptText = 4096 // bytes of a sink's statement that is kept
	undoTime    = 5 * time.Second
)

// session is what a worker has of the database: a connection, and what it learnt. It belongs to the worker's goroutine.
type session struct {
	dialect *dialect
	conn    *sql.Conn // nil between leases where the database is served: the handle looks after it then
	link    *link     // of conn, where the database is served
	db      *sql.DB   // that conn is of, where it is kept to read
	known   *catalog
	version int64                // of the catalog that known is of, where the database tells it
	stmts   map[string]*sql.Stmt // prepared on conn, where it is kept to write
	kept    prepared             // the same past database/sql: queries, and statements for rows
	args    []driver.NamedValue  // of the latter; empty between statements, so that no row is kept
}

func newSession(d *dialect, known *catalog) *session {
	return &session{dialect: d, known: known, version: -1, stmts: map[string]*sql.Stmt{}, kept: prepared{}}
}

// open makes sure that there is a connection, and starts a transaction on it.
func (s *session) open(ctx context.Context, take func(context.Context) (*sql.Conn, *link, error)) (err error) {
	if s.conn == nil {
		if s.conn, s.link, err = take(ctx); err != nil {
			return err
		}
	}
	return s.begin(ctx)
}

// rest gives the connection back between leases, where it is not kept.
func (s *session) rest(ctx context.Context) error {
	if s.conn == nil || !s.dialect.served {
		return nil
	}
	return s.dialect.clean(ctx, "give back", s.close(), "")
}

// close lets everything go, without a transaction in it.
func (s *session) close() error {
	if s.conn == nil {
		return nil
	}
	err := errors.Join(s.kept.end(s.conn), s.conn.Close())
	s.conn, s.link = nil, nil
	return err
}

// drop undoes the transaction, if there is one, and gives the connection up rather than back: after an error nobody
// knows what state it is in. The error says that the connection could not be given up.
func (s *session) drop(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	clear(s.stmts)
	var undo error
	if !s.dialect.served { // a server undoes it when its connection goes
		ctx, cancel := context.WithTimeout(ctx, undoTime)
		defer cancel()
		_, undo = s.conn.ExecContext(ctx, s.dialect.rollback)
	}
	err := discard(s.conn, errors.Join(undo, s.kept.end(s.conn)))
	s.conn, s.link = nil, nil
	return err
}

// discard has the connection closed, if it is not: one that a driver calls bad is, and its transaction is undone by that.
func discard(conn *sql.Conn, undo error) error {
	err := conn.Raw(func(any) error { return errors.Join(driver.ErrBadConn, undo) })
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		return nil
	}
	return errors.Join(err, conn.Close())
}

// begin starts a transaction and forgets what it knew of the tables if somebody may have changed one.
func (s *session) begin(ctx context.Context) error {
	if err := s.do(ctx, s.dialect.begin); err != nil {
		return err
	}
	if s.dialect.version == "" {
		s.known.forget(catalogAge)
		return nil
	}
	st, err := s.stmt(ctx, s.dialect.version) //nolint:sqlclosecheck // kept by the session
	if err != nil {
		return s.dialect.clean(ctx, "read the catalog", err, "")
	}
	var version int64
	if err := st.QueryRowContext(ctx).Scan(&version); err != nil {
		return s.dialect.clean(ctx, "read the catalog", err, "")
	}
	if version != s.version {
		s.known.forget(0)
		s.version = version
	}
	return nil
}

// do runs one of the host's own statements.
func (s *session) do(ctx context.Context, text string) error {
	_, err := s.exec(ctx, text)
	word, _, _ := strings.Cut(text, ";")
	return s.dialect.clean(ctx, word, err, "")
}

// exec runs a statement on the connection, prepared where that is kept.
func (s *session) exec(ctx context.Context, text string, args ...any) (sql.Result, error) {
	if s.dialect.served {
		return s.conn.ExecContext(ctx, text, args...)
	}
	st, err := s.stmt(ctx, text) //nolint:sqlclosecheck // kept by the session
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

// query is as exec, for rows; the caller closes them.
func (s *session) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if s.dialect.served {
		return s.conn.QueryContext(ctx, text, args...)
	}
	st, err := s.stmt(ctx, text) //nolint:sqlclosecheck // kept by the session
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
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

// insert writes n rows with as few statements as the database allows, none of more than most rows.
func (s *session) insert(ctx context.Context, sh *shape, args []any, n, most int) error {
	for n > 0 {
		text, params, took := s.dialect.insert(sh, args, min(n, most))
		if err := s.send(ctx, text, params); err != nil {
			return s.dialect.clean(ctx, sh.title(), err, text)
		}
		args, n = args[took*len(sh.columns):], n-took
	}
	return nil
}

// send runs a statement for rows.
func (s *session) send(ctx context.Context, text string, args []any) error {
	if s.dialect.served {
		_, err := s.conn.ExecContext(ctx, text, args...)
		return err
	}
	return s.conn.Raw(func(c any) error { return s.rows(ctx, c, text, args) })
}

// rows runs a statement for rows past database/sql, which would check every value once more, and make a new list of them
// for every statement. Each value is of a type that drivers take.
func (s *session) rows(ctx context.Context, conn any, text string, args []any) error {
	st, err := s.kept.prepare(ctx, conn, text)
	if err != nil {
		return err
	}
	defer func() { clear(s.args) }()
	s.args = s.args[:0]
	for i, v := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	_, err = st.(driver.StmtExecContext).ExecContext(ctx, s.args)
	return err
}

func (sh *shape) title() string {
	if len(sh.key) > 0 {
		return "upsert into " + sh.name
	}
	return "insert into " + sh.name
}

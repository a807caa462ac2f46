package dbpool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// calls is what a driver was asked, in order.
type calls struct{ names []string }

func (c *calls) add(name string) { c.names = append(c.names, name) }

func (c *calls) are(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(c.names, want) {
		t.Errorf("the driver was asked %q, want %q", c.names, want)
	}
	c.names = nil
}

// bareConn can only what a driver must.
type bareConn struct{ *calls }

func (c bareConn) Prepare(string) (driver.Stmt, error) { c.add("prepare"); return bareStmt(c), nil }
func (c bareConn) Close() error                        { c.add("close"); return nil }
func (c bareConn) Begin() (driver.Tx, error)           { c.add("begin"); return bareTx(c), nil }

type bareStmt struct{ *calls }

func (s bareStmt) Close() error  { s.add("stmt close"); return nil }
func (s bareStmt) NumInput() int { return -1 }
func (s bareStmt) Exec(args []driver.Value) (driver.Result, error) {
	for _, a := range args {
		if _, ok := a.(int64); !ok {
			s.add("raw argument")
		}
	}
	s.add("stmt exec")
	return driver.ResultNoRows, nil
}

func (s bareStmt) Query([]driver.Value) (driver.Rows, error) {
	s.add("stmt query")
	return noRows{}, nil
}

type bareTx struct{ *calls }

func (x bareTx) Commit() error   { x.add("commit"); return nil }
func (x bareTx) Rollback() error { x.add("rollback"); return nil }

type noRows struct{}

func (noRows) Columns() []string         { return []string{"a"} }
func (noRows) Close() error              { return nil }
func (noRows) Next([]driver.Value) error { return io.EOF }

// fullConn can all that database/sql asks for.
type fullConn struct {
	bareConn
	valid bool
}

func (c *fullConn) PrepareContext(context.Context, string) (driver.Stmt, error) {
	c.add("prepare context")
	return bareStmt(c.bareConn), nil
}

func (c *fullConn) BeginTx(_ context.Context, o driver.TxOptions) (driver.Tx, error) {
	if o.ReadOnly {
		c.add("begin read-only")
	} else {
		c.add("begin tx")
	}
	return bareTx(c.bareConn), nil
}

func (c *fullConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	c.add("exec")
	return driver.ResultNoRows, nil
}

func (c *fullConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	c.add("query")
	return noRows{}, nil
}

func (c *fullConn) CheckNamedValue(*driver.NamedValue) error { c.add("check"); return nil }
func (c *fullConn) ResetSession(context.Context) error       { c.add("reset"); return nil }
func (c *fullConn) IsValid() bool                            { c.add("valid"); return c.valid }
func (c *fullConn) Ping(context.Context) error               { c.add("ping"); return nil }

// queryConn runs queries directly and nothing else.
type queryConn struct{ bareConn }

func (c queryConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	c.add("query")
	return noRows{}, nil
}

// checkConn checks arguments and only prepares, as go-mssqldb does.
type checkConn struct{ bareConn }

func (c checkConn) CheckNamedValue(*driver.NamedValue) error { c.add("check"); return nil }

func linked(t *testing.T, inner driver.Conn) *sql.DB {
	t.Helper()
	nothingLeft(t)
	all := newConnections(t.Context(), connectOptions{fault: toyFault, bound: time.Minute, login: func(context.Context, dialFunc) (driver.Conn, error) {
		return inner, nil
	}})
	db := sql.OpenDB(all.generation(nil))
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := errors.Join(db.Close(), all.stop()); err != nil {
			t.Error(err)
		}
	})
	return db
}

// What database/sql asks of a driver must reach it, and what a driver cannot must fall back as without us.
func TestLinkKeepsAbilities(t *testing.T) {
	ctx := t.Context()
	exec := func(db *sql.DB) error { _, err := db.ExecContext(ctx, "x", 1); return err }
	query := func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, "x")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			return errors.New("a row of nothing")
		}
		return rows.Err()
	}
	begin := func(o *sql.TxOptions) func(*sql.DB) error {
		return func(db *sql.DB) error {
			tx, err := db.BeginTx(ctx, o)
			if err != nil {
				return err
			}
			return tx.Commit()
		}
	}
	ping := func(db *sql.DB) error { return db.PingContext(ctx) }
	c := &calls{}
	bare, full := bareConn{c}, &fullConn{bareConn{c}, true}
	for _, test := range []struct {
		name  string
		inner driver.Conn
		do    func(*sql.DB) error
		want  []string
		fault string
	}{
		{name: "exec, prepared", inner: bare, do: exec, want: []string{"prepare", "stmt exec", "stmt close"}},
		{name: "query, prepared", inner: bare, do: query, want: []string{"prepare", "stmt query", "stmt close"}},
		{name: "begin", inner: bare, do: begin(nil), want: []string{"begin", "commit"}},
		{name: "begin with options", inner: bare, do: begin(&sql.TxOptions{ReadOnly: true}), fault: "no read-only"},
		{name: "ping", inner: bare, do: ping},
		{name: "exec", inner: full, do: exec, want: []string{"check", "exec", "valid"}},
		{name: "query", inner: full, do: query, want: []string{"query", "valid"}},
		{name: "begin tx", inner: full, do: begin(&sql.TxOptions{ReadOnly: true}), want: []string{"begin read-only", "commit", "valid"}},
		{name: "ping", inner: full, do: ping, want: []string{"ping", "valid"}},
		{name: "query only: exec", inner: queryConn{bare}, do: exec, want: []string{"prepare", "stmt exec", "stmt close"}},
		{name: "query only: query", inner: queryConn{bare}, do: query, want: []string{"query"}},
		{name: "check only: exec", inner: checkConn{bare}, do: exec, want: []string{"prepare", "check", "raw argument", "stmt exec", "stmt close"}},
		{name: "reset", inner: full, do: func(db *sql.DB) error { return errors.Join(ping(db), ping(db)) }, want: []string{"ping", "valid", "reset", "ping", "valid"}},
		{name: "raw", inner: full, do: func(db *sql.DB) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			return conn.Raw(func(dc any) error {
				if in := dc.(interface{ Unwrap() driver.Conn }).Unwrap(); in != full {
					return errors.New("another connection")
				}
				return nil
			})
		}, want: []string{"valid"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.do(linked(t, test.inner))
			if test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("got error %v", err)
			}
			c.are(t, test.want...)
		})
		c.are(t, "close")
	}
}

func TestLinkContextOfBareDriver(t *testing.T) {
	c := &calls{}
	l := &link{inner: bareConn{c}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.PrepareContext(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c.are(t, "prepare", "stmt close")
	if _, err := l.BeginTx(ctx, driver.TxOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c.are(t, "begin", "rollback")
}

func TestLinkIsRefused(t *testing.T) {
	c := &calls{}
	full := &fullConn{bareConn{c}, false}
	db := linked(t, full)
	for range 2 {
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.are(t, "ping", "valid", "close", "ping", "valid", "close")

	full.valid = true
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l, err := linkOf(conn)
	if err != nil {
		t.Fatal(err)
	}
	l.cut()
	if _, err := conn.ExecContext(t.Context(), "x"); !errors.Is(err, driver.ErrBadConn) {
		t.Errorf("got %v", err)
	}
	c.are(t, "close")
}

// What a driver dials by itself can be cut too.
func TestLinkAdopts(t *testing.T) {
	var mate net.Conn
	all := newConnections(t.Context(), connectOptions{fault: toyFault, bound: 100 * time.Millisecond, login: func(ctx context.Context, _ dialFunc) (driver.Conn, error) {
		own, other := net.Pipe()
		mate = other
		nc, err := adopt(ctx, own)
		if err != nil {
			return nil, err
		}
		_, err = nc.Read(make([]byte, 1)) // a login that is never answered
		return nil, err
	}})
	_, err := all.generation(nil).Connect(t.Context())
	isConnectError(t, err, "does not answer the login")
	if _, err := mate.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the pipe is open: %v", err)
	}
	if n := all.counts(); n.Sockets != 0 {
		t.Errorf("got %+v", n)
	}
	if err := all.stop(); err != nil {
		t.Error(err)
	}
}

// What a driver leaves open behind a closed connection is cut after a while.
func TestLinkLingers(t *testing.T) {
	r := newRig(t, hears)
	inner := &lazyClose{}
	login := r.opt.login
	r.opt.login = func(ctx context.Context, dial dialFunc) (driver.Conn, error) {
		c, err := login(ctx, dial)
		inner.Conn = c
		return inner, err
	}
	r.hold(1)
	r.db.SetMaxIdleConns(0)
	r.sweep()
	if n := r.counts(); n.Links != 0 || n.Sockets != 1 {
		t.Fatalf("got %+v", n)
	}
	for l := range r.links {
		l.closed = l.closed.Add(-2 * lingerTime)
	}
	r.sweep()
	if n := r.counts(); n.Sockets != 0 || len(r.links) != 0 {
		t.Errorf("got %+v, %d links known", n, len(r.links))
	}
	r.db.SetMaxIdleConns(rigOpen)
}

// lazyClose leaves its socket open.
type lazyClose struct{ driver.Conn }

func (*lazyClose) Close() error { return nil }

func (c *lazyClose) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, q, args)
}

func BenchmarkTake(b *testing.B) {
	all := newConnections(b.Context(), connectOptions{fault: toyFault, bound: time.Minute, login: func(context.Context, dialFunc) (driver.Conn, error) {
		return bareConn{&calls{}}, nil
	}})
	db := sql.OpenDB(all.generation(nil))
	defer db.Close()
	ctx := b.Context()
	b.Run("Conn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c, err := db.Conn(ctx)
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	b.Run("ConnLink", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c, err := db.Conn(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := linkOf(c); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
}

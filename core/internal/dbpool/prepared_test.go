package dbpool

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// counting is a driver's connection that counts the statements it has.
type counting struct {
	driver.Conn
	prepared, open int
}

func (c *counting) PrepareContext(context.Context, string) (driver.Stmt, error) {
	c.prepared++
	c.open++
	return &counted{conn: c}, nil
}

type counted struct {
	driver.Stmt
	conn *counting
}

func (s *counted) Close() error { s.conn.open--; return nil }

func (*counted) QueryContext(context.Context, []driver.NamedValue) (driver.Rows, error) {
	return &oneZero{}, nil
}

func TestPreparedQueriesAreBounded(t *testing.T) {
	none := func(driver.Rows) error { return nil }
	ask := func(p prepared, c *counting, text string) {
		t.Helper()
		if err := p.query(t.Context(), c, text, nil, none); err != nil {
			t.Fatal(err)
		}
	}
	kept := &counting{}
	p := prepared{}
	for n := range 3 * maxKept {
		for range 2 {
			ask(p, kept, fmt.Sprint("SELECT ", n))
		}
		if kept.open > maxKept || kept.open != len(p) {
			t.Fatalf("%d open, %d known", kept.open, len(p))
		}
	}
	if kept.prepared != 3*maxKept {
		t.Errorf("prepared %d times", kept.prepared)
	}
	if err := p.close(); err != nil || kept.open != 0 || len(p) != 0 {
		t.Errorf("%v, %d open, %d known", err, kept.open, len(p))
	}
	once := &counting{}
	ask(nil, once, "SELECT 1")
	if once.prepared != 1 || once.open != 0 {
		t.Errorf("%d prepared, %d open", once.prepared, once.open)
	}
}

func TestStatementsThatAreKnownAreBounded(t *testing.T) {
	d := sqliteDialect()
	for n := range 2 * maxKept {
		if _, err := d.parse(fmt.Sprint("SELECT ", n)); err != nil {
			t.Fatal(err)
		}
		if len(d.known.by) > maxKept {
			t.Fatalf("%d are known", len(d.known.by))
		}
	}
	for text, known := range map[string]bool{"SELECT 1": true, "SELECT '" + strings.Repeat("x", maxKeptText) + "'": false} {
		first, err := d.parse(text)
		again, err2 := d.parse(text)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if (first == again) != known || first.text != again.text || first.print != again.print {
			t.Errorf("%.20s: known %v, want %v", text, first == again, known)
		}
	}
	for range 2 {
		if _, err := d.parse("SELECT 1; SELECT 2"); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
}

// newFilePool runs a pool on a file of its own until the test ends.
func newFilePool(t *testing.T, o Options) *Pool {
	t.Helper()
	o.Path = filepath.Join(t.TempDir(), "hostd.db")
	p, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := life.NewGroup(ctx)
	g.Go("pool", p.Run)
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(g.Wait(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// When the handle is exchanged, a reader that kept a connection of the old one goes over to the new one.
func TestAReaderLeavesAnOldHandle(t *testing.T) {
	p := newFilePool(t, Options{MaxOpen: 2})
	s := p.Store("emr")
	for range 2 {
		if _, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT count(*) FROM exam"}); err != nil {
			t.Fatal(err)
		}
		old := p.handleOf(wide)
		if n := old.Stats().OpenConnections; n != 1 {
			t.Errorf("%d connections", n)
		}
		if err := p.renew(wide); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT count(*) FROM exam"}); err != nil {
			t.Fatal(err)
		}
		if n := old.Stats().OpenConnections; n != 0 {
			t.Errorf("%d connections of the old handle", n)
		}
	}
}

// A query that is wrong does not cost its connection, one that did not end does.
func TestWhichErrorsCostAConnection(t *testing.T) {
	p := newFilePool(t, Options{MaxOpen: 2})
	s := p.Store("emr")
	var conn any
	same := func() bool {
		t.Helper()
		var now any
		j := &job{line: p.guard.join("emr"), lane: wide, statement: "LOOK", run: func(w *worker) (any, error) {
			if err := w.keep(t.Context()); err != nil {
				return nil, err
			}
			now = w.session.conn
			return nil, nil
		}}
		if _, err := p.guard.do(t.Context(), j, p.opt.AcquireTimeout); err != nil {
			t.Fatal(err)
		}
		was := conn
		conn = now
		return was == now
	}
	same()
	if _, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT nothing FROM exam"}); sdk.ClassOf(err) != sdk.ClassPermanent {
		t.Fatalf("got %v", err)
	}
	if !same() {
		t.Error("a wrong name cost the connection")
	}
	ctx, cancel := context.WithCancel(t.Context())
	j := &job{line: p.guard.join("emr"), lane: wide, statement: "END", run: func(w *worker) (any, error) {
		cancel()
		st, err := p.dialect.parse("SELECT 1")
		if err != nil {
			return nil, err
		}
		return w.ask(ctx, cancel, st, nil, 1)
	}}
	if _, err := p.guard.do(t.Context(), j, p.opt.AcquireTimeout); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if same() {
		t.Error("the connection was kept after an operation that did not end")
	}
	j = &job{line: p.guard.join("emr"), lane: wide, statement: "PANIC", run: func(w *worker) (any, error) {
		return nil, w.session.conn.Raw(func(any) error { panic("a fault of the driver") })
	}}
	if _, err := p.guard.do(t.Context(), j, p.opt.AcquireTimeout); sdk.ClassOf(err) != sdk.ClassUnknown {
		t.Fatalf("got %v", err)
	}
	if same() {
		t.Error("the connection was kept after a panic")
	}
}

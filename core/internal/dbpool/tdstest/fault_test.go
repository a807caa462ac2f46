package tdstest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
)

const text = "upsert @p1"

func store(t *testing.T, db *sql.DB, id int) error {
	_, err := db.ExecContext(t.Context(), text, mssql.NVarCharMax(fmt.Sprintf(`[{"id":%d,"n":1}]`, id)))
	return err
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		name string
		at   tdstest.Point
		do   tdstest.Act
		kept int
	}{
		{"before", tdstest.Received, tdstest.Cut, 0},
		{"before, with RST", tdstest.Received, tdstest.Abort, 0},
		{"after", tdstest.Answer, tdstest.Cut, 1},
		{"after, with RST", tdstest.Answer, tdstest.Abort, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv, tables := exams(t)
			db := open(t, srv)
			cut := srv.Inject(tdstest.Fault{At: test.at, Do: test.do})
			if err := store(t, db, 1); !lost(err) || errors.Is(err, io.EOF) != (test.do == tdstest.Cut) {
				t.Errorf("got %v", err)
			}
			<-cut.Hit()
			if n := tables.Count("exam"); n != test.kept {
				t.Errorf("%d rows were kept, want %d", n, test.kept)
			}
			if err := store(t, db, 1); err != nil || tables.Count("exam") != 1 {
				t.Errorf("again: %v, %d rows", err, tables.Count("exam"))
			}
		})
	}
}

// The commit of a transaction of the driver is a request of its own; what was done before it goes with the connection.
func TestCutAtCommit(t *testing.T) {
	for at, kept := range map[tdstest.Point]int{tdstest.Received: 0, tdstest.Answer: 1} {
		srv, tables := exams(t)
		srv.Inject(tdstest.Fault{At: at, Do: tdstest.Cut, When: func(r tdstest.Request) bool { return r.Kind == tdstest.Commit }})
		tx, err := open(t, srv).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, tx, "add @p1", 1)
		if err := tx.Commit(); !lost(err) {
			t.Errorf("commit: %v", err)
		}
		await(t, srv, func(c tdstest.Counts) bool { return c.Committed+c.Undone == 1 })
		if n := tables.Count("exam"); n != kept {
			t.Errorf("cut at point %d: %d rows were kept, want %d", at, n, kept)
		}
	}
}

func TestCutAtEveryByte(t *testing.T) {
	srv, tables := exams(t)
	db := open(t, srv)
	failed := 0
	for n := 0; ; n++ {
		cut := srv.Inject(tdstest.Fault{At: tdstest.Answer, Do: tdstest.Cut, Bytes: n, When: func(r tdstest.Request) bool { return r.Text == text }})
		err := store(t, db, n)
		<-cut.Hit()
		if tables.Count("exam") != n+1 {
			t.Fatalf("%d rows after a cut at byte %d", tables.Count("exam"), n)
		}
		if err == nil {
			break // the whole answer left
		}
		if failed++; !lost(err) {
			t.Errorf("cut at byte %d: %v", n, err)
		}
	}
	// Packet header, ENVCHANGE of reset, begin and commit, DONEINPROC, RETURNSTATUS, DONEPROC.
	if want := 8 + 6 + 14 + 14 + 13 + 5 + 13; failed != want {
		t.Errorf("%d cuts were seen, want %d", failed, want)
	}
}

func TestFreezeAndThaw(t *testing.T) {
	srv, tables := exams(t)
	db := open(t, srv)
	for i, at := range []tdstest.Point{tdstest.Received, tdstest.Answer} {
		freeze := srv.Inject(tdstest.Fault{At: at, Do: tdstest.Freeze, Bytes: 20})
		done := make(chan error, 1)
		go func() { done <- store(t, db, i) }()
		<-freeze.Hit()
		if n := tables.Count("exam"); n != 2*i {
			t.Errorf("frozen at point %d: %d rows", at, n)
		}
		srv.Sessions()[0].Thaw()
		if err := <-done; err != nil || tables.Count("exam") != i+1 {
			t.Errorf("thawed: %v, %d rows", err, tables.Count("exam"))
		}
		if i == 0 {
			if err := store(t, db, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	srv.Freeze()
	done := make(chan error, 2)
	for range 2 { // one on the connection that is there, one on a new one
		go func() { done <- store(t, db, 9) }()
	}
	await(t, srv, func(c tdstest.Counts) bool { return c.Ever == 2 })
	select {
	case err := <-done:
		t.Errorf("a frozen server answered: %v", err)
	default:
	}
	srv.Thaw()
	if err := errors.Join(<-done, <-done); err != nil {
		t.Error(err)
	}
}

func TestFaultsAreChosen(t *testing.T) {
	srv, _ := exams(t)
	db := open(t, srv)
	refuse := func(number int32, times int, word string) *tdstest.Injection {
		return srv.Inject(tdstest.Fault{
			Do: tdstest.Refuse, Err: tdstest.SQLError(number), Times: times,
			When: func(r tdstest.Request) bool { return r.Text == word },
		})
	}
	refuse(1205, 2, "note a")
	forever := refuse(1222, -1, "note b")
	for i, step := range []struct {
		text string
		want int32
	}{{"note a", 1205}, {"note c", 0}, {"note b", 1222}, {"note a", 1205}, {"note a", 0}, {"note b", 1222}, {"note b", 1222}} {
		if _, err := db.ExecContext(t.Context(), step.text); number(err) != step.want {
			t.Errorf("step %d: %v", i, err)
		}
	}
	forever.Remove()
	exec(t, db, "note b")
}

func TestRestart(t *testing.T) {
	srv, _ := exams(t)
	db := open(t, srv)
	db.SetMaxIdleConns(4)
	var held []*sql.Conn
	for range 4 {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for _, c := range held {
		c.Close()
	}
	addr := srv.Addr()
	srv.Stop()
	await(t, srv, func(c tdstest.Counts) bool { return c.Open == 0 })
	if err := srv.Listen(t.Context()); err != nil || srv.Addr() != addr {
		t.Fatalf("%v on %s, before on %s", err, srv.Addr(), addr)
	}
	for i := range 4 { // each idle connection fails once, for its next user
		if err := store(t, db, i); !errors.Is(err, io.EOF) {
			t.Errorf("idle connection %d: %v", i, err)
		}
	}
	if err := store(t, db, 9); err != nil {
		t.Error(err)
	}
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := srv.Counts(); c.Ever != 5 {
		t.Errorf("counts %+v", c)
	}
}

// blocked runs f beside the test and fails it if f returns within d; the channel then gives what f returns.
func blocked(t *testing.T, d time.Duration, f func() error) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		t.Fatalf("it returned: %v", err)
	case <-time.After(d):
	}
	return done
}

// The driver reads the prelogin and shakes hands without regard to its context: only a cut socket frees the caller. For
// the answer to the login itself it does look at the context.
func TestFrozenLogin(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits 3 s of real time")
	}
	cert, _, err := tdstest.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		at    tdstest.Point
		heeds bool
	}{"connect": {tdstest.Connect, false}, "handshake": {tdstest.Handshake, false}, "login": {tdstest.Login, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := tdstest.Start(t, tdstest.Config{Certificate: &cert})
			srv.Inject(tdstest.Fault{At: test.at, Do: tdstest.Freeze})
			db := open(t, srv, "encrypt=true", "trustservercertificate=true")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			ping := func() error { return db.PingContext(ctx) }
			if test.heeds {
				if err := ping(); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				return
			}
			done := blocked(t, 3*time.Second, ping)
			if err := open(t, srv).PingContext(t.Context()); err != nil {
				t.Errorf("a second login beside it: %v", err)
			}
			srv.Stop()
			if err := <-done; err == nil {
				t.Error("no error when the socket was cut")
			}
		})
	}
}

// A cancel on a dead network costs the driver's fixed 5 s of waiting for the confirmation.
func TestCancelOnADeadNetwork(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits 5 s of real time")
	}
	srv := tdstest.Start(t, tdstest.Config{})
	srv.Inject(tdstest.Fault{At: tdstest.Received, Do: tdstest.Freeze})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := open(t, srv).ExecContext(ctx, "any text")
	var stream mssql.StreamError
	if took := time.Since(start); took < 5300*time.Millisecond || !errors.As(err, &stream) {
		t.Errorf("got %v after %v", err, took)
	}
}

// Issue 407 of the driver: the next call blocks for ever, whatever its context, and a cut socket does not free it.
func TestPoisonedConnection(t *testing.T) {
	for name, args := range map[string][]any{"batch": nil, "RPC": {1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			poisoned(t, args)
		})
	}
}

func poisoned(t *testing.T, args []any) {
	srv := tdstest.Start(t, tdstest.Config{})
	srv.Inject(tdstest.Fault{Do: tdstest.Poisoned, Err: tdstest.SQLError(245)})
	db := open(t, srv)
	c, err := db.Conn(t.Context()) // closing it would block too
	if err != nil {
		t.Fatal(err)
	}
	if err := drain(c.QueryContext(t.Context(), "any text", args...)); number(err) != 245 {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	done := blocked(t, 300*time.Millisecond, func() error { return c.PingContext(ctx) })
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("a connection beside it: %v", err)
	}
	srv.Stop()
	select {
	case err := <-done:
		t.Errorf("it returned after the cut: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
}

// What keeps the driver from being poisoned: Exec reads to the end, and statements of an RPC end with DONEINPROC.
func TestNotPoisoned(t *testing.T) {
	more := tdstest.Fail(tdstest.SQLError(245))
	for range 8 {
		more = more.Then(tdstest.Rows(tdstest.Columns("n int"), []any{1}))
	}
	srv := scripted(t, map[string]tdstest.Reply{"some": more, "poison": tdstest.Poison(tdstest.SQLError(245))})
	c := pinned(t, open(t, srv))
	if _, err := c.ExecContext(t.Context(), "poison it"); number(err) != 245 {
		t.Errorf("exec: %v", err)
	}
	if err := drain(c.QueryContext(t.Context(), "some @p1", 1)); number(err) != 245 {
		t.Errorf("query: %v", err)
	}
	if err := c.PingContext(t.Context()); err != nil {
		t.Errorf("next call: %v", err)
	}
}

package tdstest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
)

// exams is a server with one table, exam(id, n): "add" inserts @p1, "upsert" takes JSON, "own" a transaction around that.
func exams(t *testing.T) (*tdstest.Server, *tdstest.Tables) {
	t.Helper()
	tables := tdstest.NewTables().Key("exam", "id")
	return tdstest.Start(t, tdstest.Config{Script: func(s *tdstest.Session, r tdstest.Request) tdstest.Reply {
		var n int64
		err := error(nil)
		word, _, _ := strings.Cut(r.Text, " ")
		switch word {
		case "add":
			n, err = tables.Insert(s, "exam", tdstest.Row{"id": r.Param("@p1")})
		case "strict":
			s.XactAbort(r.Text == "strict on")
		case "note":
			before := s.Values()["note"]
			s.Values()["note"] = r.Text
			return tdstest.Rows(tdstest.Columns("before nvarchar(50)"), []any{before})
		case "late":
			return tdstest.Affected(1).After(time.Hour)
		case "wait":
			err = s.Wait(time.Hour)
		case "upsert", "own":
			err = s.Atomic(func() error {
				rows, err := tdstest.ParseRows(r.Param("@p1"))
				if err == nil {
					n, err = tables.Upsert(s, "exam", rows...)
				}
				return err
			})
		}
		if err != nil {
			return tdstest.Fail(err)
		}
		return tdstest.Affected(n)
	}}), tables
}

// pinned takes one connection for the length of the test.
func pinned(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// untilAsked gives a context that is canceled when the server has the next request. A deadline would not do: the driver
// takes context.DeadlineExceeded for a net.Error and gives the connection up.
func untilAsked(t *testing.T, srv *tdstest.Server) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	before := srv.Counts().Requests
	go func() {
		srv.Wait(ctx, func(c tdstest.Counts) bool { return c.Requests > before })
		cancel()
	}()
	return ctx
}

func exec(t *testing.T, c interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, text string, args ...any,
) int64 {
	t.Helper()
	res, err := c.ExecContext(t.Context(), text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestErrors(t *testing.T) {
	for _, n := range []int32{2627, 2601, 1205, 1222, 3960, 547, 99999} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			want := tdstest.SQLError(n)
			info := tdstest.Error{Number: 3621, State: 1, Message: "The statement has been terminated."}
			srv := scripted(t, map[string]tdstest.Reply{"fail": tdstest.Affected(2).Then(tdstest.Fail(want, info))})
			db := open(t, srv)
			db.SetMaxOpenConns(1)
			for _, args := range [][]any{nil, {1}} {
				_, err := db.ExecContext(t.Context(), "fail now", args...)
				var e mssql.Error
				if !errors.As(err, &e) || e.Number != n || e.Class != want.Class || e.State != want.State || e.Message != want.Message || len(e.All) != 1 {
					t.Errorf("exec with %v: got %#v, want %#v", args, err, want)
				}
				if err := drain(db.QueryContext(t.Context(), "fail now", args...)); number(err) != n {
					t.Errorf("query with %v: got %v", args, err)
				}
			}
			if c := srv.Counts(); c.Ever != 1 {
				t.Errorf("the driver took %d connections", c.Ever)
			}
		})
	}
}

// drain reads all that a query returned, and gives the first error.
func drain(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for more := true; more; more = rows.NextResultSet() {
		for rows.Next() {
			continue
		}
	}
	return rows.Err()
}

func TestFatalErrorEndsTheConnection(t *testing.T) {
	srv := scripted(t, map[string]tdstest.Reply{"fail": tdstest.Fail(tdstest.SQLError(40501))})
	if _, err := open(t, srv).ExecContext(t.Context(), "fail now"); number(err) != 40501 {
		t.Errorf("got %v", err)
	}
	await(t, srv, func(c tdstest.Counts) bool { return c.Open == 0 })
}

func TestTransactions(t *testing.T) {
	srv, tables := exams(t)
	db := open(t, srv)
	for i, commit := range []bool{true, false} {
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
		if err != nil {
			t.Fatal(err)
		}
		exec(t, tx, "add @p1", i)
		if n := tables.Count("exam"); n != min(i, 1) {
			t.Errorf("%d rows are seen before the end of transaction %d", n, i)
		}
		if commit {
			err = tx.Commit()
		} else {
			err = tx.Rollback()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := pinned(t, db)
	for _, text := range []string{"BEGIN TRAN", " begin transaction; ", "add @p1", "commit tran", "COMMIT;", "BEGIN TRANSACTION", "ROLLBACK"} {
		if text == "add @p1" {
			exec(t, c, text, 7)
		} else {
			exec(t, c, text)
		}
	}
	if n := tables.Count("exam"); n != 2 {
		t.Errorf("%d rows at the end", n)
	}
	if c := srv.Counts(); c.Begun != 4 || c.Committed != 2 || c.Undone != 2 {
		t.Errorf("counts %+v", c)
	}
	for text, want := range map[string]int32{"COMMIT TRAN": 3902, "ROLLBACK TRAN": 3903} {
		if _, err := c.ExecContext(t.Context(), text); number(err) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestServerEndsTheTransaction(t *testing.T) {
	srv, tables := exams(t)
	db := open(t, srv)
	deadlock := tdstest.Fault{Do: tdstest.Refuse, Err: tdstest.SQLError(1205), When: func(r tdstest.Request) bool { return r.Text == "be victim" }}
	for name, fail := range map[string]func(*sql.Tx) error{
		"error under XACT_ABORT": func(tx *sql.Tx) error {
			exec(t, tx, "strict on")
			_, err := tx.ExecContext(t.Context(), "add @p1", 1)
			return err
		},
		"deadlock": func(tx *sql.Tx) error {
			srv.Inject(deadlock)
			_, err := tx.ExecContext(t.Context(), "be victim")
			return err
		},
		"attention under XACT_ABORT": func(tx *sql.Tx) error {
			exec(t, tx, "strict on")
			_, err := tx.ExecContext(untilAsked(t, srv), "wait long")
			return err
		},
		"attention to an answer under XACT_ABORT": func(tx *sql.Tx) error {
			exec(t, tx, "strict on")
			_, err := tx.ExecContext(untilAsked(t, srv), "late answer")
			return err
		},
	} {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, tx, "add @p1", 1)
		if err := fail(tx); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := tx.Commit(); err == nil || !strings.Contains(err.Error(), "does not have an active transaction") {
			t.Errorf("%s: commit: %v", name, err)
		}
	}
	if n := tables.Count("exam"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	tx, err := db.BeginTx(t.Context(), nil) // an error without XACT_ABORT leaves it open
	if err != nil {
		t.Fatal(err)
	}
	exec(t, tx, "add @p1", 2)
	if _, err := tx.ExecContext(t.Context(), "add @p1", 2); number(err) != 2627 {
		t.Errorf("second insert: %v", err)
	}
	if err := tx.Commit(); err != nil || tables.Count("exam") != 1 {
		t.Errorf("commit: %v, %d rows", err, tables.Count("exam"))
	}
}

// The driver begins with a descriptor of 0, whatever transaction a batch left open.
func TestDescriptorIsChecked(t *testing.T) {
	srv, _ := exams(t)
	c := pinned(t, open(t, srv))
	exec(t, c, "BEGIN TRAN")
	if _, err := c.BeginTx(t.Context(), nil); number(err) != 3989 {
		t.Errorf("got %v", err)
	}
}

func TestReset(t *testing.T) {
	srv, tables := exams(t)
	db := open(t, srv)
	db.SetMaxOpenConns(1)
	note := func(row *sql.Row) (before sql.NullString) {
		if err := row.Scan(&before); err != nil {
			t.Fatal(err)
		}
		return before
	}
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if note(c.QueryRowContext(t.Context(), "note it")).Valid || !note(c.QueryRowContext(t.Context(), "note it")).Valid {
		t.Error("a session does not keep its values")
	}
	exec(t, c, "BEGIN TRAN")
	exec(t, c, "add @p1", 1)
	c.Close()
	if note(db.QueryRowContext(t.Context(), "note it")).Valid {
		t.Error("the next user sees the values of the last")
	}
	exec(t, db, "add @p1", 2)
	if got := srv.Counts(); got.Ever != 1 || got.Resets != 3 || got.Undone != 1 {
		t.Errorf("counts %+v", got)
	}
	if n := tables.Count("exam"); n != 1 {
		t.Errorf("%d rows are left", n)
	}
}

// interrupt reads one row and then cancels the query, or gives the rest up.
func interrupt(t *testing.T, db *sql.DB, text string, args []any, canceled bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	if !rows.Next() { // it comes before the rest is due
		t.Errorf("%s: %v", text, rows.Err())
	}
	if !canceled {
		return
	}
	cancel()
	for rows.Next() || rows.NextResultSet() {
		continue
	}
	if !errors.Is(rows.Err(), context.Canceled) {
		t.Errorf("%s: %v", text, rows.Err())
	}
}

func TestAttention(t *testing.T) {
	big := tdstest.Rows(tdstest.Columns("doc nvarchar(max)"), slices.Repeat([][]any{{long(1000)}}, 2000)...)
	srv := scripted(t, map[string]tdstest.Reply{
		"big":  big,
		"slow": tdstest.Rows(tdstest.Columns("n int"), []any{1}).Then(tdstest.Rows(tdstest.Columns("n int"), []any{2}).After(time.Hour)),
		"ok":   tdstest.Affected(1),
	})
	db := open(t, srv)
	db.SetMaxOpenConns(1)
	for _, text := range []string{"big", "slow"} {
		for _, args := range [][]any{nil, {1}} {
			for _, cancel := range []bool{true, false} {
				interrupt(t, db, text+" answer", args, cancel)
				if got := exec(t, db, "ok then"); got != 1 {
					t.Errorf("%s: afterwards %d", text, got)
				}
			}
		}
	}
	if c := srv.Counts(); c.Ever != 1 || c.Attentions < 8 { // the driver may send a second one
		t.Errorf("counts %+v", c)
	}
}

// The server confirms, and the driver gives the connection up all the same, because of the kind of its own error.
func TestDeadlineCostsTheConnection(t *testing.T) {
	srv, _ := exams(t)
	db := open(t, srv)
	for ever, cancel := range []bool{true, false, false} {
		ctx := untilAsked(t, srv)
		if !cancel {
			deadline, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer stop()
			ctx = deadline
		}
		if _, err := db.ExecContext(ctx, "wait long"); !errors.Is(err, ctx.Err()) {
			t.Errorf("got %v", err)
		}
		exec(t, db, "note it")
		if c := srv.Counts(); c.Ever != ever+1 || c.Attentions != ever+1 {
			t.Errorf("counts %+v", c)
		}
	}
}

// An answer may leave just before the attention arrives: it is then confirmed on its own.
func TestAttentionAfterTheAnswer(t *testing.T) {
	srv := scripted(t, map[string]tdstest.Reply{"ok": tdstest.Affected(1)})
	db := open(t, srv)
	db.SetMaxOpenConns(1)
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*5*time.Microsecond)
		_, err := db.ExecContext(ctx, "ok then")
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("round %d: %v", i, err)
		}
		if got := exec(t, db, "ok then"); got != 1 {
			t.Fatalf("round %d: afterwards %d", i, got)
		}
	}
}

func TestBulk(t *testing.T) {
	columns := tdstest.Columns("id bigint", "name nvarchar(20)", "doc nvarchar(max)", "at datetime2(7)", "f float", "raw varbinary(max)")
	var got tdstest.Request
	srv := tdstest.Start(t, tdstest.Config{Script: func(_ *tdstest.Session, r tdstest.Request) tdstest.Reply {
		if r.Kind == tdstest.Bulk {
			got = r
			return tdstest.Reply{}
		}
		return tdstest.Rows(columns)
	}})
	at := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	want := [][]any{{int64(1), "가", long(9000), at, 0.5, []byte{1}}, {int64(2), nil, nil, nil, nil, nil}}
	tx, err := open(t, srv).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	copyIn, err := tx.PrepareContext(t.Context(), mssql.CopyIn("#stage", mssql.BulkOptions{Tablock: true}, "id", "name", "doc", "at", "f", "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer copyIn.Close()
	for _, row := range want {
		if _, err := copyIn.ExecContext(t.Context(), row...); err != nil {
			t.Fatal(err)
		}
	}
	res, err := copyIn.ExecContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); n != 2 || err != nil {
		t.Errorf("the driver was told of %d rows: %v", n, err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Text, "INSERT BULK [#stage] ([id] bigint, [name] nvarchar(20), ") || len(got.Rows) != 2 || got.Columns[5] != "raw" {
		t.Fatalf("the script got %q %v and %d rows", got.Text, got.Columns, len(got.Rows))
	}
	for i := range want {
		for j := range want[i] {
			if !same(got.Rows[i][j], want[i][j]) {
				t.Errorf("row %d, column %d: %v", i, j, got.Rows[i][j])
			}
		}
	}
	if c := srv.Counts(); c.BulkRows != 2 {
		t.Errorf("counts %+v", c)
	}
}

// The driver gives a connection back in the middle of a bulk load as if it were good.
func TestAbandonedBulk(t *testing.T) {
	srv := tdstest.Start(t, tdstest.Config{Script: func(*tdstest.Session, tdstest.Request) tdstest.Reply {
		return tdstest.Rows(tdstest.Columns("doc nvarchar(max)"))
	}})
	c := pinned(t, open(t, srv))
	copyIn, err := c.PrepareContext(t.Context(), mssql.CopyIn("t", mssql.BulkOptions{}, "doc"))
	if err != nil {
		t.Fatal(err)
	}
	defer copyIn.Close()
	if _, err := copyIn.ExecContext(t.Context(), long(9000)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ExecContext(t.Context(), "any text"); !lost(err) {
		t.Errorf("next call: %v", err)
	}
	await(t, srv, func(c tdstest.Counts) bool { return c.Broken == 1 && c.Open == 0 })
}

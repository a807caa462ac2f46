package tdstest_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
)

func TestTables(t *testing.T) {
	tables := tdstest.NewTables().Key("exam", "clinic", "id").Key("other", "id")
	row := func(clinic string, id any, n int) tdstest.Row {
		return tdstest.Row{"clinic": clinic, "id": id, "n": n}
	}
	srv := tdstest.Start(t, tdstest.Config{Script: func(s *tdstest.Session, r tdstest.Request) tdstest.Reply {
		var n int64
		var err error
		switch strings.TrimSpace(r.Text) {
		case "insert":
			n, err = tables.Insert(s, "exam", row("a", 1, 1), row("a", 2, 2))
		case "insert the second again":
			n, err = tables.Insert(s, "exam", row("a", 3, 3), row("a", 2, 9))
		case "insert missing":
			n, err = tables.InsertMissing(s, "exam", row("a", 2, 9), row("b", 1, 4), row("b", 1, 5))
		case "update":
			n, err = tables.Update(s, "exam", tdstest.Row{"clinic": "a", "id": 1, "eye": "OD"}, row("z", 1, 1))
		case "upsert":
			n, err = tables.Upsert(s, "exam", tdstest.Row{"clinic": "a", "id": 1, "n": 7}, row("c", 1, 1))
		case "delete":
			n, err = tables.Delete(s, "exam", row("a", 2, 0), row("z", 9, 0))
		case "delete and insert":
			err = s.Atomic(func() error {
				_, err := tables.Delete(s, "exam", row("a", 1, 0))
				if gone, _ := tables.Find(s, "exam", row("a", 1, 0)); gone != nil {
					t.Errorf("a deleted row is found: %v", gone)
				}
				n, err2 := tables.InsertMissing(s, "exam", row("a", 1, 8))
				if n != 1 {
					t.Errorf("%d rows inserted after the delete", n)
				}
				return errors.Join(err, err2)
			})
		case "no key":
			_, err = tables.Insert(s, "exam", tdstest.Row{"id": 1})
			return tdstest.Affected(btoi(err != nil))
		case "no table":
			_, err = tables.Insert(s, "absent", tdstest.Row{"id": 1})
			return tdstest.Affected(btoi(err != nil))
		}
		if err != nil {
			return tdstest.Fail(err)
		}
		return tdstest.Affected(n)
	}})
	db := open(t, srv)
	for _, step := range []struct {
		text     string
		affected int64
		err      int32
		count    int
	}{
		{"insert", 2, 0, 2},
		{"insert the second again", 0, 2627, 2},
		{"insert missing", 1, 0, 3},
		{"update", 1, 0, 3},
		{"upsert", 2, 0, 4},
		{"delete", 1, 0, 3},
		{"delete and insert", 0, 0, 3},
		{"no key", 1, 0, 3},
		{"no table", 1, 0, 3},
	} {
		res, err := db.ExecContext(t.Context(), step.text+" ")
		if number(err) != step.err {
			t.Fatalf("%s: %v", step.text, err)
		}
		if err == nil {
			if n, err := res.RowsAffected(); n != step.affected || err != nil {
				t.Errorf("%s: %d rows affected: %v", step.text, n, err)
			}
		}
		if n := tables.Count("exam"); n != step.count {
			t.Errorf("%s: %d rows", step.text, n)
		}
	}
	want := []tdstest.Row{row("a", 1, 8), row("b", 1, 4), row("c", 1, 1)}
	if got := tables.Rows("exam"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// A key is held until the end of the transaction: a second session waits for it, and of two that wait for each other
// one gets error 1205.
func TestTablesLock(t *testing.T) {
	srv, tables := exams(t)
	db := open(t, srv)
	first, second := pinned(t, db), pinned(t, db)
	exec(t, first, "BEGIN TRAN")
	exec(t, first, "add @p1", 1)
	done := make(chan error, 1)
	add := func(id int) {
		_, err := second.ExecContext(t.Context(), "add @p1", id)
		done <- err
	}
	if _, err := second.ExecContext(untilAsked(t, srv), "add @p1", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("while the key is held: %v", err)
	}
	go add(1)
	exec(t, first, "COMMIT")
	if err := <-done; number(err) != 2627 {
		t.Errorf("after the commit: %v", err)
	}
	exec(t, second, "BEGIN TRAN") // who waited once is not taken to wait still
	exec(t, second, "add @p1", 5)
	asked := untilAsked(t, srv)
	go func() {
		_, err := first.ExecContext(t.Context(), "add @p1", 5)
		done <- err
	}()
	<-asked.Done()
	exec(t, second, "COMMIT")
	if err := <-done; number(err) != 2627 {
		t.Errorf("after the other's commit: %v", err)
	}
	exec(t, first, "BEGIN TRAN")
	exec(t, second, "BEGIN TRAN")
	exec(t, first, "add @p1", 2)
	exec(t, second, "add @p1", 3)
	go add(2)
	_, err := first.ExecContext(t.Context(), "add @p1", 3)
	if err2 := <-done; (number(err) == 1205) == (number(err2) == 1205) {
		t.Errorf("of two that wait for each other: %v and %v", err, err2)
	}
	if n := tables.Count("exam"); n != 2 {
		t.Errorf("%d rows are committed", n)
	}
}

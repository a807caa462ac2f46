package dbpool_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
)

func visit(chart string) sdk.Row { return sdk.Row{"chart": chart, "room": "1"} }

func insertVisit(chart string) sdk.Insert {
	return sdk.Insert{Table: "visit", Rows: []sdk.Row{visit(chart)}}
}

func mustWrite(tb testing.TB, s sdk.Store, changes ...sdk.Change) []sdk.Changed {
	tb.Helper()
	out, err := s.Write(tb.Context(), changes...)
	if err != nil {
		tb.Fatal(err)
	}
	if len(out) != len(changes) {
		tb.Fatalf("%d answers to %d changes", len(out), len(changes))
	}
	return out
}

func query(tb testing.TB, s sdk.Store, sql string, args ...any) [][]any {
	tb.Helper()
	res, err := s.Query(tb.Context(), sdk.Query{SQL: sql, Args: args})
	if err != nil {
		tb.Fatal(err)
	}
	return res.Rows
}

func count(tb testing.TB, s sdk.Store, table string) int64 {
	tb.Helper()
	return query(tb, s, "SELECT count(*) FROM "+table)[0][0].(int64)
}

func TestValuesComeBack(t *testing.T) {
	s := clinic(t, dbpool.Options{}).Store("emr")
	at := time.Date(2026, 3, 2, 18, 30, 0, 5, time.FixedZone("KST", 9*3600))
	for i, v := range []struct{ in, out any }{
		{nil, nil},
		{true, int64(1)},
		{false, int64(0)},
		{7, int64(7)},
		{int64(-1 << 62), int64(-1 << 62)},
		{2.5, 2.5},
		{"홍길동 \x00'\"", "홍길동 \x00'\""},
		{"", ""},
		{at, "2026-03-02T09:30:00.000000005Z"},
	} {
		got := query(t, s, "SELECT ?", v.in)[0][0]
		if got != v.out {
			t.Errorf("%v came back from a query as %#v, want %#v", v.in, got, v.out)
		}
		chart := fmt.Sprint("c", i)
		mustWrite(t, s, sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": chart, "at": v.in}}})
		if typ := query(t, s, "SELECT typeof(at) FROM visit WHERE chart = ?", chart)[0][0]; v.in == nil && typ != "null" {
			t.Errorf("nil was stored as %v", typ)
		}
	}
	got := query(t, s, "SELECT ?", []byte{0, 1, 255})[0][0]
	if b, ok := got.([]byte); !ok || string(b) != "\x00\x01\xff" {
		t.Errorf("bytes came back as %#v", got)
	}
}

// TestStoredValuesComeBack writes each kind of value into a column of its kind, by rows and by a statement, and looks for
// it by its value.
func TestStoredValuesComeBack(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.withClinic(t, dbpool.Options{}).Store("emr")
		at := time.Date(2026, 3, 2, 18, 30, 0, 5000, time.FixedZone("KST", 9*3600))
		for i, v := range []struct {
			column  string
			in, out any
		}{
			{"n", nil, nil},
			{"n", 7, int64(7)},
			{"n", int64(-1 << 62), int64(-1 << 62)},
			{"f", 2.5, 2.5},
			{"f", -1e-300, -1e-300},
			{"f", 3, 3.0},
			{"s", "홍길동 '\"{}\\,NULL \n", "홍길동 '\"{}\\,NULL \n"},
			{"s", "", ""},
			{"s", "NULL", "NULL"},
			{"s", at, "2026-03-02T09:30:00.000005000Z"},
			{"b", []byte{0, 1, 255, '\\', '"'}, []byte{0, 1, 255, '\\', '"'}},
			{"yes", true, d.yes},
			{"at", at, d.at(at)},
			{"at", time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), d.at(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC))},
		} {
			rows := sdk.Insert{Table: "kinds", Rows: []sdk.Row{{"id": 10 * i, v.column: v.in}, {"id": 10*i + 1, v.column: nil}}}
			statement := sdk.Exec{SQL: "INSERT INTO kinds (id, " + v.column + ") VALUES (?, ?)", Args: []any{10*i + 2, v.in}, Want: 1}
			mustWrite(t, s, rows, statement, sdk.Upsert{Table: "kinds", Key: []string{"id"}, Rows: []sdk.Row{{"id": 10*i + 3, v.column: v.in}}})
			got := query(t, s, "SELECT "+v.column+" FROM kinds WHERE id BETWEEN ? AND ? ORDER BY id", 10*i, 10*i+3)
			for k, want := range []any{v.out, nil, v.out, v.out} {
				if d.tsql && v.column == "s" && v.in == at && k == 2 {
					continue // a time of a statement is one to the server, which writes it as a text its own way
				}
				if !reflect.DeepEqual(got[k][0], want) {
					t.Errorf("%v in column %s came back as %#v, want %#v", v.in, v.column, got[k][0], want)
				}
			}
			if v.in == nil || d.tsql && v.column == "s" && v.in == at {
				continue
			}
			if n := query(t, s, "SELECT count(*) FROM kinds WHERE "+v.column+" = ? AND id >= ?", v.in, 10*i)[0][0]; n != int64(3) {
				t.Errorf("%v in column %s is found %v times, want 3", v.in, v.column, n)
			}
		}
	})
}

func TestTimesSort(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.withClinic(t, dbpool.Options{}).Store("emr")
		base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for i, after := range []time.Duration{time.Second, 10 * d.tick, 100 * time.Millisecond, 0, 9 * d.tick} {
			mustWrite(t, s, sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": fmt.Sprint(i), "at": base.Add(after)}}})
		}
		var order []string
		for _, row := range query(t, s, "SELECT chart FROM visit ORDER BY at") {
			order = append(order, row[0].(string))
		}
		if got := strings.Join(order, ""); got != "34120" {
			t.Errorf("order %s, want 34120", got)
		}
	})
}

func TestOnce(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p := d.withClinic(t, dbpool.Options{})
		s := p.Store("emr")
		once := func(id, hash string, changes ...sdk.Change) sdk.Once {
			return sdk.Once{Source: "lab", ID: id, Hash: hash, Seq: 9, Changes: changes}
		}
		out := mustWrite(t, s,
			once("a", "h1", insertVisit("a"), sdk.Exec{SQL: "UPDATE tally SET n = n + 1", Want: 1}),
			once("a", "h1", insertVisit("a")), // the same again in one call
			once("a", "h2", insertVisit("x")), // and with other content
			once("b", "h3", sdk.Insert{Table: "visit", Rows: []sdk.Row{visit("b1"), visit("b2")}}),
		)
		want := []sdk.Changed{{Outcome: sdk.Applied, Rows: 2}, {Outcome: sdk.Duplicate}, {Outcome: sdk.Conflict}, {Outcome: sdk.Applied, Rows: 2}}
		for i := range want {
			if out[i] != want[i] {
				t.Errorf("change %d: %+v, want %+v", i, out[i], want[i])
			}
		}
		out = mustWrite(t, s, once("a", "h1", insertVisit("a")), once("b", "h9", insertVisit("b9")), once("c", "h4", insertVisit("c")),
			sdk.Once{Source: "other", ID: "a", Hash: "h1", Changes: []sdk.Change{insertVisit("other-a")}})
		for i, o := range []sdk.Outcome{sdk.Duplicate, sdk.Conflict, sdk.Applied, sdk.Applied} {
			if out[i].Outcome != o {
				t.Errorf("second call, change %d: outcome %d, want %d", i, out[i].Outcome, o)
			}
		}
		if n := count(t, s, "visit"); n != 5 {
			t.Errorf("%d rows, want 5", n)
		}
		rows := query(t, s, "SELECT content_hash, seq, rows FROM ingest_receipt WHERE source = 'lab' AND record_id = 'a'")
		if len(rows) != 1 || rows[0][0] != "h1" || rows[0][1] != int64(9) || rows[0][2] != int64(2) {
			t.Errorf("receipt %v", rows)
		}
	})
}

func TestManyOncesAgain(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p := d.withClinic(t, dbpool.Options{})
		s := p.Store("emr")
		batch := func() (changes []sdk.Change) {
			for n := range 1000 {
				changes = append(changes, onceOf(n, []byte("{}")))
			}
			return changes
		}
		for round, want := range []sdk.Outcome{sdk.Applied, sdk.Duplicate} {
			for i, c := range mustWrite(t, s, batch()...) {
				if c.Outcome != want || want == sdk.Applied && c.Rows != rowsOfRecord {
					t.Fatalf("round %d, change %d: %+v", round, i, c)
				}
			}
		}
		for table, want := range map[string]int64{"record": 1000, "exam": 1000, "observation": 10_000, "ingest_receipt": 1000} {
			if n := count(t, s, table); n != want {
				t.Errorf("%s has %d rows, want %d", table, n, want)
			}
		}
		// The rows are where they belong, not only as many as they should be.
		if n := query(t, s, "SELECT count(*) FROM record r JOIN ingest_receipt i ON i.source = r.source AND i.record_id = r.record_id WHERE i.content_hash = r.content_hash AND r.seq = i.seq AND (SELECT count(*) FROM observation o WHERE o.source = r.source AND o.record_id = r.record_id) = 10")[0][0]; n != int64(1000) {
			t.Errorf("%v records are whole, want 1000", n)
		}
	})
}

func TestTheFailingChangeIsNamedAndNothingIsLeft(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p := d.withClinic(t, dbpool.Options{})
		s := p.Store("emr")
		mustWrite(t, s, insertVisit("there"))
		for _, c := range []struct {
			name    string
			changes []sdk.Change
			index   int
			is      error
			text    string
		}{
			{"duplicate key among merged rows", []sdk.Change{insertVisit("a"), insertVisit("b"), insertVisit("there"), insertVisit("c")}, 2, dbpool.ErrDuplicate, "duplicate key: visit"},
			{"duplicate inside a once", []sdk.Change{onceOf(1, nil), sdk.Once{Source: "s", ID: "i", Hash: "h", Changes: []sdk.Change{insertVisit("d"), insertVisit("there")}}}, 1, dbpool.ErrDuplicate, "duplicate key: visit"},
			{"too few rows affected", []sdk.Change{insertVisit("a"), sdk.Exec{SQL: "UPDATE visit SET room = ? WHERE chart = 'nobody'", Args: []any{"2"}, Want: 1}}, 1, dbpool.ErrRefused, "0 rows were affected, 1 were wanted"},
			{"no value", []sdk.Change{insertVisit("a"), sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": nil}}}}, 1, nil, "has none: visit.chart"},
			{"unknown table", []sdk.Change{insertVisit("a"), sdk.Insert{Table: "vist", Rows: []sdk.Row{{"chart": "x"}}}}, 1, dbpool.ErrRefused, "no such table; did you mean visit?"},
			{"unknown column", []sdk.Change{sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chrat": "x"}}}}, 0, dbpool.ErrRefused, "no column chrat; did you mean chart?"},
			{"unequal rows", []sdk.Change{sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": "x"}, {"room": "y"}}}}, 0, dbpool.ErrRefused, "row 1 lacks column chart"},
			{"key without index", []sdk.Change{sdk.Upsert{Table: "visit", Key: []string{"room"}, Rows: []sdk.Row{visit("x")}}}, 0, nil, "not the primary key"},
			{"key not in rows", []sdk.Change{sdk.Upsert{Table: "visit", Key: []string{"id"}, Rows: []sdk.Row{visit("x")}}}, 0, dbpool.ErrRefused, "lack the key column id"},
			{"missing parent", []sdk.Change{sdk.Insert{Table: "bed", Rows: []sdk.Row{{"id": 1, "ward": "none"}}}}, 0, nil, "foreign key"},
			{"commit by a sink", []sdk.Change{insertVisit("a"), sdk.Exec{SQL: "commit", Want: -1}}, 1, dbpool.ErrRefused, "COMMIT is the host's own"},
			{"two statements", []sdk.Change{sdk.Exec{SQL: "DELETE FROM visit; COMMIT", Want: -1}}, 0, dbpool.ErrRefused, "only one statement"},
			{"numbered placeholder", []sdk.Change{sdk.Exec{SQL: "DELETE FROM visit WHERE chart = ?1", Args: []any{"x"}, Want: -1}}, 0, dbpool.ErrRefused, "placeholders are ?"},
			{"argument too few", []sdk.Change{sdk.Exec{SQL: "DELETE FROM visit WHERE chart = ?", Want: -1}}, 0, dbpool.ErrRefused, "1 placeholders and 0 arguments"},
			{"syntax", []sdk.Change{sdk.Exec{SQL: "DELETE FORM visit", Want: -1}}, 0, nil, "FORM"},
			{"a type that is not known", []sdk.Change{sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": []string{"x"}}}}}, 0, dbpool.ErrRefused, "type []string"},
			{"values for part of a row", []sdk.Change{insertVisit("a"), sdk.Insert{Table: "visit", Columns: []string{"chart", "room"}, Values: []any{"x", "1", "y"}}}, 1, dbpool.ErrRefused, "3 values in 2 columns"},
			{"values without columns", []sdk.Change{sdk.Insert{Table: "visit", Values: []any{"x"}}}, 0, dbpool.ErrRefused, "no columns"},
			{"values and rows", []sdk.Change{sdk.Insert{Table: "visit", Rows: []sdk.Row{visit("x")}, Columns: []string{"chart"}, Values: []any{"y"}}}, 0, dbpool.ErrRefused, "twice, as Rows and as Values"},
			{"a column twice", []sdk.Change{sdk.Insert{Table: "visit", Columns: []string{"chart", "room", "CHART"}, Values: []any{"x", "1", "y"}}}, 0, dbpool.ErrRefused, "column chart is named twice"},
			{"a type that is not known, as a value", []sdk.Change{sdk.Insert{Table: "visit", Columns: []string{"room", "chart"}, Values: []any{"1", "x", "1", []string{"x"}}}}, 0, dbpool.ErrRefused, "column chart: a value of type []string"},
			{"receipts by hand", []sdk.Change{sdk.Insert{Table: "ingest_receipt", Rows: []sdk.Row{{"source": "x"}}}}, 0, dbpool.ErrRefused, "host's own"},
			{"a once without identity", []sdk.Change{sdk.Once{Source: "lab", Hash: "h"}}, 0, dbpool.ErrRefused, "must not be empty"},
			{"a once in a once", []sdk.Change{sdk.Once{Source: "lab", ID: "i", Hash: "h", Changes: []sdk.Change{sdk.Once{}}}}, 0, dbpool.ErrRefused, "inside another"},
		} {
			t.Run(c.name, func(t *testing.T) {
				_, err := s.Write(t.Context(), c.changes...)
				var ce *sdk.ChangeError
				if !errors.As(err, &ce) {
					t.Fatalf("got %v, want a *sdk.ChangeError", err)
				}
				if ce.Index != c.index || sdk.ClassOf(err) != sdk.ClassPermanent {
					t.Errorf("change %d, class %s: %v; want change %d, permanent", ce.Index, sdk.ClassOf(err), err, c.index)
				}
				if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v; want %q in it, and to be %v", err, c.text, c.is)
				}
				if n := count(t, s, "visit"); n != 1 {
					t.Errorf("%d rows are left, want 1", n)
				}
				if n := count(t, s, "ingest_receipt"); n != 0 {
					t.Errorf("%d receipts are left", n)
				}
			})
		}
	})
}

func TestUpsert(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.withClinic(t, dbpool.Options{}).Store("emr")
		out := mustWrite(t, s, sdk.Upsert{Table: "VISIT", Key: []string{"Chart"}, Rows: []sdk.Row{visit("a"), visit("b"), {"chart": "a", "room": "7"}}})
		if out[0].Rows != 3 {
			t.Errorf("%d rows, want 3", out[0].Rows)
		}
		mustWrite(t, s, sdk.Upsert{Table: "ward", Key: []string{"name"}, Rows: []sdk.Row{{"name": "north"}, {"name": "north"}}})
		rows := query(t, s, "SELECT chart, room FROM visit ORDER BY chart")
		if fmt.Sprint(rows) != "[[a 7] [b 1]]" {
			t.Errorf("rows %v", rows)
		}
	})
}

// TestRowsAsValues writes rows in both forms, in one call and with columns in any order, and leaves what it was given as
// it was.
func TestRowsAsValues(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.withClinic(t, dbpool.Options{}).Store("emr")
		values := []any{1, "a", true, "b"}
		out := mustWrite(t, s,
			sdk.Insert{Table: "visit", Columns: []string{"room", "chart"}, Values: values},
			sdk.Insert{Table: "visit", Rows: []sdk.Row{visit("c")}},
			sdk.Insert{Table: "visit", Columns: []string{"chart", "room"}},
			sdk.Upsert{Table: "visit", Key: []string{"chart"}, Columns: []string{"chart", "room"}, Values: []any{"a", "7", "d", nil}})
		if got := fmt.Sprint(out); got != "[{0 2} {0 1} {0 0} {0 2}]" {
			t.Errorf("answers %s", got)
		}
		if got := fmt.Sprint(query(t, s, "SELECT chart, room FROM visit ORDER BY chart")); got != "[[a 7] [b 1] [c 1] [d <nil>]]" {
			t.Errorf("rows %s", got)
		}
		if !reflect.DeepEqual(values, []any{1, "a", true, "b"}) {
			t.Errorf("the sink's values are %v now", values)
		}
	})
}

// TestManyForms writes rows of more forms than are kept prepared, and of each twice.
func TestManyForms(t *testing.T) {
	s := running(t, dbpool.Options{}).Store("emr")
	const columns = 9
	var defs, all []string
	for i := range columns {
		all = append(all, fmt.Sprint("c", i))
		defs = append(defs, fmt.Sprintf("c%d INTEGER", i))
	}
	mustWrite(t, s, sdk.Exec{SQL: "CREATE TABLE wide (" + strings.Join(defs, ", ") + ")", Want: -1})
	const forms = 1<<columns - 1
	for range 2 {
		var changes []sdk.Change
		for form := 1; form <= forms; form++ {
			in := sdk.Insert{Table: "wide"}
			for i, c := range all {
				if form&(1<<i) != 0 {
					in.Columns, in.Values = append(in.Columns, c), append(in.Values, int64(1<<i))
				}
			}
			changes = append(changes, in)
		}
		mustWrite(t, s, changes...)
	}
	sum := "coalesce(c0, 0)"
	for _, c := range all[1:] {
		sum += " + coalesce(" + c + ", 0)"
	}
	rows := query(t, s, "SELECT count(*), count(DISTINCT "+sum+"), min("+sum+"), max("+sum+") FROM wide")
	if got, want := fmt.Sprint(rows), fmt.Sprintf("[[%d %d 1 %d]]", 2*forms, forms, forms); got != want {
		t.Errorf("rows, sums, least and most are %s, want %s", got, want)
	}
}

// TestMergedIsAsWritten compares merged calls with the same changes written one by one, where order can be seen.
func TestMergedIsAsWritten(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		ward := func(n string) sdk.Change {
			return sdk.Insert{Table: "ward", Rows: []sdk.Row{{"name": n}}}
		}
		bed := func(id int, ward string, next any) sdk.Change {
			return sdk.Insert{Table: "bed", Rows: []sdk.Row{{"id": id, "ward": ward, "next_to": next}}}
		}
		room := func(chart, room string) sdk.Change {
			return sdk.Upsert{Table: "visit", Key: []string{"chart"}, Rows: []sdk.Row{{"chart": chart, "room": room}}}
		}
		score := func(chart string, score float64) sdk.Change {
			return sdk.Upsert{Table: "visit", Key: []string{"chart"}, Rows: []sdk.Row{{"chart": chart, "score": score}}}
		}
		exec := func(sql string) sdk.Change { return sdk.Exec{SQL: sql, Want: -1} }
		seen := func(id int) sdk.Change {
			return sdk.Insert{Table: "watched", Rows: []sdk.Row{{"id": id}}}
		}
		for name, changes := range map[string][]sdk.Change{
			"references":           {ward("n"), bed(1, "n", nil), ward("s"), bed(2, "s", 1), bed(3, "n", 2)},
			"two forms of a table": {room("a", "1"), score("a", 1.5), room("a", "2"), room("b", "1"), score("b", 2), score("a", 3)},
			"statements between":   {room("a", "1"), exec("UPDATE visit SET room = concat(room, '!')"), room("b", "1"), exec("UPDATE visit SET room = concat(room, '?')"), room("a", "9")},
			"triggers":             {insertVisit("a"), seen(1), insertVisit("b"), insertVisit("c"), seen(2)},
			"asks what was last":   {insertVisit("a"), ward("w"), insertVisit("b"), exec("UPDATE tally SET n = " + d.last), ward("x")},
		} {
			t.Run(name, func(t *testing.T) {
				var states []string
				for _, together := range []bool{true, false} {
					s := d.withClinic(t, dbpool.Options{}).Store("emr")
					if together {
						mustWrite(t, s, changes...)
					} else {
						for _, c := range changes {
							mustWrite(t, s, c)
						}
					}
					state := ""
					for _, table := range []string{"visit", "ward", "bed", "tally", "watched"} {
						state += fmt.Sprint(table, query(t, s, "SELECT * FROM "+table+" ORDER BY 1"))
					}
					states = append(states, state)
				}
				if states[0] != states[1] {
					t.Errorf("together:\n%s\none by one:\n%s", states[0], states[1])
				}
			})
		}
	})
}

func TestATableThatChangedIsReadAgain(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.withClinic(t, dbpool.Options{}).Store("emr")
		mustWrite(t, s, insertVisit("a"))
		mustWrite(t, s, sdk.Exec{SQL: "ALTER TABLE visit " + d.add + " doctor TEXT", Want: -1})
		mustWrite(t, s, sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": "b", "doctor": "Test"}}})
	})
}

func TestGroupsShareCommitsAndNotFailures(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p := d.withClinic(t, dbpool.Options{})
		s := p.Store("emr")
		mustWrite(t, s, insertVisit("taken"))
		before := p.Stats()
		var wg sync.WaitGroup
		for n := range 64 {
			wg.Go(func() {
				for i := range 10 {
					chart := fmt.Sprintf("%d-%d", n, i)
					if n%4 == 0 {
						chart = "taken"
					}
					// A good change before the bad one must be undone with it.
					_, err := s.Write(t.Context(), sdk.Insert{Table: "tally", Rows: []sdk.Row{{"n": n}}}, insertVisit(chart))
					if (n%4 == 0) != errors.Is(err, dbpool.ErrDuplicate) || n%4 != 0 && err != nil {
						t.Errorf("caller %d got %v", n, err)
					}
				}
			})
		}
		wg.Wait()
		after := p.Stats()
		if w := after.Writes - before.Writes; w != 480 {
			t.Errorf("%d writes, want 480", w)
		}
		if c := after.Commits - before.Commits; !d.served && c > 640/4 {
			t.Errorf("%d commits for 640 calls of 64 callers", c)
		}
		if v, n := count(t, s, "visit"), count(t, s, "tally"); v != 481 || n != 481 {
			t.Errorf("%d visits and %d tallies, want 481 each", v, n)
		}
	})
}

func TestAskingHowManyIsNotMerged(t *testing.T) {
	s := clinic(t, dbpool.Options{}).Store("emr")
	mustWrite(t, s, insertVisit("a"), insertVisit("b"), sdk.Exec{SQL: "UPDATE tally SET n = changes()", Want: -1})
	if n := query(t, s, "SELECT n FROM tally")[0][0]; n != int64(1) {
		t.Errorf("the last insert had %v rows, want 1", n)
	}
}

// TestACallThatUndoesTheTransactionHarmsNobody has a constraint that makes SQLite undo the whole transaction.
func TestACallThatUndoesTheTransactionHarmsNobody(t *testing.T) {
	p := clinic(t, dbpool.Options{})
	s := p.Store("emr")
	bad := sdk.Insert{Table: "brittle", Rows: []sdk.Row{{"id": 1}}}
	mustWrite(t, s, bad)
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			for i := range 10 {
				if n%4 == 0 {
					if _, err := s.Write(t.Context(), bad); sdk.ClassOf(err) != sdk.ClassPermanent && sdk.ClassOf(err) != sdk.ClassUnavailable {
						t.Errorf("the call itself got %v", err)
					}
					continue
				}
				for {
					_, err := s.Write(t.Context(), insertVisit(fmt.Sprintf("%d-%d", n, i)))
					if err == nil {
						break
					}
					if sdk.ClassOf(err) != sdk.ClassUnavailable { // else as a sink does: again
						t.Errorf("a bystander got %v", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, s, "visit"); n != 120 {
		t.Errorf("%d visits, want 120", n)
	}
}

// TestNothingOfAnUncommittedCallIsThere closes the pool under writers, and counts what was answered against what is there.
func TestNothingOfAnUncommittedCallIsThere(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		o := d.fresh(t, dbpool.Options{})
		applied := map[int]bool{}
		for round := range 5 {
			p, err := dbpool.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ran := make(chan error, 1)
			go func() { ran <- p.Run(ctx) }()
			s := p.Store("emr")
			var mu sync.Mutex
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					for n := w; ; n += 8 {
						out, err := s.Write(context.Background(), onceOf(n, nil))
						if err != nil {
							if !errors.Is(err, dbpool.ErrStopped) {
								t.Errorf("stopped with %v", err)
							}
							return
						}
						mu.Lock()
						if applied[n] != (out[0].Outcome == sdk.Duplicate) {
							t.Errorf("round %d, record %d: outcome %d, and it was answered before: %v", round, n, out[0].Outcome, applied[n])
						}
						applied[n] = true
						if len(applied) >= 100*(round+1) {
							cancel()
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if err := <-ran; err != nil {
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s := runs(t, o).Store("emr")
		if n := count(t, s, "ingest_receipt"); n != int64(len(applied)) {
			t.Errorf("%d receipts for %d answers", n, len(applied))
		}
		if n := count(t, s, "observation"); n != int64(10*len(applied)) {
			t.Errorf("%d observations for %d answers", n, len(applied))
		}
	})
}

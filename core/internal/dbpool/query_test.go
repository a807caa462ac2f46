package dbpool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
)

func TestAnAnswerIsWholeOrAnError(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.running(t, dbpool.Options{}).Store("emr")
		series := d.series
		for _, c := range []struct {
			name string
			q    sdk.Query
			rows int
			is   error
		}{
			{"the default", sdk.Query{SQL: series, Args: []any{1000}}, 1000, nil},
			{"one more", sdk.Query{SQL: series, Args: []any{1001}}, 0, dbpool.ErrTooMuch},
			{"the most", sdk.Query{SQL: series, Args: []any{10_000}, MaxRows: 10_000}, 10_000, nil},
			{"more than the most", sdk.Query{SQL: series, Args: []any{10_001}, MaxRows: 10_000}, 0, dbpool.ErrTooMuch},
			{"a limit beyond the most", sdk.Query{SQL: series, Args: []any{1}, MaxRows: 10_001}, 0, dbpool.ErrRefused},
			{"a negative limit", sdk.Query{SQL: series, Args: []any{1}, MaxRows: -1}, 0, dbpool.ErrRefused},
			{"nearly 4 MiB", sdk.Query{SQL: d.blob, Args: []any{4<<20 - 100}}, 1, nil},
			{"more than 4 MiB", sdk.Query{SQL: d.blob, Args: []any{4 << 20}}, 0, dbpool.ErrTooMuch},
			{"a write", sdk.Query{SQL: "DELETE FROM exam"}, 0, dbpool.ErrRefused},
			{"a write behind WITH", sdk.Query{SQL: "WITH a AS (SELECT 1) DELETE FROM exam"}, 0, dbpool.ErrRefused},
			{"a setting", sdk.Query{SQL: d.session}, 0, dbpool.ErrRefused},
			{"two statements", sdk.Query{SQL: "SELECT 1; SELECT 2"}, 0, dbpool.ErrRefused},
			{"nothing", sdk.Query{SQL: " -- nothing"}, 0, dbpool.ErrRefused},
			{"an end mark", sdk.Query{SQL: "SELECT 1; -- and a note"}, 1, nil},
		} {
			t.Run(c.name, func(t *testing.T) {
				res, err := s.Query(t.Context(), c.q)
				if !errors.Is(err, c.is) || c.is != nil && sdk.ClassOf(err) != sdk.ClassPermanent {
					t.Fatalf("got %v, class %s, want %v", err, sdk.ClassOf(err), c.is)
				}
				if len(res.Rows) != c.rows {
					t.Errorf("%d rows, want %d", len(res.Rows), c.rows)
				}
			})
		}
	})
}

// TestNoValueIsEverSaid sends a marked value through every way to fail and looks for it in what is said and logged.
func TestNoValueIsEverSaid(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		const mark = "HONG-700101-1234567"
		var log lines
		p := d.withClinic(t, dbpool.Options{Log: log.logger(), QueryLog: true, SlowQuery: time.Nanosecond, OperationTimeout: time.Second})
		s := p.Store("emr")
		mustWrite(t, s, insertVisit(mark))
		row := func(table, col string) sdk.Insert {
			return sdk.Insert{Table: table, Rows: []sdk.Row{{col: mark}}}
		}
		exec := func(sql string, args ...any) sdk.Exec { return sdk.Exec{SQL: sql, Args: args, Want: 5} }
		failures := map[string]error{}
		for name, change := range map[string]sdk.Change{
			"duplicate":        insertVisit(mark),
			"foreign key":      sdk.Insert{Table: "bed", Rows: []sdk.Row{{"id": 1, "ward": mark}}},
			"wrong type":       row("visit", "id"),
			"wanted rows":      exec("UPDATE visit SET room = ? WHERE chart = ?", mark, mark),
			"literal":          exec("UPDATE visit SET room = '" + mark + "'"),
			"syntax":           exec("UPDATE visit SET '" + mark + "'"),
			"syntax, bare":     exec("UPDATE visit SET room = 'x' '" + mark + "'"),
			"quoted as a name": exec(`UPDATE visit SET room = "` + mark + `"`),
			"name of a table":  exec(`UPDATE "` + mark + `" SET room = 1`),
			"raise":            exec("CREATE TRIGGER t AFTER UPDATE ON visit BEGIN SELECT RAISE(ABORT, '" + mark + "') END"),
			"bad type":         sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": []string{mark}}}},
			"bad argument":     exec("SELECT ?", []string{mark}),
			"unclosed":         exec("SELECT '" + mark),
			"once":             sdk.Once{Source: "lab", ID: mark, Hash: mark, Changes: []sdk.Change{insertVisit(mark)}},
		} {
			_, failures[name] = s.Write(t.Context(), change)
		}
		for name, sql := range d.leaks {
			_, failures[name] = s.Write(t.Context(), exec(sql, mark))
		}
		for name, q := range map[string]sdk.Query{
			"query syntax": {SQL: "SELECT * FROM visit WHERE '" + mark + "' '" + mark + "'"},
			"query cast":   {SQL: d.bad, Args: []any{mark}},
			"query write":  {SQL: "WITH a AS (SELECT '" + mark + "') DELETE FROM visit"},
			"query name":   {SQL: `SELECT "` + mark + `"`},
			"query time":   {SQL: d.slow + d.and + " ? <> ''", Args: []any{1 << 40, mark}},
			"query rows":   {SQL: "SELECT ? FROM visit, visit, (VALUES (1),(2))", Args: []any{mark}, MaxRows: 1},
		} {
			_, failures[name] = s.Query(t.Context(), q)
		}
		for name, err := range failures {
			if err == nil {
				t.Errorf("%s: did not fail", name)
				continue
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(e.Error(), mark) || strings.Contains(e.Error(), "HONG") || strings.Contains(fmt.Sprintf("%+v", e), "700101") {
					t.Errorf("%s: says %v", name, e)
				}
			}
		}
		if strings.Contains(log.String(), "HONG") || strings.Contains(log.String(), "700101") {
			t.Errorf("the log has it:\n%s", &log)
		}
		if !strings.Contains(log.String(), "slow database operation") {
			t.Error("nothing was logged, so nothing was proven")
		}
	})
}

func TestCachedAnswers(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p, _ := caching(t, d, dbpool.Options{})
		s := p.Store("emr")
		ask := func(holder string, args ...any) sdk.Result {
			t.Helper()
			res, err := p.Store(holder).Query(t.Context(), sdk.Query{SQL: "SELECT count(*), ?, 'text', NULL, 1.5, " + d.octet + " FROM visit", Args: args, CacheFor: time.Minute, Tables: []string{"Visit"}})
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		first := ask("emr", "a")
		again := ask("pacs", "a")
		if first.Cached || !again.Cached {
			t.Errorf("cached: first %v, again, from another sink, %v", first.Cached, again.Cached)
		}
		if fmt.Sprintf("%#v", first.Rows) != fmt.Sprintf("%#v", again.Rows) || fmt.Sprint(first.Columns) != fmt.Sprint(again.Columns) {
			t.Errorf("first %#v\nagain %#v", first, again)
		}
		if ask("emr", "b").Cached || ask("emr", []byte("a")).Cached {
			t.Error("answered one question with another's answer")
		}
		for name, c := range map[string]struct {
			change  sdk.Change
			dropped bool
		}{
			"insert":        {insertVisit("n"), true},
			"upsert":        {sdk.Upsert{Table: "VISIT", Key: []string{"chart"}, Rows: []sdk.Row{visit("u")}}, true},
			"once":          {sdk.Once{Source: "s", ID: "i", Hash: "h", Changes: []sdk.Change{insertVisit("o")}}, true},
			"any statement": {sdk.Exec{SQL: "UPDATE tally SET n = 1", Want: -1}, true},
			"another table": {sdk.Insert{Table: "tally", Rows: []sdk.Row{{"n": 1}}}, false},
		} {
			ask("emr", name)
			mustWrite(t, s, c.change)
			if got := ask("emr", name); got.Cached == c.dropped {
				t.Errorf("after %s: cached %v", name, got.Cached)
			}
		}
	})
}

func TestAnOlderDatabaseIsBroughtForward(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		o := d.fresh(t, dbpool.Options{})
		open := func(more ...string) error {
			p, err := dbpool.OpenVersions(t.Context(), o, dbpool.Shipped(o.Driver), more...)
			if err != nil {
				return err
			}
			return p.Close()
		}
		if err := open(); err != nil {
			t.Fatal(err)
		}
		p, err := dbpool.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		func() {
			ctx, cancel := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- p.Run(ctx) }()
			mustWrite(t, p.Store("emr"), onceOf(1, nil))
			cancel()
			if err := errors.Join(<-ran, p.Close()); err != nil {
				t.Fatal(err)
			}
		}()
		add := "ALTER TABLE exam " + d.add + " clinic TEXT NOT NULL DEFAULT 'main'; CREATE TABLE extra (a INTEGER)"
		if err := open(add, "CREATE TABLE half (a INTEGER); CREATE TABLE exam (a INTEGER)"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("from version %d to %d", dbpool.Shipped(o.Driver)+1, dbpool.Shipped(o.Driver)+2)) {
			t.Errorf("a step that fails: %v", err)
		}
		p, err = dbpool.OpenVersions(t.Context(), o, dbpool.Shipped(o.Driver), add)
		if err != nil {
			t.Fatal(err)
		}
		serve(t, p)
		s := p.Store("emr")
		if got := query(t, s, "SELECT clinic FROM exam"); len(got) != 1 || got[0][0] != "main" {
			t.Errorf("exam has %v", got)
		}
		if _, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT * FROM half"}); err == nil || !strings.Contains(err.Error(), "there is no") {
			t.Errorf("half of a failed step is there: %v", err)
		}
		if err := open(); err == nil || !strings.Contains(err.Error(), "newer hostd") {
			t.Errorf("a database of a newer hostd: %v", err)
		}
	})
}

// A reader keeps queries prepared; what it answers is the table as it is now.
func TestAQueryThatIsKeptSeesThatItsTableChanged(t *testing.T) {
	p := clinic(t, dbpool.Options{MaxOpen: 2})
	s := p.Store("emr")
	const all = "SELECT * FROM ward"
	mustWrite(t, s, sdk.Insert{Table: "ward", Rows: []sdk.Row{{"name": "east"}}})
	for _, c := range []struct {
		change string
		want   []any
	}{
		{"DELETE FROM bed", []any{"east"}},
		{"ALTER TABLE ward ADD COLUMN floor INTEGER DEFAULT 3", []any{"east", int64(3)}},
		{"ALTER TABLE ward DROP COLUMN floor", []any{"east"}},
		{"CREATE INDEX ward_name ON ward (name)", []any{"east"}},
	} {
		mustWrite(t, s, sdk.Exec{SQL: c.change, Want: -1})
		for range 2 {
			if got := query(t, s, all); len(got) != 1 || !slices.Equal(got[0], c.want) {
				t.Errorf("after %s: %v, want %v", c.change, got, c.want)
			}
		}
	}
}

func TestOpenSaysWhatToCheck(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    dbpool.Options
		want string
	}{
		"no folder":      {dbpool.Options{Path: filepath.Join(dir, "none", "x.db")}, "check that its folder is there"},
		"not a database": {dbpool.Options{Path: garbage}, "is damaged or is not a database"},
		"driver":         {dbpool.Options{Path: filepath.Join(dir, "x.db"), Driver: "oracle"}, "those that are there: sqlite"},
		"one connection": {dbpool.Options{Path: filepath.Join(dir, "x.db"), MaxOpen: 1}, "at least 2"},
		"no path":        {dbpool.Options{}, "no path"},
	} {
		if _, err := dbpool.Open(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q in it", name, err, c.want)
		}
	}
	odd := filepath.Join(dir, "a b?c=d&e#f%20.db")
	p, err := dbpool.Open(t.Context(), dbpool.Options{Path: odd})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(odd); err != nil {
		t.Errorf("a file name with odd letters: %v", err)
	}
}

func TestReader(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		o := d.fresh(t, dbpool.Options{})
		if _, err := dbpool.OpenReader(t.Context(), filepath.Join(t.TempDir(), "hostd.db")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without a file: %v", err)
		}
		read := func() []dbpool.ExamRow {
			t.Helper()
			r, err := dbpool.OpenReaderOf(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			rows, err := r.Exams(t.Context(), 2)
			if err != nil {
				t.Fatal(err)
			}
			return rows
		}
		check := func(when string) {
			t.Helper()
			rows := read()
			if len(rows) != 2 || rows[0].RecordID != idOf(3) || rows[1].RecordID != idOf(2) {
				t.Fatalf("%s: %+v", when, rows)
			}
			want := dbpool.ExamRow{RecordID: idOf(3), Source: "ark-1", ReceivedAt: time.Unix(3, 0).UTC(), TakenAt: "2026-03-02T09:30:00", PatientID: "P3", DeviceMake: "Acme", DeviceModel: "ARK", Observations: 10}
			if rows[0] != want {
				t.Errorf("%s: %+v\nwant %+v", when, rows[0], want)
			}
		}
		p, err := dbpool.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if rows := read(); len(rows) != 0 {
			t.Errorf("an empty database has %+v", rows)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ran := make(chan error, 1)
		go func() { ran <- p.Run(ctx) }()
		mustWrite(t, p.Store("emr"), onceOf(1, nil), onceOf(3, nil), onceOf(2, nil))
		check("beside a running host")
		cancel()
		if err := errors.Join(<-ran, p.Close()); err != nil {
			t.Fatal(err)
		}
		check("without a host")
	})
}

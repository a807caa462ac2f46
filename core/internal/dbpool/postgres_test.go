package dbpool_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
	"github.com/jackc/pgx/v5/pgconn"
)

// oddTables have types of all sorts, and names that must be quoted.
const oddTables = `
CREATE DOMAIN short AS VARCHAR(3);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE "Odd ""One""" (id INTEGER PRIMARY KEY, code VARCHAR(5), pad CHAR(4), little SMALLINT, amount NUMERIC(8,2) UNIQUE, thin REAL, born DATE,
  uid UUID, doc JSONB, feeling mood, tiny short, "Mixed Case" TEXT, tags TEXT[], stamp TIMESTAMP, bits BIT(3), free BPCHAR);
`

const odd = `Odd "One"`

func oddPool(t *testing.T) *dbpool.Pool {
	t.Helper()
	d := postgresOf(t)
	d.clinic = oddTables
	return d.withClinic(t, dbpool.Options{})
}

func TestColumnsTakeWhatFitsThem(t *testing.T) {
	s := oddPool(t).Store("emr")
	for i, c := range []struct {
		column string
		in     any
		out    string // as the database writes it
	}{
		{"code", "눈눈눈눈눈", "눈눈눈눈눈"},
		{"code", "abc      ", "abc  "}, // blanks at the end are cut, not refused
		{"code", 12345, "12345"},
		{"code", true, "1"},
		{"code", []byte("ab"), "ab"},
		{"pad", "ab", "ab"},
		{"little", 7, "7"},
		{"little", 7.0, "7"},
		{"little", "7", "7"},
		{"little", true, "1"},
		{"amount", 2.5, "2.50"},
		{"amount", "12.345", "12.35"},
		{"amount", 3, "3.00"},
		{"thin", "1.5", "1.5"},
		{"thin", 2, "2"},
		{"born", "1970-01-02", "1970-01-02"},
		{"born", time.Date(1970, 1, 2, 3, 4, 5, 0, time.UTC), "1970-01-02"},
		{"uid", "6b1f5c1e-0000-4000-8000-000000000001", "6b1f5c1e-0000-4000-8000-000000000001"},
		{"doc", []byte(`{"a": [1, "b"]}`), `{"a": [1, "b"]}`},
		{"feeling", "good", "good"},
		{"tiny", "눈눈눈", "눈눈눈"},
		{"mixed case", "x", "x"},
		{"tags", `{a,"b c",NULL}`, `{a,"b c",NULL}`},
		{"stamp", time.Date(2026, 3, 2, 9, 30, 0, 5000, time.UTC), "2026-03-02 09:30:00.000005"},
		{"bits", "101", "101"},
		{"free", "any length at all", "any length at all"},
	} {
		mustWrite(t, s, sdk.Upsert{Table: strings.ToLower(odd), Key: []string{"ID"}, Rows: []sdk.Row{{"id": i, c.column: c.in}}})
		name := c.column
		if name == "mixed case" {
			name = `"Mixed Case"`
		}
		if got := query(t, s, `SELECT CAST(`+name+` AS TEXT) FROM "Odd ""One""" WHERE id = ?`, i)[0][0]; got != c.out {
			t.Errorf("%v in %s is stored as %v, want %s", c.in, c.column, got, c.out)
		}
	}
}

// TestWhatDoesNotFitIsNotSent has values that are refused with their column before anything is sent, and others of which
// only the database knows.
func TestWhatDoesNotFitIsNotSent(t *testing.T) {
	s := oddPool(t).Store("emr")
	const mark = "HONG-700101-1234567"
	for _, c := range []struct {
		column string
		in     any
		sent   bool
	}{
		{"code", mark, false},
		{"code", "눈눈눈눈눈눈", false},
		{"pad", mark, false},
		{"tiny", mark, false},
		{"bits", "1010", false},
		{"Mixed Case", mark + "\x00", false},
		{"Mixed Case", []byte(mark + "\xff"), false},
		{"little", mark, false},
		{"little", 7.5, false},
		{"little", []byte(mark), false},
		{"thin", mark, false},
		{"little", 1 << 40, true},
		{"amount", mark, true},
		{"amount", 1e9, true},
		{"born", mark, true},
		{"uid", mark, true},
		{"doc", `{"a": ` + mark, true},
		{"feeling", mark, true},
		{"tags", "{" + mark, true},
	} {
		good := sdk.Insert{Table: odd, Rows: []sdk.Row{{"id": 1}}}
		_, err := s.Write(t.Context(), good, sdk.Insert{Table: odd, Rows: []sdk.Row{{"id": 2, c.column: c.in}}})
		var ce *sdk.ChangeError
		if !errors.As(err, &ce) || ce.Index != 1 || sdk.ClassOf(err) != sdk.ClassPermanent {
			t.Errorf("%s: %v, class %s", c.column, err, sdk.ClassOf(err))
			continue
		}
		if errors.Is(err, dbpool.ErrRefused) == c.sent {
			t.Errorf("%s: refused before it was sent: %v; want %v: %v", c.column, !c.sent, c.sent, err)
		}
		if !c.sent && !strings.Contains(err.Error(), "write to "+odd+": column "+c.column+": ") {
			t.Errorf("%s: %v does not name it", c.column, err)
		}
		if strings.Contains(err.Error(), "HONG") {
			t.Errorf("%s: says %v", c.column, err)
		}
	}
	if n := count(t, s, `"Odd ""One"""`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestRowsOfOneKeyInAStatement upserts rows with equal keys, also such that only the database knows to be equal.
func TestRowsOfOneKeyInAStatement(t *testing.T) {
	s := oddPool(t).Store("emr")
	row := func(id int, amount any, code string) sdk.Row {
		return sdk.Row{"id": id, "amount": amount, "code": code}
	}
	up := func(rows ...sdk.Row) sdk.Change {
		return sdk.Upsert{Table: odd, Key: []string{"amount"}, Rows: rows}
	}
	out := mustWrite(t, s, up(row(1, "1", "a"), row(1, "1", "b")), up(row(1, "1.0", "c"), row(2, 2, "c"), row(1, "1.00", "d")))
	if out[0].Rows != 2 || out[1].Rows != 3 {
		t.Errorf("rows %+v", out)
	}
	if got := fmt.Sprint(query(t, s, `SELECT id, code FROM "Odd ""One""" ORDER BY id`)); got != "[[1 d] [2 c]]" {
		t.Errorf("rows %s", got)
	}
}

func TestATableOfAnotherSchema(t *testing.T) {
	d := postgresOf(t)
	s := d.withClinic(t, dbpool.Options{}).Store("emr")
	postgres.exec(t, "DROP SCHEMA IF EXISTS elsewhere CASCADE; CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.visit (chart TEXT PRIMARY KEY); CREATE TABLE elsewhere.hidden (a TEXT)")
	mustWrite(t, s, insertVisit("here"),
		sdk.Insert{Table: "Elsewhere.Visit", Rows: []sdk.Row{{"chart": "there"}}},
		sdk.Insert{Table: "elsewhere.hidden", Rows: []sdk.Row{{"a": "x"}}})
	if got := fmt.Sprint(query(t, s, "SELECT chart FROM visit"), query(t, s, "SELECT chart FROM elsewhere.visit")); got != "[[here]] [[there]]" {
		t.Errorf("rows %s", got)
	}
	own := query(t, s, "SELECT current_schema()")[0][0].(string) + ".Ingest_Receipt"
	if _, err := s.Write(t.Context(), sdk.Insert{Table: own, Rows: []sdk.Row{{"a": "x"}}}); !errors.Is(err, dbpool.ErrRefused) || !strings.Contains(err.Error(), "host's own") {
		t.Errorf("%s: %v", own, err)
	}
	for _, table := range []string{"hidden", "elsewhere.ingest_receipt", "pg_catalog.pg_class", "pg_class"} {
		if _, err := s.Write(t.Context(), sdk.Insert{Table: table, Rows: []sdk.Row{{"a": "x"}}}); !errors.Is(err, dbpool.ErrRefused) {
			t.Errorf("%s: %v", table, err)
		}
	}
}

// TestConflictsAreTriedAgain has two writers who lock the same rows the other way round.
func TestConflictsAreTriedAgain(t *testing.T) {
	p := postgresOf(t).withClinic(t, dbpool.Options{})
	s := p.Store("emr")
	mustWrite(t, s, insertVisit("a"), insertVisit("b"))
	touch := func(chart string) sdk.Change {
		return sdk.Exec{SQL: "UPDATE visit SET score = coalesce(score, 0) + 1 WHERE chart = ? AND pg_sleep(0.03) IS NOT NULL", Args: []any{chart}, Want: 1}
	}
	var wg sync.WaitGroup
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}, {"a", "b"}, {"b", "a"}} {
		wg.Go(func() {
			for range 3 {
				err := errors.New("not written yet")
				for err != nil { // a fourth conflict in a row is the sink's to try again
					if _, err = s.Write(t.Context(), touch(order[0]), touch(order[1])); err != nil && sdk.ClassOf(err) != sdk.ClassBusy {
						t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if st := p.Stats(); st.Repeats == 0 {
		t.Error("there was no conflict, so nothing was proven")
	}
	if got := fmt.Sprint(query(t, s, "SELECT score FROM visit ORDER BY chart")); got != "[[12] [12]]" {
		t.Errorf("scores %s, want 12 each", got)
	}
}

// TestOneRecordManyTimesAtOnce writes the same record on many connections, as it happens after an unknown outcome.
func TestOneRecordManyTimesAtOnce(t *testing.T) {
	s := postgresOf(t).withClinic(t, dbpool.Options{}).Store("emr")
	for n := range 10 {
		outcomes := make(chan sdk.Outcome, 8)
		var wg sync.WaitGroup
		for range cap(outcomes) {
			wg.Go(func() {
				out, err := s.Write(t.Context(), sdk.Once{Source: "ark-1", ID: idOf(n), Hash: hashOf(n), Changes: []sdk.Change{
					sdk.Insert{Table: "exam", Rows: []sdk.Row{examRow(n)}}, sdk.Insert{Table: "observation", Rows: observationRows(n)},
				}})
				if err != nil {
					t.Error(err)
					return
				}
				outcomes <- out[0].Outcome
			})
		}
		wg.Wait()
		close(outcomes)
		applied := 0
		for o := range outcomes {
			if o == sdk.Applied {
				applied++
			}
		}
		if applied != 1 {
			t.Errorf("record %d was applied %d times", n, applied)
		}
	}
}

func TestAQueryCannotWrite(t *testing.T) {
	s := postgresOf(t).withClinic(t, dbpool.Options{}).Store("emr")
	mustWrite(t, s, sdk.Exec{SQL: "CREATE FUNCTION sneak() RETURNS BIGINT LANGUAGE sql AS 'DELETE FROM tally; SELECT 1'", Want: -1})
	for _, sql := range []string{"SELECT sneak()", "SELECT set_config('transaction_read_only', 'off', false), sneak()", "SELECT nextval('visit_id_seq')", "EXPLAIN ANALYZE DELETE FROM tally", "SELECT 1 INTO other"} {
		if _, err := s.Query(t.Context(), sdk.Query{SQL: sql}); sdk.ClassOf(err) != sdk.ClassPermanent {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if n := count(t, s, "tally"); n != 1 {
		t.Errorf("%d tallies, want 1", n)
	}
}

// TestARestartedServerFailsNothing has eight idle connections when the server goes, or ends them.
func TestARestartedServerFailsNothing(t *testing.T) {
	d := postgresOf(t)
	p := d.withClinic(t, dbpool.Options{MaxOpen: 8})
	s := p.Store("emr")
	all := func(round string) {
		expr, open := d.hold(t)
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				if _, err := s.Write(t.Context(), insertVisit(fmt.Sprint(round, n)), sdk.Exec{SQL: "UPDATE tally SET n = n WHERE n > " + expr, Want: -1}); err != nil {
					t.Errorf("%s: %v", round, err)
				}
			})
		}
		until(t, "all connections are in use", func() bool { return p.Stats().InUse == 8 })
		open()
		wg.Wait()
	}
	all("before")
	postgres.restart(t)
	all("after")
	asked := func(round string) {
		for n := range 8 {
			if _, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT 1"}); err != nil {
				t.Errorf("%s: query %d: %v", round, n, err)
			}
		}
	}
	postgres.restart(t)
	asked("after a restart")
	all("again ")
	postgres.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hostd'")
	asked("after the administrator ended them")
	all("last ")
	postgres.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hostd'")
	all("the very last ")
	if n := count(t, s, "visit"); n != 40 {
		t.Errorf("%d visits, want 40", n)
	}
	if st := p.Stats(); st.Open > 8 || st.InUse != 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestACutCommitIsUnknown cuts the connection when the commit was sent: before the server has it, and after.
func TestACutCommitIsUnknown(t *testing.T) {
	for _, arrives := range []bool{false, true} {
		t.Run(fmt.Sprint("arrives ", arrives), func(t *testing.T) {
			o := postgresOf(t).fresh(t, dbpool.Options{})
			cut := newCutter(t, o.DSN, "COMMIT\x00", arrives)
			o.DSN = cut.dsn
			p := runs(t, o)
			s := p.Store("emr")
			mustWrite(t, s, onceOf(1, nil))
			cut.armed.Store(true)
			if _, err := s.Write(t.Context(), onceOf(2, nil)); sdk.ClassOf(err) != sdk.ClassUnknown {
				t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
			}
			until(t, "the server has ended the cut transaction", func() bool {
				return query(t, s, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND query <> 'COMMIT'")[0][0] == int64(0)
			})
			want := sdk.Applied
			if arrives {
				want = sdk.Duplicate
			}
			if out := mustWrite(t, s, onceOf(2, nil)); out[0].Outcome != want {
				t.Errorf("the same again: outcome %d, want %d", out[0].Outcome, want)
			}
			if n := count(t, s, "observation"); n != 20 {
				t.Errorf("%d observations, want 20", n)
			}
		})
	}
}

// TestACutQueryIsAskedAgain cuts the connection in the middle of a query.
func TestACutQueryIsAskedAgain(t *testing.T) {
	o := postgresOf(t).fresh(t, dbpool.Options{})
	cut := newCutter(t, o.DSN, "cut_here", true)
	o.DSN = cut.dsn
	s := runs(t, o).Store("emr")
	cut.armed.Store(true)
	if got := query(t, s, "SELECT 1 AS cut_here")[0][0]; got != int64(1) || cut.armed.Load() {
		t.Errorf("got %v; cut: %v", got, !cut.armed.Load())
	}
}

func TestOpenOfAServerSaysWhatToCheck(t *testing.T) {
	d := postgresOf(t)
	o := d.fresh(t, dbpool.Options{ConnectTimeout: 5 * time.Second})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, c := range map[string]struct{ dsn, want string }{
		"no database": {strings.Replace(o.DSN, "/postgres?", "/none?", 1), "there is no such database"},
		"no user":     {strings.Replace(o.DSN, "hostd@", "nobody:s3cret@", 1), "refused the login"},
		"no schema":   {strings.Replace(o.DSN, "search_path=", "search_path=no_", 1), "check search_path"},
		"no server":   {fmt.Sprintf("postgres://hostd:s3cret@%s/postgres", closed.Addr()), "the server is not reached"},
		"no dsn":      {"", "no dsn is set for postgres"},
		"not one":     {"postgres://hostd:s3cret@[::1", "the dsn cannot be read"},
	} {
		o.DSN = c.dsn
		_, err := dbpool.Open(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v; want %q in it", name, err, c.want)
		}
	}
}

func TestNetworksAreCrossedEncrypted(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	os.Unsetenv("PGSSLMODE")
	for dsn, want := range map[string]bool{
		"postgres://hostd@10.0.0.5/clinic":                 true,
		"host=emr.example user=hostd":                      true,
		"host=emr.example,emr2.example user=hostd":         true,
		"postgres://hostd@10.0.0.5/clinic?sslmode=disable": false,
		"postgres://hostd@10.0.0.5/clinic?sslmode=prefer":  false,
		"postgres://hostd@127.0.0.1/clinic":                false,
		"postgres://hostd@localhost/clinic":                false,
		"host=/run/postgresql user=hostd":                  false,
		"postgres://hostd@10.0.0.5/clinic?sslmode=require": true,
	} {
		if got := dbpool.Encrypts(dsn); got != want {
			t.Errorf("%s: only encrypted: %v, want %v", dsn, got, want)
		}
	}
}

// TestPlacesOfAServer has reads and writes on the same connections, with a limit for each of several sinks.
func TestPlacesOfAServer(t *testing.T) {
	d := postgresOf(t)
	p := d.withClinic(t, dbpool.Options{MaxOpen: 4, AcquireTimeout: 500 * time.Millisecond})
	emr, pacs := p.Store("emr"), p.Store("pacs")
	expr, open := d.hold(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { query(t, emr, "SELECT "+expr) })
	}
	wg.Go(func() { mustWrite(t, emr, sdk.Exec{SQL: "INSERT INTO tally SELECT " + expr, Want: 1}) })
	until(t, "three are held", func() bool { return p.Stats().InUse == 3 })
	_, err := emr.Write(t.Context(), insertVisit("a"))
	if !errors.Is(err, dbpool.ErrBusy) || !strings.Contains(err.Error(), "held by emr 3 (oldest ") {
		t.Errorf("a fourth place for emr: %v", err)
	}
	mustWrite(t, pacs, insertVisit("b"))
	open()
	wg.Wait()
	mustWrite(t, emr, insertVisit("a"))
	if st := p.Stats(); st.InUse != 0 || st.Open > 4 || st.Commits != st.Writes {
		t.Errorf("stats %+v", st)
	}
}

// TestWhatIsCancelledEndsOnTheServerToo looks for the statement there, where it would keep its locks.
func TestWhatIsCancelledEndsOnTheServerToo(t *testing.T) {
	p := postgresOf(t).withClinic(t, dbpool.Options{OperationTimeout: 300 * time.Millisecond})
	s := p.Store("emr")
	mustWrite(t, s, insertVisit("a"))
	if _, err := s.Write(t.Context(), sdk.Exec{SQL: "UPDATE visit SET room = '2' WHERE pg_sleep(60) IS NOT NULL", Want: 1}); !errors.Is(err, context.DeadlineExceeded) || sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
	}
	mustWrite(t, s, sdk.Exec{SQL: "UPDATE visit SET room = '3'", Want: 1})
	if got := query(t, s, "SELECT room FROM visit")[0][0]; got != "3" {
		t.Errorf("room %v, want 3", got)
	}
}

// TestCodesOfPostgres has what the server says in words full of values, none of which may be said again.
func TestCodesOfPostgres(t *testing.T) {
	const mark = "HONG-700101-1234567"
	for code, want := range map[string]struct {
		class sdk.Class
		is    error
	}{
		"23505": {sdk.ClassPermanent, dbpool.ErrDuplicate}, "23503": {sdk.ClassPermanent, nil}, "22001": {sdk.ClassPermanent, nil}, "22P02": {sdk.ClassPermanent, nil},
		"42P01": {sdk.ClassPermanent, nil}, "42601": {sdk.ClassPermanent, nil}, "P0001": {sdk.ClassPermanent, nil}, "0A000": {sdk.ClassPermanent, nil},
		"40001": {sdk.ClassBusy, nil}, "40P01": {sdk.ClassBusy, nil}, "55P03": {sdk.ClassBusy, nil},
		"57014": {sdk.ClassUnavailable, nil}, "57P01": {sdk.ClassUnavailable, nil}, "57P03": {sdk.ClassUnavailable, nil}, "53300": {sdk.ClassUnavailable, nil},
		"08006": {sdk.ClassUnavailable, nil}, "28P01": {sdk.ClassUnavailable, nil}, "28000": {sdk.ClassUnavailable, nil}, "3D000": {sdk.ClassUnavailable, nil},
		"42501": {sdk.ClassUnavailable, nil}, "53100": {sdk.ClassUnavailable, dbpool.ErrFull}, "XX001": {sdk.ClassUnavailable, dbpool.ErrDamaged},
		"XX000": {sdk.ClassNone, nil}, "": {sdk.ClassNone, nil}, "9": {sdk.ClassNone, nil},
	} {
		e := &pgconn.PgError{
			SeverityUnlocalized: "ERROR", Code: code, Message: `near "` + mark + `"`, Detail: "Key (a)=(" + mark + ")", Hint: mark, Where: mark, InternalQuery: mark, TableName: "visit", ConstraintName: "visit_key",
		}
		class, text, is := dbpool.Meaning("postgres", fmt.Errorf("exec: %w", e), "UPDATE visit SET a = ?")
		if class != want.class || want.is != nil && !errors.Is(is, want.is) {
			t.Errorf("%s: class %s, %v; want %s, %v", code, class, is, want.class, want.is)
		}
		if strings.Contains(text, "HONG") || !strings.Contains(text, code) {
			t.Errorf("%s says %s", code, text)
		}
	}
	for _, err := range []error{io.EOF, driver.ErrBadConn, net.ErrClosed} {
		if _, text, _ := dbpool.Meaning("postgres", err, ""); text != "" {
			t.Errorf("%v is taken for an answer of the server: %s", err, text)
		}
	}
}

// TestBytesAreTheKeyOfACachedAnswer asks by arguments for which a dialect has a type of its own.
func TestBytesAreTheKeyOfACachedAnswer(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p, _ := caching(t, d, dbpool.Options{})
		s := p.Store("emr")
		mustWrite(t, s, sdk.Insert{Table: "kinds", Rows: []sdk.Row{{"id": 1, "b": []byte("a")}, {"id": 2, "b": []byte("b")}}})
		for want, b := range map[int64]string{1: "a", 2: "b"} {
			res, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT id FROM kinds WHERE b = ?", Args: []any{[]byte(b)}, CacheFor: time.Minute})
			if err != nil || len(res.Rows) != 1 || res.Rows[0][0] != want {
				t.Errorf("%s: %v, %v", b, res.Rows, err)
			}
		}
	})
}

// TestAnAnswerThatIsTooLargeIsNotReadToItsEnd asks for more than could be read within the operation's time.
func TestAnAnswerThatIsTooLargeIsNotReadToItsEnd(t *testing.T) {
	s := postgresOf(t).running(t, dbpool.Options{}).Store("emr")
	begin := time.Now()
	_, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT a.x, repeat('x', 100) FROM generate_series(1, 100000) AS a(x), generate_series(1, 100000)"})
	if took := time.Since(begin); !errors.Is(err, dbpool.ErrTooMuch) || took > 8*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	query(t, s, "SELECT 1")
}

// TestOpenWhereTheServerHasNoTLS: the driver dials once with encryption, is refused, and dials once more without.
func TestOpenWhereTheServerHasNoTLS(t *testing.T) {
	o := postgresOf(t).fresh(t, dbpool.Options{})
	o.DSN = strings.Replace(o.DSN, "sslmode=disable", "sslmode=prefer", 1)
	p := runs(t, o)
	if _, err := p.Store("emr").Write(t.Context(), onceOf(1, nil)); err != nil {
		t.Error(err)
	}
}

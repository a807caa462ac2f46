package dbpool_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
)

// database is one that the tests run on, and its own words for what each has differently.
type database struct {
	served  bool
	fresh   func(tb testing.TB, o dbpool.Options) dbpool.Options // o with a new database in it
	hold    func(tb testing.TB) (expr string, open func())       // expression that gives 1 after it was opened, and waits for that
	clinic  string                                               // makes the tables of a clinic
	blob    string                                               // query of as many bytes as its argument says
	session string                                               // statement that would change how the connection works
	last    string                                               // the key that the last insert made
	columns string                                               // query of the columns of the table in its argument
	yes     any                                                  // a bool that was stored
	at      func(time.Time) any                                  // a time that was stored
	tick    time.Duration                                        // how finely
	bad     string                                               // query that fails for its argument
	add     string                                               // of ALTER TABLE, before a column
	series  string                                               // query of the numbers from 1 to its argument
	slow    string                                               // query that takes as long as its argument is large, and
	and     string                                               // with that one more condition
	octet   string                                               // a byte, written out
	tsql    bool                                                 // it is SQL Server
	leaks   map[string]string                                    // statements of its own that could say a value, see TestNoValueIsEverSaid
}

// databases are the ones that there are. Those that are not on this machine skip the test.
var databases = []struct {
	name string
	open func(tb testing.TB) *database
}{
	{"sqlite", sqliteOf},
	{"postgres", postgresOf},
	{"sqlserver", sqlserverOf},
}

// each runs a test on every database.
func each(t *testing.T, run func(t *testing.T, d *database)) {
	t.Helper()
	for _, of := range databases {
		t.Run(of.name, func(t *testing.T) { run(t, of.open(t)) })
	}
}

// running opens a pool on a new database and runs it until the test ends.
func (d *database) running(tb testing.TB, o dbpool.Options) *dbpool.Pool {
	tb.Helper()
	return runs(tb, d.fresh(tb, o))
}

// withClinic is as running, with the clinic's tables beside the host's.
func (d *database) withClinic(tb testing.TB, o dbpool.Options) *dbpool.Pool {
	tb.Helper()
	o = d.fresh(tb, o)
	p, err := dbpool.OpenVersions(tb.Context(), o, dbpool.Shipped(o.Driver), d.clinic)
	if err != nil {
		tb.Fatal(err)
	}
	serve(tb, p)
	return p
}

// runs opens the database of o and runs it until the test ends.
func runs(tb testing.TB, o dbpool.Options) *dbpool.Pool {
	tb.Helper()
	p, err := dbpool.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	serve(tb, p)
	return p
}

func sqliteOf(testing.TB) *database {
	return &database{
		fresh: func(tb testing.TB, o dbpool.Options) dbpool.Options {
			o.Path = filepath.Join(tb.TempDir(), "hostd.db")
			return o
		},
		hold: func(tb testing.TB) (string, func()) {
			n, open := newGate()
			open = sync.OnceFunc(open)
			tb.Cleanup(open)
			return fmt.Sprintf("test_wait(%d)", n), open
		},
		clinic: `
CREATE TABLE visit (id INTEGER PRIMARY KEY AUTOINCREMENT, chart TEXT NOT NULL UNIQUE, room TEXT, score REAL, at TEXT);
CREATE TABLE ward (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE bed (id INTEGER PRIMARY KEY, ward TEXT NOT NULL REFERENCES ward(name), next_to INTEGER REFERENCES bed(id));
CREATE TABLE tally (n INTEGER NOT NULL);
INSERT INTO tally VALUES (0);
CREATE TABLE watched (id INTEGER PRIMARY KEY, seen INTEGER);
CREATE TRIGGER watching AFTER INSERT ON watched BEGIN UPDATE watched SET seen = (SELECT count(*) FROM visit) WHERE id = new.id; END;
CREATE TABLE brittle (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK);
CREATE TABLE kinds (id INTEGER PRIMARY KEY, n INTEGER, f REAL, s TEXT, b BLOB, yes INTEGER, at TEXT);
`,
		blob:    "SELECT zeroblob(?)",
		session: "PRAGMA query_only = 0",
		last:    "last_insert_rowid()",
		columns: "SELECT name FROM pragma_table_info(?)",
		yes:     int64(1),
		at:      func(t time.Time) any { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") },
		tick:    time.Nanosecond,
		bad:     "SELECT json(?)",
		add:     "ADD COLUMN",
		series:  "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < CAST(? AS INTEGER)) SELECT x FROM c",
		slow:    slow,
		and:     " WHERE",
		octet:   "x'01'",
		leaks: map[string]string{
			"json":      "UPDATE visit SET room = json_extract(?, '$')",
			"json path": "UPDATE visit SET room = json_extract('{}', ?)",
			"regexp":    "UPDATE visit SET room = ('a' REGEXP ?)",
		},
	}
}

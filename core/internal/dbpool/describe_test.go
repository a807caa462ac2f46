package dbpool_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
)

// described opens the catalog of a database in which the statements ran.
func described(t *testing.T, o dbpool.Options, statements ...string) *dbpool.Reader {
	t.Helper()
	p, err := dbpool.OpenVersions(t.Context(), o, dbpool.Shipped(o.Driver), strings.Join(statements, ";\n"))
	if err != nil {
		t.Fatal(err)
	}
	serve(t, p)
	r, err := dbpool.OpenCatalog(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestCatalog: what a table is like, beside a running host, on every database.
func TestCatalog(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		o := d.fresh(t, dbpool.Options{})
		text, low := "TEXT", `CREATE UNIQUE INDEX iop_low ON IOP (lower(HOW))`
		if o.Driver == "sqlserver" { // it has no index over a TEXT, nor over an expression
			text, low = "NVARCHAR(99)", ""
		}
		r := described(
			t, o,
			`CREATE TABLE IOP (EYE VARCHAR(2) NOT NULL, SHOT INTEGER NOT NULL DEFAULT 1, "Odd name" `+text+` NULL, HOW `+text+` NOT NULL, PRIMARY KEY (EYE, SHOT))`,
			`CREATE UNIQUE INDEX iop_how ON IOP (HOW, SHOT)`,
			`CREATE UNIQUE INDEX iop_part ON IOP (HOW) WHERE SHOT > 1`,
			`CREATE INDEX iop_plain ON IOP (EYE)`,
			low,
		)
		name, err := r.Table(t.Context(), "iop")
		if err != nil || !strings.EqualFold(name.Name, "IOP") || len(name.Columns) != 4 {
			t.Fatalf("%+v, %v", name, err)
		}
		var columns []string
		for _, c := range name.Columns {
			text := strings.ToUpper(c.Name)
			if c.Nullable {
				text += " null"
			}
			if c.Filled {
				text += " filled"
			}
			columns = append(columns, text)
		}
		if want := []string{"EYE", "SHOT filled", "ODD NAME null", "HOW"}; !slices.Equal(columns, want) {
			t.Errorf("columns %q, want %q", columns, want)
		}
		if name.Columns[0].Type == "" || d.served && name.Columns[0].MaxLength != 2 {
			t.Errorf("column %+v", name.Columns[0])
		}
		var keys []string
		for _, k := range name.Keys {
			slices.Sort(k)
			keys = append(keys, strings.ToUpper(strings.Join(k, "+")))
		}
		slices.Sort(keys)
		if want := []string{"EYE+SHOT", "HOW+SHOT"}; !slices.Equal(keys, want) {
			t.Errorf("keys %q, want %q", keys, want)
		}
		own, err := r.Table(t.Context(), "record")
		if err != nil || !own.Columns[0].Filled || own.Columns[1].Filled {
			t.Errorf("the number that the database makes is not filled: %+v, %v", own.Columns, err)
		}
		none, err := r.Table(t.Context(), "IOPP")
		if err != nil || none.Name != "" || none.Columns != nil || !strings.EqualFold(none.Near, "iop") || none.Database == "" {
			t.Errorf("no such table: %+v, %v", none, err)
		}
	})
}

// TestCatalogOnlyReads: queries are answered as by a Store, and nothing is written.
func TestCatalogOnlyReads(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		r := described(t, d.fresh(t, dbpool.Options{}), d.clinic)
		res, err := r.Query(t.Context(), sdk.Query{SQL: "SELECT n FROM tally WHERE n = ?", Args: []any{0}})
		if err != nil || len(res.Rows) != 1 {
			t.Errorf("%+v, %v", res, err)
		}
		if _, err := r.Query(t.Context(), sdk.Query{SQL: "SELECT x FROM tally WHERE n = ?", Args: []any{nil}}); sdk.ClassOf(err) != sdk.ClassPermanent {
			t.Errorf("a column that is not there: %v", err)
		}
		for _, q := range []sdk.Query{{SQL: "DELETE FROM tally"}, {SQL: "SELECT ?"}, {SQL: "SELECT 1", MaxRows: -1}, {SQL: "SELECT 1; SELECT 2"}} {
			if _, err := r.Query(t.Context(), q); !errors.Is(err, dbpool.ErrRefused) {
				t.Errorf("%s: %v", q.SQL, err)
			}
		}
		if _, err := r.Query(t.Context(), sdk.Query{SQL: "WITH x AS (SELECT 1 AS one) SELECT * FROM tally, x", MaxRows: 1}); err != nil {
			t.Error(err)
		}
		if _, err := r.Write(t.Context(), sdk.Exec{SQL: "DELETE FROM tally", Want: -1}); sdk.ClassOf(err) != sdk.ClassPermanent {
			t.Errorf("write: %v", err)
		}
	})
}

// TestCatalogLeavesAFileAsItIs: a file that nobody has open gets no files beside it; one that is not there is not made.
func TestCatalogLeavesAFileAsItIs(t *testing.T) {
	dir := t.TempDir()
	o := dbpool.Options{Path: filepath.Join(dir, "hostd.db")}
	if _, err := dbpool.OpenCatalog(t.Context(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	p, err := dbpool.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := dbpool.OpenCatalog(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if table, err := r.Table(t.Context(), "exam"); err != nil || table.Name != "exam" {
		t.Errorf("%+v, %v", table, err)
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Errorf("the folder has %v, %v", list, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestCatalogRefusesWhatAStoreDoes: a query of a check may do no more than one of a sink, on every database.
func TestCatalogRefusesWhatAStoreDoes(t *testing.T) {
	for _, driver := range dbpool.Drivers() {
		for _, text := range []string{
			"SELECT 1", "SELECT * INTO copy FROM visit", "SELECT NEXT VALUE FOR numbers", "WITH gone AS (SELECT 1) DELETE FROM visit", "EXEC clean", "EXPLAIN SELECT 1",
			"SELECT * FROM OPENROWSET('x', 'y', 'z')", "SELECT last_insert_rowid()", "SELECT lastval()", "VALUES (1)", "SELECT 1 SELECT 2", "PRAGMA query_only = 0",
		} {
			if store, reader := dbpool.Refusals(driver, text); store != reader {
				t.Errorf("%s: %s: refused by a Store: %v, by a Reader: %v", driver, text, store, reader)
			}
		}
	}
}

// TestEveryDialectIsDescribed: one without its texts would fail every check.
func TestEveryDialectIsDescribed(t *testing.T) {
	for _, name := range dbpool.Drivers() {
		if !dbpool.Described(name) {
			t.Errorf("%s has no description", name)
		}
	}
}

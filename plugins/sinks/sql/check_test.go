package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

// catalogFunc is a catalog of one func.
type catalogFunc func(name string) (sdk.Table, error)

// Table is sdk.Catalog's.
func (f catalogFunc) Table(_ context.Context, name string) (sdk.Table, error) { return f(name) }

const inspected = `
  - name: VISIT
    rows: exam
    key: [ID]
    columns:
      ID: record.id
      CHART: {lookup: "SELECT CHART_NO FROM PATIENT WHERE DEVICE_ID = ?", with: [patient.id]}
      AT: exam.taken_at
      SEEN: {from: record.received, as: utc}
      DAY: patient.birth
      NAME: patient.name
      N: record.seq
      SPH: obs(sphere R)
      AXIS: {from: obs(axis R), as: decimal(0)}
      RAW: record.raw
`

// right is a table that fits inspected, on a server.
func right() sdk.Table {
	return sdk.Table{Database: "postgres", Name: "visit", Keys: [][]string{{"no"}, {"id"}}, Columns: []sdk.Column{
		{Name: "no", Type: "bigint", Filled: true},
		{Name: "id", Type: "character varying", MaxLength: 64},
		{Name: "chart", Type: "bigint", Nullable: true},
		{Name: "at", Type: "timestamp without time zone", Nullable: true},
		{Name: "seen", Type: "timestamp with time zone", Nullable: true},
		{Name: "day", Type: "date", Nullable: true},
		{Name: "name", Type: "text", Nullable: true},
		{Name: "n", Type: "integer", Nullable: true},
		{Name: "sph", Type: "numeric", Nullable: true},
		{Name: "axis", Type: "smallint", Nullable: true},
		{Name: "raw", Type: "bytea", Nullable: true},
		{Name: "kept", Type: "tsvector", Nullable: true},
	}}
}

// settingsOf are those of a sink with the tables.
func settingsOf(t *testing.T, tables string) sdk.Settings {
	t.Helper()
	return sdk.NewSettings(jsonOf(t, "schema: mapped\nzone: '+09:00'\ntables:"+tables))
}

// findings is each finding as a line.
func findings(found []sdk.Finding) (lines []string) {
	for _, f := range found {
		line := fmt.Sprintf("%s %s: %s", f.Severity, f.Setting, f.Text)
		if f.Proposal != "" {
			line += " | " + f.Proposal
		}
		lines = append(lines, line)
	}
	return lines
}

// TestCheckComparesTables: each way in which a table does not fit has its finding, and one that fits has none.
func TestCheckComparesTables(t *testing.T) {
	column := func(name string, change func(*sdk.Column)) func(*sdk.Table) {
		return func(t *sdk.Table) {
			change(&t.Columns[slices.IndexFunc(t.Columns, func(c sdk.Column) bool { return c.Name == name })])
		}
	}
	typed := func(name, kind string) func(*sdk.Table) {
		return column(name, func(c *sdk.Column) { c.Type = kind })
	}
	sqlite := func(changes ...func(*sdk.Table)) func(*sdk.Table) {
		return func(t *sdk.Table) {
			t.Database = "sqlite"
			for _, change := range changes {
				change(t)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*sdk.Table)
		want   string
	}{
		"nothing": {func(*sdk.Table) {}, ""},
		"no table": {
			func(t *sdk.Table) { *t = sdk.Table{Database: "postgres", Near: "visits"} },
			`fault tables[0].name: there is no table VISIT in the database; did you mean visits? | CREATE TABLE "visit" (`,
		},
		"no column": {
			func(t *sdk.Table) { t.Columns[8].Name = "sphere" },
			`fault tables[0].columns.SPH: the table visit has no column SPH; known: no, id, chart, at, seen, day, name, n, sphere, axis, raw, kept` +
				` | ALTER TABLE "visit" ADD COLUMN "sph" double precision;`,
		},
		"no key": {
			func(t *sdk.Table) {
				t.Name, t.Columns[1].Name, t.Keys = "Clinic.visit", "Id", [][]string{{"Id", "n"}, {"no"}}
			},
			`fault tables[0].key: no row of Clinic.visit can be found again by it: these columns are not its primary key, nor just those of a unique index` +
				` | CREATE UNIQUE INDEX "visit_hostd_key" ON "Clinic"."visit" ("Id");`,
		},
		"a column that must be filled": {
			func(t *sdk.Table) { t.Columns[0].Filled = false },
			"fault tables[0].columns: lacks no, which must have a value in each row of visit",
		},
		"a value that may be missing": {
			column("name", func(c *sdk.Column) { c.Nullable = false }),
			"note tables[0].columns.NAME: may have no value, and the column must have one: such a record becomes a dead letter; default or required say what is meant",
		},
		"time":     {typed("at", "integer"), "fault tables[0].columns.AT: is time, and the column is integer, which takes none"},
		"utc":      {typed("seen", "boolean"), "fault tables[0].columns.SEEN: is utc, and the column is boolean, which takes none"},
		"date":     {typed("day", "numeric(5,2)"), "fault tables[0].columns.DAY: is date, and the column is numeric(5,2), which takes none"},
		"number":   {typed("sph", "date"), "fault tables[0].columns.SPH: is number, and the column is date, which takes none"},
		"bytes":    {typed("raw", "bigint"), "fault tables[0].columns.RAW: is bytes, and the column is bigint, which takes none"},
		"fraction": {typed("sph", "integer"), "note tables[0].columns.SPH: is number, and the column is integer: a record whose value it does not take becomes a dead letter"},
		"text":     {typed("name", "smallint"), "note tables[0].columns.NAME: is text, and the column is smallint: a record whose value it does not take becomes a dead letter"},
		"collated": {
			typed("raw", "ntext COLLATE Korean_Wansung_CI_AS"),
			"note tables[0].columns.RAW: is bytes, and the column is ntext COLLATE Korean_Wansung_CI_AS: a record whose value it does not take becomes a dead letter",
		},
		"number text": {typed("sph", "text"), ""},
		"odd type":    {typed("name", "hstore"), ""},
		"sqlite":      {sqlite(typed("at", "TEXT"), typed("seen", "DATETIME"), typed("day", "TEXT"), typed("raw", "TEXT")), ""},
		"sqlite time": {
			sqlite(typed("at", "INTEGER")),
			"note tables[0].columns.AT: is time, and the column is INTEGER: SQLite stores it all the same, and a text that looks like a number as a number",
		},
		"another database": {func(t *sdk.Table) { t.Database = "oracle" }, `look for table VISIT: the database "oracle" is not known`},
	} {
		table := right()
		c.change(&table)
		s := &sink{}
		env := sdk.SinkEnv{Settings: settingsOf(t, inspected), Store: newClinic(t)}
		found, err := s.Check(t.Context(), env, catalogFunc(func(string) (sdk.Table, error) { return table, nil }))
		got := strings.Join(findings(found), "\n")
		if err != nil {
			got = err.Error()
		}
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) || strings.Contains(got, "\nfault") || strings.Contains(got, "\nnote") {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// TestCheckOfSettings: what Open would refuse is found with its path, without a look at the database; the tables that hostd
// makes need none.
func TestCheckOfSettings(t *testing.T) {
	closed := catalogFunc(func(string) (sdk.Table, error) {
		t.Error("the database was asked")
		return sdk.Table{}, nil
	})
	s := &sink{}
	found, err := s.Check(t.Context(), sdk.SinkEnv{Settings: settingsOf(t, strings.Replace(inspected, "record.seq", "record.sequence", 1))}, closed)
	if got := strings.Join(findings(found), "\n"); err != nil || !strings.HasPrefix(got, `fault tables[0].columns.N: unknown field "record.sequence"`) {
		t.Errorf("%s, %v", got, err)
	}
	if found, err := s.Check(t.Context(), sdk.SinkEnv{Settings: sdk.NewSettings([]byte("{}"))}, closed); len(found) != 0 || err != nil {
		t.Errorf("schema exams: %v, %v", found, err)
	}
	if _, err := s.Check(t.Context(), sdk.SinkEnv{Settings: sdk.NewSettings([]byte(`{"tabels": 1}`))}, closed); !errors.Is(err, sdk.ErrSettings) {
		t.Errorf("an unknown setting: %v", err)
	}
}

// TestCheckTriesLookups: a look-up that the database refuses is found; that the database is away is an error.
func TestCheckTriesLookups(t *testing.T) {
	there := catalogFunc(func(string) (sdk.Table, error) { return right(), nil })
	s := &sink{}
	c := newClinic(t, "DROP TABLE PATIENT")
	found, err := s.Check(t.Context(), sdk.SinkEnv{Settings: settingsOf(t, inspected), Store: c}, there)
	if got := strings.Join(findings(found), "\n"); err != nil || got != "fault tables[0].columns.CHART.lookup: no such table or column" {
		t.Errorf("%s, %v", got, err)
	}
	away := sdk.WithClass(sdk.ClassUnavailable, errors.New("away"))
	c.fail = func(*sdk.Query) error { return away }
	if _, err := s.Check(t.Context(), sdk.SinkEnv{Settings: settingsOf(t, inspected), Store: c}, there); !errors.Is(err, away) {
		t.Errorf("a look-up of a database that is away: %v", err)
	}
	gone := catalogFunc(func(string) (sdk.Table, error) { return sdk.Table{}, away })
	if _, err := s.Check(t.Context(), sdk.SinkEnv{Settings: settingsOf(t, inspected), Store: newClinic(t)}, gone); !errors.Is(err, away) {
		t.Errorf("a catalog of a database that is away: %v", err)
	}
}

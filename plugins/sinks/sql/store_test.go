package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	_ "modernc.org/sqlite"

	"github.com/hostd/hostd/core/sdk"
)

// tables are the columns of the shipped schema.
var tables = map[string][]string{
	"record":      {"source", "record_id", "kind", "taken_at", "received_at", "seq", "content_type", "labels", "data", "raw", "content_hash", "amends", "unassigned"},
	"exam":        {"source", "record_id", "patient_id", "patient_name", "patient_birth", "patient_sex", "device_make", "device_model", "device_serial", "taken_at", "received_at", "unassigned", "warnings", "amended_by"},
	"observation": {"source", "record_id", "idx", "code", "eye", "method", "seq", "value_num", "value_text", "unit", "text", "flags"},
	"attachment":  {"source", "record_id", "idx", "name", "content_type", "size", "hash", "role"},
	"receipt":     {"source", "record_id", "hash"},
}

// nullable are the only columns that may be NULL.
var nullable = []string{"record.taken_at", "record.data", "record.raw", "observation.value_num"}

var keys = map[string]string{
	"record": "source, record_id", "exam": "source, record_id", "receipt": "source, record_id",
	"observation": "source, record_id, idx", "attachment": "source, record_id, idx",
}

// memory is a Store on SQLite in memory. It takes only rows with exactly the columns of the schema, and keeps
// receipts as the host does.
type memory struct {
	t      testing.TB
	db     *sql.DB
	fail   func(call int, changes []sdk.Change) error // nil is none
	writes [][]sdk.Change
	reads  int
}

func newMemory(t testing.TB) *memory {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	for table, columns := range tables {
		var defs []string
		for _, c := range columns {
			if !slices.Contains(nullable, table+"."+c) {
				c += " NOT NULL"
			}
			defs = append(defs, c)
		}
		if _, err := db.Exec(fmt.Sprintf("CREATE TABLE %s (%s, PRIMARY KEY (%s))", table, strings.Join(defs, ", "), keys[table])); err != nil {
			t.Fatal(err)
		}
	}
	return &memory{t: t, db: db}
}

// Write is all or nothing.
func (m *memory) Write(ctx context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	m.writes = append(m.writes, changes)
	if m.fail != nil {
		if err := m.fail(len(m.writes), changes); err != nil {
			return nil, err
		}
	}
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, sdk.WithClass(sdk.ClassUnavailable, err)
	}
	defer tx.Rollback()
	done := make([]sdk.Changed, len(changes))
	for i, c := range changes {
		once, ok := c.(sdk.Once)
		if !ok {
			m.t.Errorf("change %d is a %T, and has no receipt", i, c)
			continue
		}
		if done[i], err = m.once(tx, once); err != nil {
			return nil, &sdk.ChangeError{Index: i, Err: sdk.Permanent(err)}
		}
	}
	return done, tx.Commit()
}

func (m *memory) once(tx *sql.Tx, o sdk.Once) (sdk.Changed, error) {
	var hash string
	err := tx.QueryRow("SELECT hash FROM receipt WHERE source = ? AND record_id = ?", o.Source, o.ID).Scan(&hash)
	switch {
	case err == nil && hash == o.Hash:
		return sdk.Changed{Outcome: sdk.Duplicate}, nil
	case err == nil:
		return sdk.Changed{Outcome: sdk.Conflict}, nil
	case !errors.Is(err, sql.ErrNoRows):
		return sdk.Changed{}, err
	}
	if _, err := tx.Exec("INSERT INTO receipt VALUES (?, ?, ?)", o.Source, o.ID, o.Hash); err != nil {
		return sdk.Changed{}, err
	}
	for _, c := range o.Changes {
		switch c := c.(type) {
		case sdk.Insert:
			err = m.rows(tx, c.Table, "", c.All())
		case sdk.Upsert:
			if got := strings.Join(c.Key, ", "); got != keys[c.Table] {
				m.t.Errorf("upsert of %s has the key %s, want %s", c.Table, got, keys[c.Table])
			}
			err = m.rows(tx, c.Table, " OR REPLACE", c.All())
		case sdk.Exec:
			_, err = tx.Exec(c.SQL, c.Args...)
		default:
			m.t.Errorf("a %T inside of a Once", c)
		}
		if err != nil {
			return sdk.Changed{}, err
		}
	}
	return sdk.Changed{}, nil
}

func (m *memory) rows(tx *sql.Tx, table, or string, rows []sdk.Row) error {
	want := slices.Sorted(slices.Values(tables[table]))
	if len(rows) == 0 {
		m.t.Errorf("no rows for %s", table)
	}
	for _, row := range rows {
		if got := slices.Sorted(maps.Keys(row)); !slices.Equal(got, want) {
			m.t.Errorf("columns of %s are %v, want %v", table, got, want)
		}
		args := make([]any, len(want))
		for i, c := range want {
			args[i] = m.value(table+"."+c, row[c])
		}
		insert := fmt.Sprintf("INSERT%s INTO %s (%s) VALUES (?%s)", or, table, strings.Join(want, ", "), strings.Repeat(", ?", len(want)-1))
		if _, err := tx.Exec(insert, args...); err != nil {
			return err
		}
	}
	return nil
}

// value takes the types of sdk.Row, and texts that every database takes.
func (m *memory) value(column string, v any) any {
	switch v := v.(type) {
	case nil, bool, int, int64, float64, []byte, time.Time:
	case string:
		if !utf8.ValidString(v) || strings.Contains(v, "\x00") {
			m.t.Errorf("%s has the text %q", column, v)
		}
	default:
		m.t.Errorf("%s has a %T", column, v)
	}
	return v
}

// Query reads all.
func (m *memory) Query(ctx context.Context, q sdk.Query) (res sdk.Result, err error) {
	m.reads++
	for _, a := range q.Args {
		m.value("argument", a)
	}
	rows, err := m.db.QueryContext(ctx, q.SQL, q.Args...)
	if err != nil {
		return res, sdk.Permanent(err)
	}
	defer rows.Close()
	if res.Columns, err = rows.Columns(); err != nil {
		return res, err
	}
	for rows.Next() {
		row := make([]any, len(res.Columns))
		into := make([]any, len(row))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return res, err
		}
		res.Rows = append(res.Rows, row)
	}
	return res, rows.Err()
}

// want compares a query's answer, one line for each row.
func (m *memory) want(query string, want ...string) {
	m.t.Helper()
	res, err := m.Query(context.Background(), sdk.Query{SQL: query})
	if err != nil {
		m.t.Fatal(err)
	}
	var got []string
	for _, row := range res.Rows {
		var cells []string
		for _, v := range row {
			if b, ok := v.([]byte); ok {
				v = "x" + string(b)
			}
			cells = append(cells, fmt.Sprint(v))
		}
		got = append(got, strings.Join(cells, "|"))
	}
	if !slices.Equal(got, want) {
		m.t.Errorf("%s\nis   %q\nwant %q", query, got, want)
	}
}

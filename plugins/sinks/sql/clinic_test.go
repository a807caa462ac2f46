package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/hostd/hostd/core/sdk"
)

// clinic is a Store on SQLite in memory, with a clinic's own tables. It keeps receipts, caches answers and drops them as
// the host does, and takes only what every database takes.
type clinic struct {
	t       testing.TB
	db      *sql.DB
	cache   map[string]cached
	queries int // that reached the database
	hits    int
	writes  int
	upserts map[string]int // rows by table
	fail    func(q *sdk.Query) error
	refuse  func(table string, row sdk.Row) error
}

type cached struct {
	result sdk.Result
	tables []string
}

func newClinic(t testing.TB, ddl ...string) *clinic {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	c := &clinic{t: t, db: db, cache: map[string]cached{}, upserts: map[string]int{}}
	c.exec("CREATE TABLE receipt (source, record_id, hash, PRIMARY KEY (source, record_id))")
	c.exec("CREATE TABLE PATIENT (CHART_NO INTEGER PRIMARY KEY, DEVICE_ID TEXT, NAME TEXT)")
	for _, d := range ddl {
		c.exec(d)
	}
	return c
}

func (c *clinic) exec(query string, args ...any) {
	c.t.Helper()
	if _, err := c.db.Exec(query, args...); err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
}

// Write is all or nothing.
func (c *clinic) Write(ctx context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	c.writes++
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, sdk.WithClass(sdk.ClassUnavailable, err)
	}
	defer tx.Rollback()
	done := make([]sdk.Changed, len(changes))
	var changed []string
	for i, ch := range changes {
		once, ok := ch.(sdk.Once)
		if !ok {
			c.t.Errorf("change %d is a %T, and has no receipt", i, ch)
			continue
		}
		if done[i].Outcome, err = c.receipt(tx, &once); err == nil && done[i].Outcome == sdk.Applied {
			for _, inner := range once.Changes {
				changed, err = c.apply(tx, inner, changed, err)
			}
		}
		if err != nil {
			return nil, &sdk.ChangeError{Index: i, Err: sdk.Permanent(err)}
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	for key, e := range c.cache {
		if slices.ContainsFunc(e.tables, func(t string) bool { return slices.Contains(changed, strings.ToLower(t)) }) {
			delete(c.cache, key)
		}
	}
	return done, nil
}

func (c *clinic) receipt(tx *sql.Tx, o *sdk.Once) (sdk.Outcome, error) {
	var hash string
	err := tx.QueryRow("SELECT hash FROM receipt WHERE source = ? AND record_id = ?", o.Source, o.ID).Scan(&hash)
	switch {
	case err == nil && hash == o.Hash:
		return sdk.Duplicate, nil
	case err == nil:
		return sdk.Conflict, nil
	case !errors.Is(err, sql.ErrNoRows):
		return 0, err
	}
	_, err = tx.Exec("INSERT INTO receipt VALUES (?, ?, ?)", o.Source, o.ID, o.Hash)
	return sdk.Applied, err
}

func (c *clinic) apply(tx *sql.Tx, ch sdk.Change, changed []string, err error) ([]string, error) {
	if err != nil {
		return changed, err
	}
	var table string
	var key []string
	var rows []sdk.Row
	switch ch := ch.(type) {
	case sdk.Insert:
		table, rows = ch.Table, ch.All()
	case sdk.Upsert:
		table, key, rows = ch.Table, ch.Key, ch.All()
	default:
		return changed, fmt.Errorf("a %T inside of a Once", ch)
	}
	if len(rows) == 0 {
		c.t.Errorf("no rows for %s", table)
	}
	c.upserts[table] += len(rows)
	for _, row := range rows {
		if len(row) != len(rows[0]) {
			c.t.Errorf("rows of %s with different columns", table)
		}
		if c.refuse != nil {
			if err := c.refuse(table, row); err != nil {
				return changed, err
			}
		}
		if err := c.row(tx, table, key, row); err != nil {
			return changed, err
		}
	}
	return append(changed, strings.ToLower(table)), nil
}

func (c *clinic) row(tx *sql.Tx, table string, key []string, row sdk.Row) error {
	names := slices.Sorted(maps.Keys(row))
	args := make([]any, len(names))
	quoted := make([]string, len(names))
	var sets []string
	for i, n := range names {
		quoted[i] = `"` + n + `"`
		args[i] = c.value(table+"."+n, row[n])
		if !slices.Contains(key, n) {
			sets = append(sets, quoted[i]+" = excluded."+quoted[i])
		}
	}
	q := fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)", table, strings.Join(quoted, ", "), strings.Repeat(", ?", len(names)-1))
	if len(key) > 0 {
		q += fmt.Sprintf(` ON CONFLICT ("%s") DO UPDATE SET %s`, strings.Join(key, `", "`), strings.Join(sets, ", "))
	}
	_, err := tx.Exec(q, args...)
	return err
}

// value is v as the host would store it.
func (c *clinic) value(column string, v any) any {
	switch v := v.(type) {
	case nil, int64, float64, []byte:
	case time.Time:
		return v.UTC().Format(timeForm)
	case string:
		if !utf8.ValidString(v) || strings.Contains(v, "\x00") {
			c.t.Errorf("%s has the text %q", column, v)
		}
	default:
		c.t.Errorf("%s has a %T", column, v)
	}
	return v
}

// Query answers from the cache where it may.
func (c *clinic) Query(ctx context.Context, q sdk.Query) (res sdk.Result, err error) {
	key := fmt.Sprintf("%q %q %d %v %v %q", q.SQL, q.Args, q.MaxRows, q.CacheFor, q.CacheNoneFor, q.Tables)
	if e, ok := c.cache[key]; ok && q.CacheFor > 0 {
		c.hits++
		e.result.Cached = true
		return e.result, nil
	}
	c.queries++
	if c.fail != nil {
		if err := c.fail(&q); err != nil {
			return res, err
		}
	}
	for _, a := range q.Args {
		c.value("argument", a)
	}
	rows, err := c.db.QueryContext(ctx, q.SQL, q.Args...)
	if err != nil {
		return res, sdk.Permanent(errors.New("no such table or column"))
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
		if res.Rows = append(res.Rows, row); len(res.Rows) > q.MaxRows {
			return res, sdk.Permanent(errors.New("answer is too large"))
		}
	}
	if q.CacheFor > 0 && (len(res.Rows) > 0 || q.CacheNoneFor > 0) {
		c.cache[key] = cached{result: res, tables: q.Tables}
	}
	return res, rows.Err()
}

// want compares a query's answer, one line for each row.
func (c *clinic) want(query string, want ...string) {
	c.t.Helper()
	res, err := c.Query(context.Background(), sdk.Query{SQL: query, MaxRows: 1000})
	if err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	if got := lines(res.Rows); !slices.Equal(got, want) {
		c.t.Errorf("%s\nis   %q\nwant %q", query, got, want)
	}
}

func lines(rows [][]any) (out []string) {
	for _, row := range rows {
		var cells []string
		for _, v := range row {
			if v == nil {
				v = "NULL"
			}
			cells = append(cells, fmt.Sprint(v))
		}
		out = append(out, strings.Join(cells, "|"))
	}
	return out
}

// jsonOf turns YAML into the JSON that the host makes of it.
func jsonOf(t testing.TB, text string) []byte {
	t.Helper()
	var v any
	d := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("read YAML: %v\n%s", err, text)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// open opens a sink with tables in YAML, beside schema: mapped and a zone.
func (c *clinic) open(tables string) *sink {
	c.t.Helper()
	s, err := c.tryOpen("schema: mapped\nzone: \"+09:00\"\ntables:\n" + tables)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *clinic) tryOpen(settings string) (*sink, error) {
	s := &sink{}
	return s, s.Open(context.Background(), sdk.SinkEnv{Name: "emr", Settings: sdk.NewSettings(jsonOf(c.t, settings)), Store: c})
}

func (c *clinic) write(s *sink, records ...sdk.Record) {
	c.t.Helper()
	if err := s.Write(context.Background(), records); err != nil {
		c.t.Fatal(err)
	}
}

// dead writes, and gives the reasons of the records that are refused, by their index.
func (c *clinic) dead(s *sink, records ...sdk.Record) sdk.RecordErrors {
	c.t.Helper()
	var refused sdk.RecordErrors
	if err := s.Write(context.Background(), records); !errors.As(err, &refused) {
		c.t.Fatalf("write says %v, want records refused", err)
	}
	for i, err := range refused {
		if sdk.ClassOf(err) != sdk.ClassPermanent {
			c.t.Errorf("record %d is refused with class %v: %v", i, sdk.ClassOf(err), err)
		}
	}
	return refused
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

// Check is sdk.Checker's: it compares a mapping with the clinic's tables.
func (s *sink) Check(ctx context.Context, env sdk.SinkEnv, tables sdk.Catalog) ([]sdk.Finding, error) {
	if err := env.Settings.Decode(s); err != nil {
		return nil, err
	}
	i := &inspection{store: env.Store, tables: tables}
	m, wrong := s.check()
	for _, f := range wrong {
		i.add(sdk.SeverityFault, f.Key, "", "%s", f.Text)
	}
	if m == nil {
		return i.found, nil // the tables that hostd makes need no look
	}
	needs := m.needs()
	for n := range needs {
		if err := i.table(ctx, &needs[n]); err != nil {
			return nil, err
		}
	}
	return i.found, i.lookups(ctx, m)
}

// inspection is one Check.
type inspection struct {
	store  sdk.Store
	tables sdk.Catalog
	found  []sdk.Finding
}

func (i *inspection) add(s sdk.Severity, setting, proposal, format string, args ...any) {
	i.found = append(i.found, sdk.Finding{Severity: s, Setting: setting, Text: fmt.Sprintf(format, args...), Proposal: proposal})
}

// table compares what a table must have with what it has.
func (i *inspection) table(ctx context.Context, n *tableNeed) error {
	t, err := i.tables.Table(ctx, n.name)
	if err != nil {
		return fmt.Errorf("look for table %s: %w", n.name, err)
	}
	d, ok := ddlOf(t.Database)
	if !ok {
		return fmt.Errorf("look for table %s: the database %q is not known", n.name, t.Database)
	}
	if t.Name == "" {
		hint := ""
		if t.Near != "" {
			hint = "; did you mean " + t.Near + "?"
		}
		i.add(sdk.SeverityFault, n.at+".name", d.create(*n), "there is no table %s in the database%s", n.name, hint)
		return nil
	}
	for c := range n.columns {
		i.column(&d, n, &n.columns[c], &t)
	}
	for c := range t.Columns {
		if has := &t.Columns[c]; !has.Nullable && !has.Filled && !slices.ContainsFunc(n.columns, func(w columnNeed) bool { return strings.EqualFold(w.name, has.Name) }) {
			i.add(sdk.SeverityFault, n.at+".columns", "", "lacks %s, which must have a value in each row of %s", has.Name, t.Name)
		}
	}
	if len(n.key) > 0 && !slices.ContainsFunc(t.Keys, func(k []string) bool { return alike(k, n.key) }) {
		i.add(sdk.SeverityFault, n.at+".key", d.index(&t, n), "no row of %s can be found again by it: these columns are not its primary key, nor just those of a unique index", t.Name)
	}
	return nil
}

// alike says whether two lists have the same names.
func alike(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(n string) bool {
		return !slices.ContainsFunc(b, func(o string) bool { return strings.EqualFold(n, o) })
	})
}

// column compares what a column must be with what it is.
func (i *inspection) column(d *ddl, n *tableNeed, c *columnNeed, t *sdk.Table) {
	has := columnOf(t, c.name)
	if has == nil {
		names := make([]string, len(t.Columns))
		for k := range t.Columns {
			names[k] = t.Columns[k].Name
		}
		i.add(sdk.SeverityFault, c.at, d.addColumn(t.Name, n, c), "the table %s has no column %s%s", t.Name, c.name, meant(c.name, names))
		return
	}
	if s, why := misfit(c, has, t.Database); why != "" {
		i.add(s, c.at, "", "is %s, and the column is %s%s", c.kind, has.Type, why)
	}
	if !has.Nullable && !c.required && !(c.always && has.Filled) {
		i.add(sdk.SeverityNote, c.at, "", "may have no value, and the column must have one: such a record becomes a dead letter; default or required say what is meant")
	}
}

// columnOf finds a column as the host does; nil is none.
func columnOf(t *sdk.Table, name string) *sdk.Column {
	at := slices.IndexFunc(t.Columns, func(h sdk.Column) bool { return h.Name == name })
	if at < 0 {
		at = slices.IndexFunc(t.Columns, func(h sdk.Column) bool { return strings.EqualFold(h.Name, name) })
	}
	if at < 0 {
		return nil
	}
	return &t.Columns[at]
}

// family is what a column's type takes.
type family int

// Families of types. The zero value takes nobody knows what, and everything is let pass.
const (
	unknown family = iota
	texts
	wholes
	numbers
	truths
	days
	moments
	octets
)

// familyOf goes by the words of SQLite, PostgreSQL and SQL Server. Lengths and what else stands in brackets do not matter.
func familyOf(kind string) family {
	word, _, _ := strings.Cut(strings.ToLower(kind), "(")
	word, _, _ = strings.Cut(word, " collate ")
	switch strings.TrimSpace(word) {
	case "text", "varchar", "character varying", "char", "character", "bpchar", "nvarchar", "nchar", "ntext", "citext", "clob":
		return texts
	case "integer", "int", "bigint", "smallint", "tinyint", "mediumint":
		return wholes
	case "real", "double precision", "double", "float", "numeric", "decimal", "money", "smallmoney":
		return numbers
	case "boolean", "bit":
		return truths
	case "date":
		return days
	case "timestamp", "timestamp without time zone", "timestamp with time zone", "timestamptz", "datetime", "datetime2", "smalldatetime", "datetimeoffset":
		return moments
	case "bytea", "blob", "varbinary", "binary", "image":
		return octets
	}
	return unknown
}

// never says what no value of a kind can be written to, and maybe what only some can.
var never = map[kind][]family{
	kindNumber: {truths, days, moments, octets}, kindInteger: {days, moments, octets}, kindTime: {wholes, numbers, truths, octets},
	kindInstant: {wholes, numbers, truths, octets}, kindDate: {wholes, numbers, truths, octets}, kindBytes: {wholes, numbers, truths, days, moments},
}

var maybe = map[kind][]family{
	kindText: {wholes, numbers, truths, days, moments}, kindNumber: {wholes}, kindInteger: {truths}, kindTime: {days}, kindInstant: {days}, kindBytes: {texts},
}

// misfit says how a value of the kind does not fit the column; no text is that it does. SQLite stores anything anywhere, and
// only makes numbers of texts that look like them.
func misfit(c *columnNeed, has *sdk.Column, database string) (sdk.Severity, string) {
	f := familyOf(has.Type)
	lax := database == "sqlite"
	switch {
	case lax && (slices.Contains(never[c.kind], f) || c.kind == kindText && (f == wholes || f == numbers)):
		return sdk.SeverityNote, ": SQLite stores it all the same, and a text that looks like a number as a number"
	case lax, c.kind == kindNumber && c.decimals == 0 && f == wholes:
		return "", ""
	case slices.Contains(never[c.kind], f):
		return sdk.SeverityFault, ", which takes none"
	case slices.Contains(maybe[c.kind], f):
		return sdk.SeverityNote, ": a record whose value it does not take becomes a dead letter"
	}
	return "", ""
}

// mostFound is the most that a Query gives: a look-up without a value may find everybody.
const mostFound = 10_000

// lookups runs each look-up once, without values for its sources: its tables and columns must be there.
func (i *inspection) lookups(ctx context.Context, m *mapping) error {
	asked := map[string]bool{}
	for n, t := range m.tables {
		for _, c := range t.columns {
			if c.lookup == nil || asked[c.lookup.sql] {
				continue
			}
			asked[c.lookup.sql] = true
			at := fmt.Sprintf("tables[%d].columns.%s.lookup", n, c.name)
			_, err := i.store.Query(ctx, sdk.Query{SQL: c.lookup.sql, Args: make([]any, len(c.lookup.with)), MaxRows: mostFound})
			switch {
			case sdk.ClassOf(err) == sdk.ClassPermanent:
				i.add(sdk.SeverityFault, at, "", "%v", err)
			case err != nil:
				return fmt.Errorf("try the lookup of %s: %w", c.title, err)
			}
		}
	}
	return nil
}

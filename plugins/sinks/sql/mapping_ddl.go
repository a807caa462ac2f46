package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

// tableNeed is a table that a mapping writes, and what it must have.
type tableNeed struct {
	at      string // path of the first setting that names it
	name    string
	key     []string // nil is none
	columns []columnNeed
}

// columnNeed is a column that a mapping writes.
type columnNeed struct {
	at       string // as of tableNeed
	name     string
	kind     kind // kindAny is not known: what a lookup gives
	decimals int  // of a number; -1 is any
	required bool // it has a value in each row
	always   bool // it has one in each row of the entries that write it
}

// needs are the tables of the mapping, each once, in the order in which they are written. A column is required only
// where every entry of its table fills it in each row.
func (m *mapping) needs() []tableNeed {
	var out []tableNeed
	entries := map[int]int{} // of each table in out
	filled := map[[2]int]int{}
	for entry, t := range m.tables {
		path := fmt.Sprintf("tables[%d]", entry)
		at := slices.IndexFunc(out, func(n tableNeed) bool { return strings.EqualFold(n.name, t.name) })
		if at < 0 {
			at = len(out)
			out = append(out, tableNeed{at: path, name: t.name, key: t.key})
		}
		entries[at]++
		for _, c := range t.columns {
			has := c.required || c.constant != nil || c.fallback != nil
			i := out[at].add(columnNeed{at: path + ".columns." + c.name, name: c.name, kind: c.kind, decimals: c.decimals, always: has})
			if has {
				filled[[2]int{at, i}]++
			}
		}
	}
	for at := range out {
		for i := range out[at].columns {
			out[at].columns[i].required = filled[[2]int{at, i}] == entries[at]
		}
	}
	return out
}

// add takes what another entry needs of the same column together with what is there, and says where that is.
func (t *tableNeed) add(c columnNeed) int {
	at := slices.IndexFunc(t.columns, func(o columnNeed) bool { return strings.EqualFold(o.name, c.name) })
	if at < 0 {
		t.columns = append(t.columns, c)
		return len(t.columns) - 1
	}
	have := &t.columns[at]
	have.always = have.always && c.always
	if have.kind == kindAny {
		have.kind = c.kind
	}
	if have.decimals < 0 || c.decimals < 0 {
		have.decimals = -1
	} else {
		have.decimals = max(have.decimals, c.decimals)
	}
	return at
}

// ddl is how a database's language names things.
type ddl struct {
	types  map[kind]string
	number string                   // with decimals
	text   string                   // of a text in a key
	add    string                   // begins the addition of a column
	quote  func(name string) string // of what is to be made
	exact  func(name string) string // of what is there
}

func doubled(name string) string { return `"` + name + `"` } // names have no quotes, see nameFault

func bracketed(name string) string { return "[" + name + "]" }

// ddlOf is that of sqlite, postgres or sqlserver.
func ddlOf(dialect string) (ddl, bool) {
	switch dialect {
	case "sqlite":
		return ddl{
			types: map[kind]string{
				kindText: "TEXT", kindNumber: "REAL", kindInteger: "INTEGER", kindTime: "TEXT", kindInstant: "TEXT", kindDate: "TEXT", kindBytes: "BLOB", kindAny: "TEXT",
			},
			number: "REAL", text: "TEXT", add: "ADD COLUMN", quote: doubled, exact: doubled,
		}, true
	case "postgres":
		return ddl{
			types: map[kind]string{
				kindText: "text", kindNumber: "double precision", kindInteger: "bigint", kindTime: "timestamp", kindInstant: "timestamptz", kindDate: "date", kindBytes: "bytea", kindAny: "text",
			},
			number: "numeric(15,%d)", text: "text", add: "ADD COLUMN", quote: lowered, exact: doubled,
		}, true
	case "sqlserver":
		return ddl{
			types: map[kind]string{
				kindText: "NVARCHAR(MAX)", kindNumber: "FLOAT", kindInteger: "BIGINT", kindTime: "DATETIME2(3)", kindInstant: "DATETIMEOFFSET(3)", kindDate: "DATE", kindBytes: "VARBINARY(MAX)", kindAny: "NVARCHAR(MAX)",
			},
			number: "DECIMAL(15,%d)", text: "NVARCHAR(128)", add: "ADD", quote: bracketed, exact: bracketed,
		}, true
	}
	return ddl{}, false
}

// lowered is a name as PostgreSQL reads it where nobody puts it in quotes, so that both ways of writing it find it.
func lowered(name string) string {
	return doubled(strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name))
}

// addColumn is the statement that makes a column of the table that is there as known.
func (d *ddl) addColumn(known string, t *tableNeed, c *columnNeed) string {
	return fmt.Sprintf("ALTER TABLE %s %s %s %s;", dotted(known, d.exact), d.add, d.quote(c.name), d.kind(t, *c))
}

// index is the statement that makes the key of the table that is there.
func (d *ddl) index(there *sdk.Table, t *tableNeed) string {
	quoted := make([]string, len(t.key))
	for i, k := range t.key {
		quoted[i] = d.quote(k)
		if c := columnOf(there, k); c != nil {
			quoted[i] = d.exact(c.Name)
		}
	}
	name := there.Name[strings.LastIndexByte(there.Name, '.')+1:] + "_hostd_key"
	return fmt.Sprintf("CREATE UNIQUE INDEX %s ON %s (%s);", d.exact(name), dotted(there.Name, d.exact), strings.Join(quoted, ", "))
}

func (d *ddl) create(t tableNeed) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE %s (\n", dotted(t.name, d.quote))
	for i, c := range t.columns {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "  %s %s", d.quote(c.name), d.kind(&t, c))
		if c.required {
			b.WriteString(" NOT NULL")
		}
	}
	if len(t.key) > 0 {
		quoted := make([]string, len(t.key))
		for i, k := range t.key {
			quoted[i] = d.quote(k)
		}
		fmt.Fprintf(&b, ",\n  PRIMARY KEY (%s)", strings.Join(quoted, ", "))
	}
	b.WriteString("\n);")
	return b.String()
}

// dotted quotes a name, and its schema if there is one.
func dotted(name string, quote func(string) string) string {
	schema, table, both := strings.Cut(name, ".")
	if !both {
		return quote(name)
	}
	return quote(schema) + "." + quote(table)
}

func (d *ddl) kind(t *tableNeed, c columnNeed) string {
	text := c.kind == kindText || c.kind == kindAny
	switch {
	case text && slices.Contains(t.key, c.name):
		return d.text
	case c.kind == kindNumber && c.decimals >= 0 && strings.Contains(d.number, "%d"):
		return fmt.Sprintf(d.number, c.decimals)
	}
	return d.types[c.kind]
}

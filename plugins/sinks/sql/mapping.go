package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// Limits of a mapping.
const (
	maxTables  = 64  // entries of tables
	maxColumns = 256 // of one table
	maxFrom    = 16  // sources of one column, of which the first that is there counts
	maxSQL     = 4000
	maxCache   = 24 * time.Hour
	maxMissing = time.Minute // the host's own limit
)

// tableSetting is one table of a mapping, as it is written.
type tableSetting struct {
	Name    string         `setting:"name,required" help:"table, or schema and table with a dot between: REFRACTION, dbo.REFRACTION"`
	Rows    string         `setting:"rows,required" enum:"record,exam,eye,observation,attachment" help:"what makes a row: each record, exam, eye of an exam, observation or attachment"`
	Key     []string       `setting:"key" help:"columns by which a row is found again; without a key every record adds rows"`
	Where   whereSetting   `setting:"where" help:"which of them; without it all"`
	Columns map[string]any `setting:"columns,required" help:"each column with its source, such as patient.id; docs/mapping.md has all forms"`
}

// whereSetting is which rows to write, as it is written.
type whereSetting struct {
	Source []string `setting:"source" help:"names of devices; * is any text"`
	Kind   []string `setting:"kind" help:"kinds of records; * is any text"`
	Code   []string `setting:"code" help:"codes of observations; * is any text"`
	Eye    []string `setting:"eye" help:"R, L or B"`
	Method []string `setting:"method" help:"methods of observations; * is any text"`
	Seq    string   `setting:"seq" default:"all" enum:"all,summary,shots" help:"summary: what the instrument gives as its result; shots: the single measurements"`
}

// What makes a row.
const (
	rowsRecord      = "record"
	rowsExam        = "exam"
	rowsEye         = "eye"
	rowsObservation = "observation"
	rowsAttachment  = "attachment"
)

// mapping is what to write for a record into a clinic's own tables. It does not change.
type mapping struct {
	tables  []*tableMap
	lookups []*lookup // each that is the same for all rows of a record, once
	raw     bool      // a column has the source's bytes
}

// tableMap is one table of it.
type tableMap struct {
	name    string
	rows    string
	key     []string
	where   where
	columns []*column
	fixed   []*column // those that are the same for all rows of a record
	varied  []*column // the others
	picks   []*pick   // that say whether there is a row, where nothing else does
	size    int       // bytes on the wire of a row without its values, at most
}

// column is where the value of one column comes from, and what becomes of it.
type column struct {
	name     string
	title    string // table.column, for messages
	from     []source
	constant any
	lookup   *lookup
	kind     kind
	decimals int // of a decimal, else -1
	convert  converter
	fallback any // where there is no value; nil is NULL
	required bool
	lenient  bool // what does not fit counts as no value
	patient  bool // it is about the patient
}

// varies says whether the column may differ between the rows of one record.
func (c *column) varies() bool {
	return slices.ContainsFunc(c.from, func(s source) bool { return s.varies }) || c.lookup != nil && c.lookup.slot < 0
}

// faults gathers what is wrong with a mapping.
type faults struct{ list []sdk.SettingFault }

func (f *faults) add(key, format string, args ...any) {
	f.list = append(f.list, sdk.SettingFault{Key: key, Text: fmt.Sprintf(format, args...)})
}

// compiler turns settings into a mapping.
type compiler struct {
	faults
	zone *time.Location
	m    *mapping
}

// compile makes the mapping, or says everything that is wrong with it. Zone is where a clock without a zone stands.
func compile(tables []tableSetting, zone string) (*mapping, []sdk.SettingFault) {
	c := &compiler{m: &mapping{}}
	c.zone = c.location(zone)
	switch {
	case len(tables) == 0:
		c.add("tables", "is required with schema: mapped: a list of the tables to write")
	case len(tables) > maxTables:
		c.add("tables", "has more than %d entries", maxTables)
	}
	for i := range tables {
		c.table(fmt.Sprintf("tables[%d]", i), &tables[i])
	}
	c.compare()
	if len(c.list) > 0 {
		slices.SortStableFunc(c.list, func(a, b sdk.SettingFault) int { return strings.Compare(a.Key, b.Key) })
		return nil, c.list
	}
	return c.m, nil
}

func (c *compiler) location(zone string) *time.Location {
	if zone == "" {
		return time.Local
	}
	for _, form := range []string{"Z07:00", "-07:00"} {
		if t, err := time.Parse(form, zone); err == nil {
			_, offset := t.Zone()
			return time.FixedZone(zone, offset)
		}
	}
	at, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		c.add("zone", "this computer does not know it: write the distance to UTC, such as +09:00, or leave it out for this computer's own")
		return time.UTC
	}
	return at
}

func (c *compiler) table(at string, in *tableSetting) {
	t := &tableMap{name: in.Name, rows: in.Rows, key: in.Key}
	c.m.tables = append(c.m.tables, t)
	c.tableName(at+".name", in.Name)
	t.where = c.where(at+".where", in)
	if len(in.Columns) == 0 || len(in.Columns) > maxColumns {
		c.add(at+".columns", "must have 1 to %d columns", maxColumns)
	}
	names := make([]string, 0, len(in.Columns))
	for name := range in.Columns {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		key := at + ".columns." + name
		if text := nameFault(name); text != "" {
			c.add(key, "%s", text)
		}
		if twin := slices.IndexFunc(names[:i], func(n string) bool { return strings.EqualFold(n, name) }); twin >= 0 {
			c.add(key, "is the column %s again: databases do not tell small and capital letters apart", names[twin])
		}
		t.columns = append(t.columns, c.column(key, t, name, in.Columns[name]))
		t.size += len(name) + 16
	}
	c.key(at+".key", t)
	t.sort()
}

// sort parts what is the same for all rows of a record from what is not, and finds the picks that make a row.
func (t *tableMap) sort() {
	for _, col := range t.columns {
		into := &t.fixed
		if col.varies() {
			into = &t.varied
		}
		*into = append(*into, col)
		for i := range col.from {
			if p := col.from[i].pick; p != nil && (t.rows == rowsExam || t.rows == rowsEye && p.eye == "") {
				t.picks = append(t.picks, p)
			}
		}
	}
}

// own are tables that hostd writes itself.
var own = []string{tableRecord, tableExam, tableObservation, tableAttachment, "ingest_receipt", "schema_version"}

func (c *compiler) tableName(key, name string) {
	parts := strings.Split(name, ".")
	if len(parts) > 2 {
		c.add(key, "has more than one dot: write the table, or its schema and the table")
		return
	}
	for _, p := range parts {
		if text := nameFault(p); text != "" {
			c.add(key, "%s", text)
			return
		}
	}
	if slices.Contains(own, strings.ToLower(name)) {
		c.add(key, "is a table of hostd's own; one of yours with this name is written with its schema: dbo.%s", name)
	}
}

// nameFault says what is wrong with the name of a table or column.
func nameFault(name string) string {
	bad := func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune("\"'`[];.", r) }
	switch {
	case strings.TrimSpace(name) != name || name == "":
		return "is empty, or has a blank at an end"
	case len(name) > 128:
		return "is longer than 128 bytes"
	case strings.ContainsFunc(name, bad):
		return "has a character that no name of a table or column may have here: quotes, brackets, a dot or a semicolon"
	}
	return ""
}

// key checks the key columns, which must have a value in each row.
func (c *compiler) key(at string, t *tableMap) {
	for i, name := range t.key {
		col := slices.IndexFunc(t.columns, func(col *column) bool { return col.name == name })
		if col < 0 {
			names := make([]string, len(t.columns))
			for i, col := range t.columns {
				names[i] = col.name
			}
			c.add(fmt.Sprintf("%s[%d]", at, i), "is not in columns%s", meant(name, names))
			continue
		}
		if slices.Contains(t.key[:i], name) {
			c.add(fmt.Sprintf("%s[%d]", at, i), "is there twice")
		}
		if t.columns[col].kind == kindBytes {
			c.add(fmt.Sprintf("%s[%d]", at, i), "is of bytes, by which no row can be found")
		}
		t.columns[col].required = true
	}
}

// compare holds together what entries say of the same table.
func (c *compiler) compare() {
	for i, t := range c.m.tables {
		first := slices.IndexFunc(c.m.tables, func(o *tableMap) bool { return strings.EqualFold(o.name, t.name) })
		if first == i {
			continue
		}
		before := c.m.tables[first]
		if !slices.Equal(before.key, t.key) {
			c.add(fmt.Sprintf("tables[%d].key", i), "is another one than in tables[%d], which is the same table", first)
		}
		for _, col := range t.columns {
			same := slices.IndexFunc(before.columns, func(o *column) bool { return strings.EqualFold(o.name, col.name) })
			if same < 0 {
				continue
			}
			if was := before.columns[same].kind; was != col.kind && was != kindAny && col.kind != kindAny {
				c.add(fmt.Sprintf("tables[%d].columns.%s", i, col.name), "is %s here and %s in tables[%d], which is the same table", col.kind, was, first)
			}
		}
	}
}

package dbpool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// catalogAge is how long what was read of the catalog holds where the database does not tell that it changed. After a
// permanent error it is read anew at once.
const catalogAge = time.Minute

// catalog is what was read of the tables. The workers of a server share one.
type catalog struct {
	mu     sync.Mutex
	since  time.Time         // guarded by mu: when it was empty
	tables map[string]*table // guarded by mu: by the name that was asked for, in small letters
	shapes map[string]*shape // guarded by mu
}

func newCatalog() *catalog {
	return &catalog{tables: map[string]*table{}, shapes: map[string]*shape{}}
}

// forget lets go what is older than age.
func (c *catalog) forget(age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.since) < age {
		return
	}
	clear(c.tables)
	clear(c.shapes)
	c.since = time.Now()
}

func (c *catalog) table(name string) *table {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tables[strings.ToLower(name)]
}

func (c *catalog) shape(key string) *shape {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shapes[key]
}

func (c *catalog) keepTable(name string, t *table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tables) >= maxKept {
		clear(c.tables)
	}
	c.tables[strings.ToLower(name)] = t
}

func (c *catalog) keepShape(key string, sh *shape) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.shapes) >= maxKept {
		clear(c.shapes)
	}
	c.shapes[key] = sh
}

// table is what the catalog says of one.
type table struct {
	id      string // one for each table, under whichever name it was asked for
	name    string // as a sink may write it
	quoted  string
	columns []column
	uniques map[int][]string // columns of its unique indexes, where the dialect asks for them
	plain   bool             // writing to it touches no other table, and no other table's content decides whether it may be written
}

// column is what the catalog says of one.
type column struct {
	name     string
	kind     string // its type, as a statement may name it
	most     int    // longest text in letters; 0 is any
	nullable bool
}

// shape is the form of rows for a table, with the statements for them.
type shape struct {
	*table
	columns []*column // as the rows' values are ordered
	key     []*column
	keyAt   []int // where the key is among columns

	mu  sync.Mutex
	sql map[int]string // guarded by mu: statements for so many rows, or for any at 0
}

// text is the statement for n rows, made once.
func (sh *shape) text(n int, write func() string) string {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	text, ok := sh.sql[n]
	if !ok {
		text = write()
		sh.sql[n] = text
	}
	return text
}

// updated are the columns that an upsert sets. Where there is nothing but the key it sets the key to itself, so that a
// row counts as affected whether it was there or not.
func (sh *shape) updated() []*column {
	var out []*column
	for _, c := range sh.columns {
		if !contains(sh.key, c) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return sh.key
	}
	return out
}

func contains(list []*column, c *column) bool {
	for _, k := range list {
		if k == c {
			return true
		}
	}
	return false
}

// find looks a name up as SQL does, small and capital letters alike unless one is written just so.
func find(list []string, name string) (at int, ok bool) {
	at = -1
	for i, s := range list {
		if s == name {
			return i, true
		}
		if at < 0 && strings.EqualFold(s, name) {
			at = i
		}
	}
	return at, at >= 0
}

// shape checks the names of a row set against the catalog, once for all sets of the same form.
func (s *session) shape(ctx context.Context, set *rowSet) (*shape, error) {
	if sh := s.known.shape(set.shape); sh != nil {
		return sh, nil
	}
	t, err := s.table(ctx, set.table)
	if err != nil {
		return nil, err
	}
	sh := &shape{table: t, sql: map[int]string{}}
	if sh.columns, err = t.spell(set.columns); err != nil {
		return nil, err
	}
	if sh.key, err = t.spell(set.key); err != nil {
		return nil, err
	}
	for i, c := range sh.columns {
		if contains(sh.columns[:i], c) {
			return nil, refused("write to %s: the column %s is named twice", t.name, c.name)
		}
	}
	for _, k := range sh.key {
		at := -1
		for i, c := range sh.columns {
			if c == k {
				at = i
			}
		}
		if at < 0 {
			return nil, refused("upsert into %s: the rows lack the key column %s", t.name, k.name)
		}
		sh.keyAt = append(sh.keyAt, at)
	}
	if len(sh.key) > 0 && s.dialect.uniques != "" && !t.unique(sh.key) {
		return nil, sdk.Permanent(fmt.Errorf("upsert into %s: the key is not the primary key, nor a unique index, of the table", t.name))
	}
	s.known.keepShape(set.shape, sh)
	return sh, nil
}

// unique says whether a unique index has the columns of the key and no other.
func (t *table) unique(key []*column) bool {
	for _, index := range t.uniques {
		if len(index) == len(key) && !slices.ContainsFunc(key, func(c *column) bool { return !slices.Contains(index, c.name) }) {
			return true
		}
	}
	return false
}

// spell finds the named columns.
func (t *table) spell(names []string) ([]*column, error) {
	known := make([]string, len(t.columns))
	for i := range t.columns {
		known[i] = t.columns[i].name
	}
	out := make([]*column, len(names))
	for i, n := range names {
		at, ok := find(known, n)
		if !ok {
			return nil, refused("write to %s: it has no column %s%s", t.name, n, nearest(known, n))
		}
		out[i] = &t.columns[at]
	}
	return out, nil
}

// table reads the catalog for one table, once until the catalog changes.
func (s *session) table(ctx context.Context, name string) (*table, error) {
	if t := s.known.table(name); t != nil {
		return t, nil
	}
	schema, known, err := s.locate(ctx, name)
	if err != nil {
		return nil, err
	}
	t := &table{id: schema.name + "." + known, name: known, quoted: quote(known)}
	if schema.spelled {
		t.name, t.quoted = t.id, quote(schema.name)+"."+quote(known)
	}
	err = s.each(ctx, func(scan scan) error {
		var c column
		err := scan(&c.name, &c.kind, &c.most, &c.nullable)
		t.columns = append(t.columns, c)
		return err
	}, s.dialect.columns, schema.name, known)
	if err != nil {
		return nil, err
	}
	if err := s.uniques(ctx, t, schema.name, known); err != nil {
		return nil, err
	}
	tangles := 0
	if err := s.each(ctx, func(scan scan) error { return scan(&tangles) }, s.dialect.tangles, schema.name, known); err != nil {
		return nil, err
	}
	t.plain = tangles == 0
	s.known.keepTable(name, t)
	return t, nil
}

// uniques reads the unique indexes of a table, where the dialect needs them.
func (s *session) uniques(ctx context.Context, t *table, schema, name string) error {
	if s.dialect.uniques == "" {
		return nil
	}
	t.uniques = map[int][]string{}
	return s.each(ctx, func(scan scan) error {
		var index int
		var column string
		err := scan(&index, &column)
		t.uniques[index] = append(t.uniques[index], column)
		return err
	}, s.dialect.uniques, schema, name)
}

// schema is where a table is.
type schema struct {
	name    string
	spelled bool // the table's name alone does not find it
}

// locate finds a table by its name, or by its schema's and its own with a dot between.
func (s *session) locate(ctx context.Context, name string) (in schema, known string, err error) {
	type place struct {
		schema
		table string
	}
	var all []string
	var places []place
	err = s.each(ctx, func(scan scan) error {
		var p place
		var bare bool
		if err := scan(&p.name, &p.table, &bare); err != nil {
			return err
		}
		if bare {
			all, places = append(all, p.table), append(places, p)
		}
		p.spelled = true
		all, places = append(all, p.name+"."+p.table), append(places, p)
		return nil
	}, s.dialect.tables)
	if err != nil {
		return in, "", err
	}
	at, ok := find(all, name)
	if !ok {
		return in, "", refused("write to %s: there is no such table%s", name, nearest(all, name))
	}
	return places[at].schema, places[at].table, nil
}

type scan func(into ...any) error

// each runs a query of the catalog and hands its rows over one by one.
func (s *session) each(ctx context.Context, row func(scan) error, query string, args ...any) (err error) {
	const doing = "read the catalog"
	rows, err := s.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return s.dialect.clean(ctx, doing, err, "")
	}
	defer func() { err = s.dialect.either(ctx, err, rows.Close()) }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return s.dialect.clean(ctx, doing, err, "")
		}
	}
	return s.dialect.clean(ctx, doing, rows.Err(), "")
}

// either is the error of reading, or that of closing.
func (d *dialect) either(ctx context.Context, reading, closing error) error {
	if reading != nil {
		return reading
	}
	return d.clean(ctx, "close rows", closing, "")
}

// fit gives the values of the rows the forms of their columns. It may be done again.
func (d *dialect) fit(sh *shape, set *rowSet) error {
	if d.fits == nil {
		return nil
	}
	set.detach()
	for at := range set.args {
		c := sh.columns[at%len(sh.columns)]
		v, err := d.fits(c, set.args[at])
		if err != nil {
			return refused("write to %s: column %s: %v", sh.name, c.name, err)
		}
		set.args[at] = v
	}
	return nil
}

// nearest is a hint at the known name that is most like the one given, or nothing where none is like it.
func nearest(known []string, name string) string {
	best, least := "", max(len(name)/2, 2)+1
	for _, k := range known {
		if d := distance(strings.ToLower(k), strings.ToLower(name)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is how many letters must be put in, taken out or changed to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

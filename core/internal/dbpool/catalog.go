package dbpool

import (
	"context"
	"strings"
)

// table is what the catalog says of one.
type table struct {
	name    string
	columns []string
	plain   bool // writing to it touches no other table, and no other table's content decides whether it may be written
}

// shape is the form of rows for a table, with the statements for them.
type shape struct {
	table   string
	columns []string // as the rows' values are ordered
	key     []string
	plain   bool
	most    int // rows in one statement, a power of two
	sql     map[int]string
}

// updated are the columns that an upsert sets. Where there is nothing but the key it sets the key to itself, so that a
// row counts as affected whether it was there or not.
func (sh *shape) updated() []string {
	var out []string
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

func contains(list []string, name string) bool {
	_, ok := find(list, name)
	return ok
}

// find looks a name up as SQL does, small and capital letters alike, and gives its spelling in the list.
func find(list []string, name string) (string, bool) {
	for _, s := range list {
		if strings.EqualFold(s, name) {
			return s, true
		}
	}
	return "", false
}

// shape checks the names of a row set against the catalog, once for all sets of the same form.
func (s *session) shape(ctx context.Context, set *rowSet) (*shape, error) {
	if sh := s.shapes[set.shape]; sh != nil {
		return sh, nil
	}
	t, err := s.table(ctx, set.table)
	if err != nil {
		return nil, err
	}
	sh := &shape{table: t.name, plain: t.plain, most: mostInStatement, sql: map[int]string{}}
	if sh.columns, err = t.spell(set.columns); err != nil {
		return nil, err
	}
	if sh.key, err = t.spell(set.key); err != nil {
		return nil, err
	}
	for _, k := range sh.key {
		if !contains(sh.columns, k) {
			return nil, refused("upsert into %s: the rows lack the key column %s", t.name, k)
		}
	}
	for sh.most > 1 && sh.most*len(sh.columns) > s.dialect.variables {
		sh.most /= 2
	}
	if len(s.shapes) >= maxKept {
		clear(s.shapes)
	}
	s.shapes[set.shape] = sh
	return sh, nil
}

// spell gives the names as the table has them.
func (t *table) spell(names []string) ([]string, error) {
	out := make([]string, len(names))
	for i, n := range names {
		known, ok := find(t.columns, n)
		if !ok {
			return nil, refused("write to %s: it has no column %s%s", t.name, n, nearest(t.columns, n))
		}
		out[i] = known
	}
	return out, nil
}

// table reads the catalog for one table, once until the catalog changes.
func (s *session) table(ctx context.Context, name string) (*table, error) {
	if t := s.tables[strings.ToLower(name)]; t != nil {
		return t, nil
	}
	all, err := s.names(ctx, sqlTables)
	if err != nil {
		return nil, err
	}
	known, ok := find(all, name)
	if !ok {
		return nil, refused("write to %s: there is no such table%s", name, nearest(all, name))
	}
	t := &table{name: known}
	if t.columns, err = s.names(ctx, sqlColumns, known); err != nil {
		return nil, err
	}
	var tangles int
	if err := s.conn.QueryRowContext(ctx, sqlTangled, known).Scan(&tangles); err != nil {
		return nil, clean("read the catalog", err, "")
	}
	t.plain = tangles == 0
	if len(s.tables) >= maxKept {
		clear(s.tables)
	}
	s.tables[strings.ToLower(name)] = t
	return t, nil
}

func (s *session) names(ctx context.Context, query string, args ...any) (out []string, err error) {
	rows, err := s.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, clean("read the catalog", err, "")
	}
	defer func() { err = either(err, rows.Close()) }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, clean("read the catalog", err, "")
		}
		out = append(out, name)
	}
	return out, clean("read the catalog", rows.Err(), "")
}

// either is the error of reading, or that of closing.
func either(reading, closing error) error {
	if reading != nil {
		return reading
	}
	return clean("close rows", closing, "")
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

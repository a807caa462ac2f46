package dbpool

import (
	"errors"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

// call is one Store.Write, read and checked as far as that is possible without the database.
type call struct {
	sink    string // whose receipts count
	changes []change
	onces   int
	rows    int // rows and statements in it
	tables  map[string]bool
	execs   bool      // a statement of the sink's own is in it: the tables that it changes are not known
	merge   bool      // rows of different changes may share a statement, see apply
	forms   []*rowSet // one of each of the first few shapes
}

// change is one sdk.Change: rows for a table, a statement, or a once with more of them inside.
type change struct {
	rows *rowSet
	exec *execution
	once *once
}

// rowSet is an Insert, or with a key an Upsert.
type rowSet struct {
	shape   string // table, columns and key, to find what is known of them
	table   string
	columns []string
	key     []string
	n       int
	args    []any // row by row, in the order of columns
	lent    bool  // args are the sink's own and must not be changed
}

// detach makes args the set's own.
func (set *rowSet) detach() {
	if set.lent {
		set.args, set.lent = slices.Clone(set.args), false
	}
}

type execution struct {
	st   *statement
	args []any
	want int64
}

type once struct {
	id      receiptKey
	hash    string
	seq     int64
	changes []change
}

type receiptKey struct{ source, id string }

// read turns the changes of one Write into a call. An error is a *sdk.ChangeError.
func (d *dialect) read(changes []sdk.Change) (*call, error) {
	c := &call{changes: make([]change, len(changes)), tables: map[string]bool{}, merge: true}
	for i, in := range changes {
		var err error
		if o, ok := in.(sdk.Once); ok {
			c.changes[i], err = d.readOnce(c, o)
		} else {
			c.changes[i], err = d.readChange(c, in)
		}
		if err != nil {
			return nil, &sdk.ChangeError{Index: i, Err: err}
		}
	}
	return c, nil
}

func (d *dialect) readOnce(c *call, in sdk.Once) (change, error) {
	if in.Source == "" || in.ID == "" || in.Hash == "" {
		return change{}, refused("write once: source, id and hash must not be empty")
	}
	o := &once{id: receiptKey{in.Source, in.ID}, hash: in.Hash, seq: int64(in.Seq), changes: make([]change, len(in.Changes))}
	for i, inner := range in.Changes {
		var err error
		if o.changes[i], err = d.readChange(c, inner); err != nil {
			return change{}, err
		}
	}
	c.onces++
	c.rows++
	c.tables[tableReceipt] = true
	return change{once: o}, nil
}

func (d *dialect) readChange(c *call, in sdk.Change) (change, error) {
	switch in := in.(type) {
	case sdk.Insert:
		return readRows(c, in.Table, nil, in.Rows, in.Columns, in.Values)
	case sdk.Upsert:
		if len(in.Key) == 0 {
			return change{}, refused("upsert into %s: no key is named", in.Table)
		}
		return readRows(c, in.Table, in.Key, in.Rows, in.Columns, in.Values)
	case sdk.Exec:
		return d.readExec(c, in)
	case sdk.Once:
		return change{}, refused("write once: a once must not be inside another")
	default:
		return change{}, refused("write: a change of type %T is not known", in)
	}
}

func (d *dialect) readExec(c *call, in sdk.Exec) (change, error) {
	st, err := d.parse(in.SQL)
	if err != nil {
		return change{}, err
	}
	if st.begins(d.barred) {
		return change{}, refused("run %s: %s is the host's own to use", st.print, st.first)
	}
	if d.bars != nil {
		if word := d.bars(st, false); word != "" {
			return change{}, refused("run %s: %s is the host's own to use", st.print, word)
		}
	}
	args, err := d.fill(st, in.Args)
	if err != nil {
		return change{}, err
	}
	c.execs = true
	c.rows++
	// These functions tell what the last statement did, so the statements must stay as they were written.
	for _, word := range d.recalls {
		if st.mentions(word) {
			c.merge = false
		}
	}
	return change{exec: &execution{st: st, args: args, want: in.Want}}, nil
}

func readRows(c *call, table string, key []string, rows []sdk.Row, columns []string, values []any) (change, error) {
	if own := strings.ToLower(table[strings.LastIndexByte(table, '.')+1:]); own == tableReceipt || own == tableVersion || strings.HasPrefix(own, "sqlite_") {
		return change{}, refused("write to %s: this table is the host's own", table)
	}
	set := &rowSet{table: table, columns: columns, key: key}
	var err error
	if len(rows) == 0 {
		err = set.flat(values)
	} else if len(columns) > 0 || len(values) > 0 {
		err = refused("write to %s: rows are given twice, as Rows and as Values", table)
	} else {
		err = set.named(rows)
	}
	if err != nil || set.n == 0 {
		return change{rows: set}, err
	}
	set.shape = c.shapeOf(table, set.columns, key)
	c.rows += set.n
	c.tables[table] = true
	return change{rows: set}, nil
}

// flat takes rows as a list of values.
func (set *rowSet) flat(values []any) error {
	width := len(set.columns)
	switch {
	case len(values) == 0:
		return nil
	case width == 0:
		return refused("write to %s: its rows have no columns", set.table)
	case len(values)%width != 0:
		return refused("write to %s: %d values in %d columns", set.table, len(values), width)
	}
	set.n, set.args, set.lent = len(values)/width, values, true
	for i, v := range values {
		stored, other, err := storedAs(v)
		if err != nil {
			return refused("write to %s: column %s: %v", set.table, set.columns[i%width], err)
		}
		if other {
			set.detach()
			set.args[i] = stored
		}
	}
	return nil
}

// named takes rows that name their columns, and puts these in order.
func (set *rowSet) named(rows []sdk.Row) error {
	for col := range rows[0] {
		set.columns = append(set.columns, col)
	}
	if len(set.columns) == 0 {
		return refused("write to %s: its rows have no columns", set.table)
	}
	slices.Sort(set.columns)
	set.n = len(rows)
	set.args = make([]any, 0, len(rows)*len(set.columns))
	for i, row := range rows {
		if len(row) != len(set.columns) {
			return refused("write to %s: row %d has %d columns, the first has %d", set.table, i, len(row), len(set.columns))
		}
		for _, col := range set.columns {
			v, ok := row[col]
			if !ok {
				return refused("write to %s: row %d lacks column %s, which the first has", set.table, i, col)
			}
			stored, err := toStored(v)
			if err != nil {
				return refused("write to %s: column %s: %v", set.table, col, err)
			}
			set.args = append(set.args, stored)
		}
	}
	return nil
}

const mostForms = 16 // that a call remembers: most have few

// shapeOf finds the shape among those of the call, or makes it.
func (c *call) shapeOf(table string, columns, key []string) string {
	for _, f := range c.forms {
		if f.table == table && slices.Equal(f.columns, columns) && slices.Equal(f.key, key) {
			return f.shape
		}
	}
	shape := shapeOf(table, columns, key)
	if len(c.forms) < mostForms {
		c.forms = append(c.forms, &rowSet{shape: shape, table: table, columns: columns, key: key})
	}
	return shape
}

func shapeOf(table string, columns, key []string) string {
	n := len(table) + 2
	for _, s := range columns {
		n += len(s) + 1
	}
	for _, s := range key {
		n += len(s) + 1
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteString(table)
	for _, list := range [][]string{columns, key} {
		b.WriteByte(0)
		for _, s := range list {
			b.WriteByte(1)
			b.WriteString(s)
		}
	}
	return b.String()
}

// title names a call for the lease: its first change.
func (c *call) title() string {
	if len(c.changes) == 0 {
		return "nothing"
	}
	return c.changes[0].title()
}

func (ch *change) title() string {
	switch {
	case ch.exec != nil:
		return ch.exec.st.print
	case ch.once != nil && len(ch.once.changes) > 0:
		return ch.once.changes[0].title()
	case ch.once != nil:
		return "INSERT " + tableReceipt
	case len(ch.rows.key) > 0:
		return "UPSERT " + cut(ch.rows.table, maxFingerprint)
	default:
		return "INSERT " + cut(ch.rows.table, maxFingerprint)
	}
}

// permanent finds whether the class of an error, below its ChangeError, is permanent.
func permanent(err error) bool {
	var ce *sdk.ChangeError
	if errors.As(err, &ce) {
		err = ce.Err
	}
	return sdk.ClassOf(err) == sdk.ClassPermanent
}

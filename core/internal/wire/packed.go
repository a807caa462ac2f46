package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/hostd/hostd/core/sdk"
)

// Marks of packed changes, as in docs/contract.md. A new one needs a new field in hostd.proto: a host refuses what it
// does not know.
const (
	packInsert byte = 1
	packUpsert byte = 2
	packExec   byte = 3
	packOnce   byte = 4

	packNull    byte = 0
	packFalse   byte = 1
	packTrue    byte = 2
	packInteger byte = 3
	packReal    byte = 4
	packText    byte = 5
	packBlob    byte = 6
	packTime    byte = 7
	packSame    byte = 8 // as in the same column of the row before of the same form
)

// formsLooked is how many of the newest forms a packer looks through for one that it has; of a form that it does not
// find it writes another one.
const formsLooked = 16

// form is what rows have in common: into which table and columns they go.
type form struct {
	mark    byte
	table   string
	columns []string
	key     []string
	before  []any // the last row of the form; empty: there is none yet
}

// packer writes changes.
type packer struct {
	out   []byte
	forms []*form
}

// pack writes the changes. An error is one of what the sink asked for.
func pack(changes []sdk.Change) ([]byte, error) {
	p := packer{out: make([]byte, 0, sizeHint(changes))}
	err := p.changes(changes)
	return p.out, err
}

// sizeHint is about as many bytes as the changes take, for one buffer in most cases.
func sizeHint(changes []sdk.Change) (n int) {
	for _, c := range changes {
		switch c := c.(type) {
		case sdk.Insert:
			n += 16 + valuesHint(c.Values)
		case sdk.Upsert:
			n += 16 + valuesHint(c.Values)
		case sdk.Once:
			n += 128 + sizeHint(c.Changes)
		}
	}
	return n + 64
}

func valuesHint(values []any) (n int) {
	for _, v := range values {
		if b, ok := v.([]byte); ok {
			n += len(b)
		}
		n += 8
	}
	return n
}

func (p *packer) changes(changes []sdk.Change) error {
	p.count(len(changes))
	for i, c := range changes {
		if err := p.change(c); err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
	}
	return nil
}

func (p *packer) change(c sdk.Change) error {
	switch c := c.(type) {
	case sdk.Insert:
		return p.rows(packInsert, c.Table, nil, c.Rows, c.Columns, c.Values)
	case sdk.Upsert:
		return p.rows(packUpsert, c.Table, c.Key, c.Rows, c.Columns, c.Values)
	case sdk.Exec:
		p.out = append(p.out, packExec)
		p.text(c.SQL)
		p.out = binary.AppendVarint(p.out, c.Want)
		p.count(len(c.Args))
		for i, v := range c.Args {
			if err := p.value(v); err != nil {
				return fmt.Errorf("argument %d: %w", i, err)
			}
		}
		return nil
	case sdk.Once:
		p.out = append(p.out, packOnce)
		p.text(c.Source)
		p.text(c.ID)
		p.text(c.Hash)
		p.out = binary.AppendUvarint(p.out, c.Seq)
		return p.changes(c.Changes)
	default:
		return fmt.Errorf("change of type %T", c)
	}
}

func (p *packer) rows(mark byte, table string, key []string, rows []sdk.Row, columns []string, values []any) error {
	flat, err := flatten(table, rows, columns, values)
	if err != nil {
		return err
	}
	p.out = append(p.out, mark)
	f := p.form(mark, table, flat.columns, key)
	p.count(flat.rows())
	for values = flat.values; len(values) > 0; values = values[len(f.columns):] {
		row := values[:len(f.columns)]
		for i, v := range row {
			if len(f.before) > 0 && same(f.before[i], v) {
				p.out = append(p.out, packSame)
			} else if err := p.value(v); err != nil {
				return fmt.Errorf("table %s: column %s: %w", table, f.columns[i], err)
			}
		}
		f.before = row
	}
	return nil
}

// form writes the number of a form, and after the number 0 one that is new.
func (p *packer) form(mark byte, table string, columns, key []string) *form {
	for i := len(p.forms) - 1; i >= max(0, len(p.forms)-formsLooked); i-- {
		if f := p.forms[i]; f.mark == mark && f.table == table && slices.Equal(f.columns, columns) && slices.Equal(f.key, key) {
			p.count(i + 1)
			return f
		}
	}
	f := &form{mark: mark, table: table, columns: columns, key: key}
	p.forms = append(p.forms, f)
	p.count(0)
	p.text(table)
	p.texts(columns)
	if mark == packUpsert {
		p.texts(key)
	}
	return f
}

func (p *packer) count(n int) { p.out = binary.AppendUvarint(p.out, uint64(n)) }

func (p *packer) text(s string) {
	p.count(len(s))
	p.out = append(p.out, s...)
}

func (p *packer) texts(list []string) {
	p.count(len(list))
	for _, s := range list {
		p.text(s)
	}
}

func (p *packer) value(v any) error {
	switch v := v.(type) {
	case nil:
		p.out = append(p.out, packNull)
	case bool:
		p.out = append(p.out, packFalse+boolByte(v))
	case int:
		p.out = binary.AppendVarint(append(p.out, packInteger), int64(v))
	case int64:
		p.out = binary.AppendVarint(append(p.out, packInteger), v)
	case float64:
		p.out = binary.LittleEndian.AppendUint64(append(p.out, packReal), math.Float64bits(v))
	case string:
		if !utf8.ValidString(v) {
			return errNotUTF8
		}
		p.out = append(p.out, packText)
		p.text(v)
	case []byte:
		p.out = append(p.out, packBlob)
		p.count(len(v))
		p.out = append(p.out, v...)
	case time.Time:
		p.out = binary.LittleEndian.AppendUint64(append(p.out, packTime), uint64(v.UnixNano()))
	default:
		return badValue(v)
	}
	return nil
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// same says whether b may be written as the same as a. It is for what repeats itself from row to row; a float64 is
// compared by its bits, and blobs and times are not compared at all.
func same(a, b any) bool {
	switch b := b.(type) {
	case nil:
		return a == nil
	case string:
		a, ok := a.(string)
		return ok && a == b
	case bool:
		a, ok := a.(bool)
		return ok && a == b
	case int64:
		a, ok := a.(int64)
		return ok && a == b
	case float64:
		a, ok := a.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	}
	return false
}

// flat are rows as a list of values.
type flat struct {
	columns []string
	values  []any
}

func (f *flat) rows() int {
	if len(f.columns) == 0 {
		return 0
	}
	return len(f.values) / len(f.columns)
}

// flatten gives rows in the one form of all, whichever way the sink wrote them.
func flatten(table string, rows []sdk.Row, columns []string, values []any) (flat, error) {
	switch {
	case len(rows) == 0 && len(columns) == 0 && len(values) > 0, len(columns) > 0 && len(values)%len(columns) != 0:
		return flat{}, fmt.Errorf("table %s: %d values in %d columns", table, len(values), len(columns))
	case len(rows) == 0:
		return flat{columns, values}, nil
	case len(columns) > 0 || len(values) > 0:
		return flat{}, fmt.Errorf("table %s: rows are given twice, as Rows and as Values", table)
	}
	out := flat{columns: columnsOf(rows[0])}
	out.values = make([]any, 0, len(rows)*len(out.columns))
	for i, row := range rows {
		if len(row) != len(out.columns) {
			return flat{}, fmt.Errorf("table %s: row %d has %d columns, the first has %d", table, i, len(row), len(out.columns))
		}
		for _, col := range out.columns {
			v, ok := row[col]
			if !ok {
				return flat{}, fmt.Errorf("table %s: row %d lacks column %s", table, i, col)
			}
			out.values = append(out.values, v)
		}
	}
	return out, nil
}

package dbpool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"hash/maphash"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

// dialect is all that differs between databases; the one of each is in the file of its name. Its texts have the
// placeholders of the database; only what a sink wrote has ?, see parse.
type dialect struct {
	name string // as Options.Driver has it
	// served says that a server is behind it: any connection may write, and a transaction has one call. Else there is
	// one connection that writes, keeps what it prepared, and has a group of calls in a transaction, each behind a
	// savepoint.
	served bool

	// connector makes connections; dial makes the sockets where there are any, nil for the driver's own way.
	connector func(o *Options, a access, dial dialFunc) (driver.Connector, error)
	place     func(o *Options) string                                 // where it is, for messages: no secret is in it
	ready     func(ctx context.Context, conn *sql.Conn) error         // makes it fit for the tables, before them; nil is nothing
	fault     func(err error, known string) fault                     // what a driver's error means; known as in clean
	tables    string                                                  // all tables: schema, name, whether the name alone finds it
	columns   string                                                  // of the table (schema, name), in order: name, type, most letters or 0, whether it may be NULL
	tangles   string                                                  // of the table (schema, name): 0 if it is plain, see table
	uniques   string                                                  // of the table (schema, name): the number of each unique index and a column of it; "" where an upsert itself finds that its key has none
	version   string                                                  // a number that changes with the catalog; "" where none tells, then what was read holds for catalogAge
	rows      int                                                     // a good number for one insert
	insert    func(sh *shape, args []any, n int) (string, []any, int) // statement for rows, with its arguments and how many of the n rows they are
	fits      func(c *column, v any) (any, error)                     // gives a value the form of its column, or says what is wrong with it; nil where any will do
	among     func(first int, ids []any) (string, []any, int)         // condition that a text is one of ids, as insert does; first is its first placeholder's number

	begin, rollback     string // of a transaction that may write
	save, undo, release string // of a savepoint; not used where served
	lock                string // makes others wait with their migrations until this transaction ends; "" where begin does
	versions            string // makes the table of migrations if it is not there
	migrations          []string
	purge               string                           // deletes at most purgeBatch receipts that were first seen before ?, as a sink would write it
	limited             func(query string, n int) string // an ordered query cut to n rows

	mark      func(n int) string           // placeholder number n, from 1
	argument  func(v any) any              // gives a stored value the form for a statement of a sink's own; nil where any will do
	shown     func(kind string, v any) any // gives a value of a query, of the driver's name for a type, the form for a sink; nil where any will do
	variables int                          // most arguments of one statement
	operators bool                         // brackets index arrays and : @ # may be operators; else brackets quote a name
	barred    []string                     // first words of statements that a sink may not run
	reads     []string                     // first words of statements that only read
	// bars is the first word for which a statement, or a query if it is for reading, must not be run, or "". nil is none.
	bars    func(st *statement, reading bool) string
	recalls []string // words of functions that tell what the last statement did

	known statements
}

// access is what a connection may do.
type access int

const (
	mayWrite access = iota
	mayRead         // any attempt to write is an error; a missing file is made all the same
	onlyRead        // as mayRead, and a missing file is an error
)

// fault is what a driver's error means. Its text carries no value of any row or argument; it is empty where the error
// is not the database's own, but that of a connection.
type fault struct {
	class  sdk.Class
	text   string
	is     error // one that callers know it by, or nil
	again  bool  // the transaction was undone to end a conflict with another one: it may be run again at once
	undone bool  // a commit that failed with it has surely not happened
	lost   bool  // the connection is gone, and most likely those with it that nobody uses now
}

// dialects are those that there are, by name.
var dialects = []func() *dialect{sqliteDialect, postgresDialect, sqlserverDialect}

func dialectOf(name string) *dialect {
	for _, of := range dialects {
		if d := of(); d.name == name {
			return d
		}
	}
	return nil
}

func drivers() []string {
	var out []string
	for _, of := range dialects {
		out = append(out, of().name)
	}
	return out
}

// quote makes a name of the catalog part of a statement, as all databases of ours take it.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

// names are the quoted names of the columns, in a list.
func (sh *shape) names() string {
	var b strings.Builder
	for i, c := range sh.columns {
		b.WriteString(comma(i) + quote(c.name))
	}
	return b.String()
}

// onConflict makes an upsert of an insert, where the database has ON CONFLICT.
func (sh *shape) onConflict() string {
	if len(sh.key) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(" ON CONFLICT (")
	for i, k := range sh.key {
		b.WriteString(comma(i) + quote(k.name))
	}
	b.WriteString(") DO UPDATE SET ")
	for i, c := range sh.updated() {
		b.WriteString(comma(i) + quote(c.name) + "=excluded." + quote(c.name))
	}
	return b.String()
}

// lastOfEachKey leaves out the rows that a later one with the same key overwrites, for databases that refuse to write
// a row twice in one statement.
func (sh *shape) lastOfEachKey(args []any) []any {
	width := len(sh.columns)
	if len(sh.key) == 0 || len(args) <= width || !sh.maybeTwice(args) {
		return args
	}
	last := make(map[string]int, len(args)/width)
	for at := 0; at < len(args); at += width {
		last[string(sh.keyOf(nil, args[at:]))] = at
	}
	out := make([]any, 0, len(last)*width)
	for at := 0; at < len(args); at += width {
		if last[string(sh.keyOf(nil, args[at:]))] == at {
			out = append(out, args[at:at+width]...)
		}
	}
	return out
}

// maybeTwice is false where no two rows have the same key.
func (sh *shape) maybeTwice(args []any) bool {
	seed := maphash.MakeSeed()
	seen := make(map[uint64]struct{}, len(args)/len(sh.columns))
	var key []byte
	for at := 0; at < len(args); at += len(sh.columns) {
		key = sh.keyOf(key[:0], args[at:])
		seen[maphash.Bytes(seed, key)] = struct{}{}
	}
	return len(seen) < len(args)/len(sh.columns)
}

// keyOf adds the key of the row that begins args.
func (sh *shape) keyOf(buf []byte, args []any) []byte {
	for _, i := range sh.keyAt {
		buf = appendValue(buf, args[i])
	}
	return buf
}

func limitedByLimit(query string, n int) string { return query + " LIMIT " + strconv.Itoa(n) }

// hasWord says whether every part of a name stands in the text.
func hasWord(known, word string) bool {
	for _, part := range strings.Split(word, ".") {
		if !strings.Contains(strings.ToLower(known), strings.ToLower(part)) {
			return false
		}
	}
	return true
}

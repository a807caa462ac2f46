package dbpool

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"modernc.org/sqlite"
)

// dialect is what differs between databases.
type dialect struct {
	variables int      // most parameters in one statement
	begin     string   // starts a transaction that may write
	barred    []string // first words of statements that a sink may not run
	reads     []string // first words of statements that only read
}

func sqliteDialect() *dialect {
	return &dialect{
		variables: 32_766, // SQLITE_MAX_VARIABLE_NUMBER
		begin:     "BEGIN IMMEDIATE",
		// A sink that ends the transaction, or changes how the connection works, would take others' changes with it.
		barred: []string{"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "ATTACH", "DETACH", "VACUUM", "REINDEX"},
		reads:  []string{"SELECT", "WITH", "VALUES", "EXPLAIN"},
	}
}

// access is what a connection may do.
type access int

const (
	mayWrite access = iota
	mayRead         // any attempt to write is an error; a missing file is made all the same
	onlyRead        // as mayRead, and a missing file is an error
)

// connector makes connections to the database file. A transaction that begins as a reader and then writes fails at
// once when another one writes, whatever the busy timeout; therefore immediate. Double quotes are for names only, so
// that a mistyped name is an error and not a text. Only the keys that the driver checks are used: _pragma is SQL.
func connector(path string, a access) (driver.Connector, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	p := filepath.ToSlash(abs)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	q := url.Values{}
	q.Set("_busy_timeout", "5000")
	q.Set("_foreign_keys", "on")
	q.Set("_synchronous", "FULL")
	q.Set("_txlock", "immediate")
	q.Set("_dqs", "0")
	q.Set("_defensive", "1")
	q.Set("_error_rc", "1")
	if a != mayWrite {
		q.Set("_query_only", "1")
	}
	if a == onlyRead {
		q.Set("mode", "ro")
	}
	u := url.URL{Scheme: "file", Path: p, RawQuery: q.Encode()}
	return sqlite.NewConnector(u.String())
}

// Primary result codes of SQLite that are treated apart, and extended ones of its constraints.
const (
	codeError, codePerm, codeBusy, codeLocked, codeNoMem       = 1, 3, 5, 6, 7
	codeReadOnly, codeInterrupt, codeIO, codeCorrupt, codeFull = 8, 9, 10, 11, 13
	codeCantOpen, codeProtocol, codeSchema, codeTooBig         = 14, 15, 17, 18
	codeConstraint, codeMismatch, codeAuth, codeRange          = 19, 20, 23, 25
	codeNotDB                                                  = 26
	codeForeignKey, codeNotNull, codePrimaryKey, codeUnique    = 787, 1299, 1555, 2067
	codeRowID, codeCheck                                       = 2579, 275
)

// fault is the class of a driver's error and a text for it that carries no value of any row or argument. known are
// words that may be quoted from the driver's message: the statement without its literals.
func fault(err error, known string) (sdk.Class, string) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return sdk.ClassNone, ""
	}
	switch e.Code() & 0xff {
	case codeBusy, codeLocked, codeProtocol, codeSchema:
		return sdk.ClassBusy, "the database is locked by another program; close tools that hold it open"
	case codeFull:
		return sdk.ClassUnavailable, "the disk with the database is full; free space there, nothing is lost meanwhile"
	case codeIO:
		return sdk.ClassUnavailable, fmt.Sprintf("the disk with the database fails (code %d); check the disk, stop the host before copying the file", e.Code())
	case codeCorrupt, codeNotDB:
		return sdk.ClassUnavailable, "the database file is damaged or is not a database; stop the host, keep a copy of the file, and put back a backup"
	case codeCantOpen, codePerm:
		return sdk.ClassUnavailable, "the database file cannot be opened; check that its folder is there and that the host may write in it"
	case codeNoMem:
		return sdk.ClassUnavailable, "the database is out of memory"
	case codeInterrupt:
		return sdk.ClassUnavailable, "the statement was interrupted at its time limit"
	case codeReadOnly:
		return sdk.ClassUnavailable, "the database file may not be written; check its permissions and those of its folder"
	case codeConstraint:
		return sdk.ClassPermanent, constraint(e)
	case codeTooBig, codeMismatch, codeRange, codeAuth, codeError:
		return sdk.ClassPermanent, detail(e, known)
	default:
		return sdk.ClassNone, fmt.Sprintf("the database answered code %d", e.Code())
	}
}

var constraintNames = regexp.MustCompile(`[A-Z]+ constraint failed: ((?:[\p{L}_][\p{L}\p{N}_]*(?:\.[\p{L}_][\p{L}\p{N}_]*)?(?:, )?)+)`)

// constraint tells which constraint failed, by the names of table and columns, which SQLite takes from the schema.
func constraint(e *sqlite.Error) string {
	kind := "constraint failed"
	switch e.Code() {
	case codeUnique, codePrimaryKey, codeRowID:
		kind = "duplicate key"
	case codeForeignKey:
		return "a row that it refers to is missing (foreign key)"
	case codeNotNull:
		kind = "a column that must have a value has none"
	case codeCheck:
		kind = "a check of the table failed"
	default:
		return fmt.Sprintf("%s (code %d)", kind, e.Code()) // a trigger's own words may hold anything
	}
	if m := constraintNames.FindStringSubmatch(e.Error()); m != nil {
		return kind + ": " + m[1]
	}
	return kind
}

// plainFaults are messages of SQLite about the statement itself; the quoted word is shown only where it stands in the
// statement without its literals.
var plainFaults = []struct {
	form *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`no such table: (?:main\.)?([\p{L}\p{N}_]+)`), "there is no table %s"},
	{regexp.MustCompile(`no such column: (?:"?)([\p{L}\p{N}_.]+)`), "there is no column %s"},
	{regexp.MustCompile(`no such function: ([\p{L}\p{N}_]+)`), "there is no function %s"},
	{regexp.MustCompile(`has no column named ([\p{L}\p{N}_]+)`), "there is no column %s"},
	{regexp.MustCompile(`near "([^"]+)": syntax error`), "syntax error near %s"},
	{regexp.MustCompile(`ambiguous column name: ([\p{L}\p{N}_.]+)`), "column %s is in more than one table"},
}

func detail(e *sqlite.Error, known string) string {
	msg := e.Error()
	if strings.Contains(msg, "ON CONFLICT clause does not match") {
		return "the key is not the primary key, nor a unique index, of the table"
	}
	if strings.Contains(msg, "incomplete input") {
		return "the statement is incomplete"
	}
	for _, f := range plainFaults {
		if m := f.form.FindStringSubmatch(msg); m != nil && hasWord(known, m[1]) {
			return fmt.Sprintf(f.text, m[1])
		}
	}
	return "the statement is not valid here (code " + strconv.Itoa(e.Code()) + "); check its names, types and functions"
}

func hasWord(known, word string) bool {
	for _, part := range strings.Split(word, ".") {
		if !strings.Contains(strings.ToLower(known), strings.ToLower(part)) {
			return false
		}
	}
	return true
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// insertSQL is the statement for n rows; with a key it updates the rows that are there.
func (d *dialect) insertSQL(sh *shape, n int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO " + quote(sh.table) + " (")
	for i, c := range sh.columns {
		b.WriteString(comma(i) + quote(c))
	}
	b.WriteString(") VALUES ")
	row := "(?" + strings.Repeat(",?", len(sh.columns)-1) + ")"
	for i := range n {
		b.WriteString(comma(i) + row)
	}
	if len(sh.key) == 0 {
		return b.String()
	}
	b.WriteString(" ON CONFLICT (")
	for i, k := range sh.key {
		b.WriteString(comma(i) + quote(k))
	}
	b.WriteString(") DO UPDATE SET ")
	for i, c := range sh.updated() {
		b.WriteString(comma(i) + quote(c) + "=excluded." + quote(c))
	}
	return b.String()
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

// Statements that read the catalog.
const (
	sqlVersion  = `PRAGMA schema_version` // changes with every change of a table, by whomever
	sqlColumns  = `SELECT name FROM pragma_table_info(?) ORDER BY cid`
	sqlTables   = `SELECT name FROM sqlite_master WHERE type IN ('table','view') AND substr(name,1,7) <> 'sqlite_' ORDER BY name`
	sqlTangled  = `SELECT (SELECT count(*) FROM pragma_foreign_key_list(?1)) + (SELECT count(*) FROM sqlite_master WHERE type='trigger' AND tbl_name=?1 COLLATE NOCASE) + (SELECT count(*) FROM sqlite_master WHERE type='view' AND name=?1 COLLATE NOCASE)`
	sqlSave     = `SAVEPOINT one`
	sqlRelease  = `RELEASE one`
	sqlRollback = `ROLLBACK TO one`
)

// timeForm is how a time is stored: RFC 3339, UTC, always nine digits of a second, so that text sorts as time does.
const timeForm = "2006-01-02T15:04:05.000000000Z"

func formatTime(t time.Time) string { return t.UTC().Format(timeForm) }

// sentinel is the one of our errors that callers know the driver's error by, or nil.
func sentinel(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return nil
	}
	switch {
	case e.Code() == codeUnique || e.Code() == codePrimaryKey || e.Code() == codeRowID:
		return ErrDuplicate
	case e.Code()&0xff == codeFull:
		return ErrFull
	case e.Code()&0xff == codeIO || e.Code()&0xff == codeCorrupt || e.Code()&0xff == codeNotDB:
		return ErrDamaged
	default:
		return nil
	}
}

// readOnly says whether the error is that of writing through a connection for reading.
func readOnly(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == codeReadOnly
}

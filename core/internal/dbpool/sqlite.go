package dbpool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/sdk"
	"modernc.org/sqlite"
)

func sqliteDialect() *dialect {
	return &dialect{
		name:      "sqlite",
		connector: sqliteConnector,
		place:     func(o *Options) string { return o.Path },
		ready:     sqliteReady,
		fault:     sqliteFault,

		tables:  `SELECT 'main', name, 1 FROM sqlite_master WHERE type IN ('table','view') AND substr(name,1,7) <> 'sqlite_' ORDER BY name`,
		columns: `SELECT name, type, 0, NOT "notnull" FROM pragma_table_info(?2, ?1) ORDER BY cid`,
		tangles: `SELECT (SELECT count(*) FROM pragma_foreign_key_list(?2, ?1)) + (SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?2 COLLATE NOCASE)` +
			` + (SELECT count(*) FROM sqlite_master WHERE type = 'view' AND name = ?2 COLLATE NOCASE)`,
		version: `PRAGMA schema_version`,
		rows:    sqliteRows,
		insert:  sqliteInsert,
		among:   sqliteAmong,

		begin: "BEGIN IMMEDIATE", rollback: "ROLLBACK",
		save: "SAVEPOINT one", undo: "ROLLBACK TO one", release: "RELEASE one",
		versions:   "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)",
		migrations: sqliteMigrations,
		purge:      purgeByKey,
		limited:    limitedByLimit,

		mark:      func(int) string { return "?" },
		variables: 32_766, // SQLITE_MAX_VARIABLE_NUMBER
		// A sink that ends the transaction, or changes how the connection works, would take others' changes with it.
		barred:  []string{"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "ATTACH", "DETACH", "VACUUM", "REINDEX"},
		reads:   []string{"SELECT", "WITH", "VALUES", "EXPLAIN"},
		recalls: []string{"last_insert_rowid", "changes"},
	}
}

// sqliteConnector makes connections to the database file. A transaction that begins as a reader and then writes fails
// at once when another one writes, whatever the busy timeout; therefore immediate. Double quotes are for names only, so
// that a mistyped name is an error and not a text. Only the keys that the driver checks are used: _pragma is SQL.
func sqliteConnector(o *Options, a access, _ dialFunc) (driver.Connector, error) {
	abs, err := filepath.Abs(o.Path)
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
	if a == onlyRead || a == atRest {
		q.Set("mode", "ro")
	}
	if a == atRest {
		q.Set("immutable", "1")
	}
	u := url.URL{Scheme: "file", Path: p, RawQuery: q.Encode()}
	return sqlite.NewConnector(u.String())
}

// sqliteReady turns the file into one with a write-ahead log.
func sqliteReady(ctx context.Context, conn *sql.Conn) error {
	var mode string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return &faultError{text: fmt.Sprintf("prepare the file: it does not take a write-ahead log (it is in mode %s); check that it is on a local disk and that no other program has it open", mode)}
	}
	return nil
}

const sqliteRows = 64 // in one insert; more gained nothing when it was measured

// sqliteInsert takes as many rows as a kept statement has room for: a power of two.
func sqliteInsert(sh *shape, args []any, n int) (string, []any, int) {
	size := sqliteRows
	for size > 1 && (size > n || size*len(sh.columns) > 32_766) {
		size /= 2
	}
	text := sh.text(size, func() string {
		row := "(?" + strings.Repeat(",?", len(sh.columns)-1) + ")"
		return "INSERT INTO " + sh.quoted + " (" + sh.names() + ") VALUES " + row + strings.Repeat(","+row, size-1) + sh.onConflict()
	})
	return text, args[:size*len(sh.columns)], size
}

const sqliteIDs = 128 // in one condition, a power of two

func sqliteAmong(_ int, ids []any) (string, []any, int) {
	n := sqliteIDs
	for n > len(ids) {
		n /= 2
	}
	return "IN (?" + strings.Repeat(",?", n-1) + ")", ids[:n], n
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

func sqliteFault(err error, known string) fault {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return fault{}
	}
	switch e.Code() & 0xff {
	case codeBusy, codeLocked, codeProtocol, codeSchema:
		return fault{class: sdk.ClassBusy, text: "the database is locked by another program; close tools that hold it open", undone: true}
	case codeConstraint:
		return fault{class: sdk.ClassPermanent, text: sqliteConstraint(e), is: sqliteDuplicate(e)}
	case codeTooBig, codeMismatch, codeRange, codeAuth, codeError:
		return fault{class: sdk.ClassPermanent, text: sqliteDetail(e, known)}
	}
	return sqliteTrouble(e)
}

// sqliteTrouble is what is wrong with the database rather than with what was asked.
func sqliteTrouble(e *sqlite.Error) fault {
	away := func(text string, is error) fault { return fault{class: sdk.ClassUnavailable, text: text, is: is} }
	switch e.Code() & 0xff {
	case codeFull:
		f := away("the disk with the database is full; free space there, nothing is lost meanwhile", ErrFull)
		f.undone = true
		return f
	case codeIO:
		return away(fmt.Sprintf("the disk with the database fails (code %d); check the disk, stop the host before copying the file", e.Code()), ErrDamaged)
	case codeCorrupt, codeNotDB:
		return away("the database file is damaged or is not a database; stop the host, keep a copy of the file, and put back a backup", ErrDamaged)
	case codeCantOpen, codePerm:
		return away("the database file cannot be opened; check that its folder is there and that the host may write in it", nil)
	case codeNoMem:
		return away("the database is out of memory", nil)
	case codeInterrupt:
		return away("the statement was interrupted at its time limit", nil)
	case codeReadOnly:
		return away("the database file may not be written; check its permissions and those of its folder", errReadOnly)
	default:
		return fault{text: fmt.Sprintf("the database answered code %d", e.Code())}
	}
}

func sqliteDuplicate(e *sqlite.Error) error {
	switch e.Code() {
	case codeUnique, codePrimaryKey, codeRowID:
		return ErrDuplicate
	default:
		return nil
	}
}

var constraintNames = regexp.MustCompile(`[A-Z]+ constraint failed: ((?:[\p{L}_][\p{L}\p{N}_]*(?:\.[\p{L}_][\p{L}\p{N}_]*)?(?:, )?)+)`)

// sqliteConstraint tells which constraint failed, by the names of table and columns, which SQLite takes from the schema.
func sqliteConstraint(e *sqlite.Error) string {
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

// sqliteWords are messages of SQLite about the statement itself; the quoted word is shown only where it stands in the
// statement without its literals.
var sqliteWords = []struct {
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

func sqliteDetail(e *sqlite.Error, known string) string {
	msg := e.Error()
	if strings.Contains(msg, "ON CONFLICT clause does not match") {
		return "the key is not the primary key, nor a unique index, of the table"
	}
	if strings.Contains(msg, "incomplete input") {
		return "the statement is incomplete"
	}
	for _, f := range sqliteWords {
		if m := f.form.FindStringSubmatch(msg); m != nil && hasWord(known, m[1]) {
			return fmt.Sprintf(f.text, m[1])
		}
	}
	return "the statement is not valid here (code " + strconv.Itoa(e.Code()) + "); check its names, types and functions"
}

// sqliteMigrations are described in docs/schema.md; see dialect.
var sqliteMigrations = []string{`
CREATE TABLE record (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  kind         TEXT NOT NULL,
  taken_at     TEXT,
  received_at  TEXT NOT NULL,
  seq          INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  labels       TEXT NOT NULL,
  data         BLOB,
  raw          BLOB,
  content_hash TEXT NOT NULL,
  amends       TEXT NOT NULL,
  unassigned   INTEGER NOT NULL,
  UNIQUE (source, record_id)
);
CREATE TABLE exam (
  source        TEXT NOT NULL,
  record_id     TEXT NOT NULL,
  patient_id    TEXT NOT NULL,
  patient_name  TEXT NOT NULL,
  patient_birth TEXT NOT NULL,
  patient_sex   TEXT NOT NULL,
  device_make   TEXT NOT NULL,
  device_model  TEXT NOT NULL,
  device_serial TEXT NOT NULL,
  taken_at      TEXT NOT NULL,
  received_at   TEXT NOT NULL,
  unassigned    INTEGER NOT NULL,
  warnings      TEXT NOT NULL,
  amended_by    TEXT NOT NULL,
  PRIMARY KEY (source, record_id)
);
CREATE INDEX exam_patient ON exam (patient_id);
CREATE INDEX exam_received ON exam (received_at);
CREATE TABLE observation (
  source     TEXT NOT NULL,
  record_id  TEXT NOT NULL,
  idx        INTEGER NOT NULL,
  code       TEXT NOT NULL,
  eye        TEXT NOT NULL,
  method     TEXT NOT NULL,
  seq        INTEGER NOT NULL,
  value_num  REAL,
  value_text TEXT NOT NULL,
  unit       TEXT NOT NULL,
  text       TEXT NOT NULL,
  flags      TEXT NOT NULL,
  PRIMARY KEY (source, record_id, idx)
) WITHOUT ROWID;
CREATE TABLE attachment (
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  idx          INTEGER NOT NULL,
  name         TEXT NOT NULL,
  content_type TEXT NOT NULL,
  size         INTEGER NOT NULL,
  hash         TEXT NOT NULL,
  role         TEXT NOT NULL,
  PRIMARY KEY (source, record_id, idx)
) WITHOUT ROWID;
CREATE TABLE ingest_receipt (
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  content_hash TEXT NOT NULL,
  seq          INTEGER NOT NULL,
  first_seen   TEXT NOT NULL,
  rows         INTEGER NOT NULL,
  PRIMARY KEY (source, record_id)
) WITHOUT ROWID;
`, `
CREATE INDEX ingest_receipt_seen ON ingest_receipt (first_seen);
`, `
ALTER TABLE ingest_receipt RENAME TO ingest_receipt_before;
DROP INDEX ingest_receipt_seen;
CREATE TABLE ingest_receipt (
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  sink         TEXT NOT NULL DEFAULT '',
  content_hash TEXT NOT NULL,
  seq          INTEGER NOT NULL,
  first_seen   TEXT NOT NULL,
  rows         INTEGER NOT NULL,
  PRIMARY KEY (source, record_id, sink)
) WITHOUT ROWID;
INSERT INTO ingest_receipt (source, record_id, content_hash, seq, first_seen, rows)
  SELECT source, record_id, content_hash, seq, first_seen, rows FROM ingest_receipt_before;
DROP TABLE ingest_receipt_before;
CREATE INDEX ingest_receipt_seen ON ingest_receipt (first_seen);
`}

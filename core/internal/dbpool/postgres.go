package dbpool

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresDialect is PostgreSQL 12 and newer. Each connection only reads unless a transaction says that it writes; so
// one handle serves both, and a query cannot write.
func postgresDialect() *dialect {
	return &dialect{
		name:      "postgres",
		served:    true,
		connector: postgresConnector,
		place:     postgresPlace,
		fault:     postgresFault,

		tables: `SELECT n.nspname, c.relname, pg_catalog.pg_table_is_visible(c.oid) FROM pg_catalog.pg_class c` +
			` JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace` +
			` WHERE c.relkind IN ('r','p','v','f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%' ORDER BY c.relname`,
		// Of a domain it gives the length of the type below, and NULL, which is any, for what has no length.
		columns: `SELECT a.attname, pg_catalog.format_type(a.atttypid, -1), coalesce(information_schema._pg_char_max_length(` +
			`information_schema._pg_truetypid(a, t), information_schema._pg_truetypmod(a, t)), 0), NOT a.attnotnull` +
			` FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid` +
			` WHERE a.attrelid = ` + postgresTable + ` AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
		tangles: `SELECT (c.relkind <> 'r')::int + c.relhasrules::int + c.relrowsecurity::int` +
			` + (SELECT count(*) FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f')` +
			` + (SELECT count(*) FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal)` +
			` FROM pg_catalog.pg_class c WHERE c.oid = ` + postgresTable,
		rows:   5000,
		insert: postgresInsert,
		fits:   postgresFit,
		among: func(first int, ids []any) (string, []any, int) {
			return fmt.Sprintf("= ANY($%d::text[])", first), []any{&postgresArray{values: ids, step: 1}}, len(ids)
		},

		begin: "BEGIN READ WRITE", rollback: "ROLLBACK",
		lock:       "SELECT pg_advisory_xact_lock(4820163377)", // any number will do that all hosts use
		versions:   "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)",
		migrations: postgresMigrations,
		purge:      purgeByKey,
		limited:    limitedByLimit,

		mark:      func(n int) string { return "$" + strconv.Itoa(n) },
		argument:  postgresArgument,
		variables: 65_535,
		operators: true,
		// A sink that ends the transaction, or changes how the connection works, would take others' changes with it.
		barred: []string{
			"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "PREPARE", "EXECUTE", "DEALLOCATE", "SET", "RESET", "DISCARD",
			"LISTEN", "UNLISTEN", "COPY", "VACUUM", "CLUSTER", "REINDEX", "DECLARE", "FETCH", "MOVE", "CLOSE", "CALL", "DO", "LOAD", "CHECKPOINT",
		},
		reads:   []string{"SELECT", "WITH", "VALUES", "EXPLAIN"},
		recalls: []string{"lastval", "currval"},
	}
}

// postgresTable is the number of the table (schema, name).
const postgresTable = `(SELECT o.oid FROM pg_catalog.pg_class o JOIN pg_catalog.pg_namespace s ON s.oid = o.relnamespace WHERE s.nspname = $1 AND o.relname = $2)`

// cancelTime is how long a cancelled statement may take to end before its connection is closed.
const cancelTime = time.Second

func postgresConnector(o *Options, _ access, dial dialFunc) (driver.Connector, error) {
	cfg, err := postgresConfig(o)
	if err != nil {
		return nil, err
	}
	switch {
	case dial != nil: // whoever has it bounds the login too
		cfg.DialFunc = pgconn.DialFunc(dial)
	case cfg.ConnectTimeout == 0:
		cfg.ConnectTimeout = o.ConnectTimeout
	}
	// A statement that is cancelled here must end there too, or it would keep its locks.
	cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: cancelTime}
	}
	settings := postgresSettings(cfg, o)
	never := func(context.Context, stdlib.ShouldPingParams) bool { return false } // the pool does, in its own time
	return stdlib.GetConnector(*cfg, stdlib.OptionShouldPing(never), stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		if _, err := c.Exec(ctx, settings); err != nil {
			return errors.Join(err, c.Close(ctx))
		}
		return nil
	})), nil
}

// postgresConfig reads the DSN. Over a network the connection is encrypted unless the DSN says how itself.
func postgresConfig(o *Options) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(o.DSN)
	if err != nil { // it may quote the DSN, and so a password
		return nil, errors.New("the dsn cannot be read; write it as postgres://user@host:5432/database, or as host=HOST port=5432 user=USER dbname=NAME")
	}
	if strings.Contains(o.DSN, "sslmode") || local(cfg.Host) {
		return cfg, nil
	}
	var safe []*pgconn.FallbackConfig
	for _, f := range cfg.Fallbacks {
		if f.TLSConfig != nil || local(f.Host) {
			safe = append(safe, f)
		}
	}
	cfg.Fallbacks = safe
	return cfg, nil
}

// local says whether the host is this machine: a folder with a socket, or loopback.
func local(host string) bool {
	return strings.HasPrefix(host, "/") || host == "localhost" || net.ParseIP(host).IsLoopback()
}

// postgresSettings is what each connection is told first. What the host's own time limits cannot reach, because the
// host is gone or frozen, ends by those of the server.
func postgresSettings(cfg *pgx.ConnConfig, o *Options) string {
	limit := strconv.FormatInt((o.OperationTimeout + 30*time.Second).Milliseconds(), 10)
	text := "SET default_transaction_read_only = on; SET standard_conforming_strings = on; SET TimeZone = 'UTC'"
	for _, s := range []struct{ name, value string }{
		{"application_name", "'hostd'"},
		{"statement_timeout", limit},
		{"idle_in_transaction_session_timeout", limit},
	} {
		if _, set := cfg.RuntimeParams[s.name]; !set {
			text += "; SET " + s.name + " = " + s.value
		}
	}
	return text
}

func postgresPlace(o *Options) string {
	cfg, err := postgresConfig(o)
	if err != nil {
		return "postgres"
	}
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))) + "/" + cfg.Database
}

// postgresInsert sends all rows in one statement, a column in an array. An array has the type of its column where that
// loses nothing; for all other types it has text, which the database reads. Arrays of a type with a length are avoided:
// the database would cut the values.
func postgresInsert(sh *shape, args []any, n int) (string, []any, int) {
	width := len(sh.columns)
	rows := sh.lastOfEachKey(args[:n*width])
	arrays := make([]any, width)
	for i := range arrays {
		arrays[i] = &postgresArray{values: rows, at: i, step: width}
	}
	return sh.text(0, func() string { return postgresInsertText(sh) }), arrays, n
}

func postgresInsertText(sh *shape) string {
	var values, arrays, names strings.Builder
	for i, c := range sh.columns {
		name := "c" + strconv.Itoa(i)
		form := postgresForm(c)
		values.WriteString(comma(i))
		if form == asText {
			values.WriteString("CAST(u." + name + " AS " + c.kind + ")")
		} else {
			values.WriteString("u." + name)
		}
		fmt.Fprintf(&arrays, "%s$%d::%s[]", comma(i), i+1, postgresTypes[form])
		names.WriteString(comma(i) + name)
	}
	return "INSERT INTO " + sh.quoted + " (" + sh.names() + ") SELECT " + values.String() +
		" FROM unnest(" + arrays.String() + ") AS u(" + names.String() + ")" + sh.onConflict()
}

// postgresArray is a column of rows, for the driver.
type postgresArray struct {
	values   []any // of all columns, row by row
	at, step int
}

// Dimensions is pgtype.ArrayGetter's.
func (a *postgresArray) Dimensions() []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(len(a.values) / a.step), LowerBound: 1}}
}

// Index is pgtype.ArrayGetter's.
func (a *postgresArray) Index(i int) any { return a.values[i*a.step+a.at] }

// IndexType is pgtype.ArrayGetter's: each value has its own.
func (a *postgresArray) IndexType() any { return nil }

// postgresForm is how values of the column are sent.
func postgresForm(c *column) form {
	switch c.kind {
	case "text", "character varying", "character", "bpchar":
		return letters
	case "smallint", "integer", "bigint":
		return whole
	case "real", "double precision":
		return float
	case "boolean":
		return truth
	case "bytea":
		return octets
	default:
		return asText
	}
}

var postgresTypes = map[form]string{letters: "text", whole: "int8", float: "float8", truth: "bool", octets: "bytea", asText: "text"}

func postgresFit(c *column, v any) (any, error) {
	v, err := postgresForm(c).of(v)
	if s, ok := v.(string); ok && err == nil {
		err = postgresText(c, s)
	}
	return v, err
}

func postgresText(c *column, s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return errors.New("a text with a zero byte, which PostgreSQL does not store")
	}
	return tooLong(c, s)
}

// postgresArgument gives a value of a sink's own statement the form in which the database itself finds its type.
func postgresArgument(v any) any {
	switch v := v.(type) {
	case bool, int64, float64:
		return plainText(v)
	case []byte:
		return postgresBytes(v)
	default:
		return v
	}
}

// postgresBytes are bytes where bytes are asked for, and a text where a text is.
type postgresBytes []byte

// BytesValue is pgtype.BytesValuer's.
func (b postgresBytes) BytesValue() ([]byte, error) { return b, nil }

// TextValue is pgtype.TextValuer's.
func (b postgresBytes) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: string(b), Valid: true}, nil
}

package dbpool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

// atRest is as onlyRead, for a file that nobody has open: nothing is made beside it, and nothing locked.
const atRest access = onlyRead + 1

// OpenCatalog opens the database as OpenReaderOf does, for Table and Query. A file that nobody has open is left as it is,
// and nothing is made beside it, as a Reader's other way of opening it would.
func OpenCatalog(ctx context.Context, o Options) (*Reader, error) {
	d, err := filled(&o)
	if err != nil {
		return nil, err
	}
	a := onlyRead
	if !d.served {
		if _, err := os.Stat(o.Path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open database %s: %w", o.Path, fs.ErrNotExist)
		}
		if rests(o.Path) {
			a = atRest
		}
	}
	db, err := d.look(ctx, &o, a)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", d.place(&o), err)
	}
	return &Reader{d, db}, nil
}

// filled gives the options their defaults, and their dialect.
func filled(o *Options) (*dialect, error) {
	d, err := o.dialect()
	if err == nil {
		err = o.fill(d)
	}
	return d, err
}

// look opens one connection.
func (d *dialect) look(ctx context.Context, o *Options, a access) (*sql.DB, error) {
	c, err := d.connector(o, a, nil)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		if f := d.fault(err, ""); f.text == "" {
			why := unreached(err)
			if ctx.Err() != nil {
				why = fmt.Sprintf("no answer within %s; check host and port in database.dsn, the firewall, and whether the server hangs", o.ConnectTimeout)
			}
			err = &faultError{text: why, fault: f}
		}
		return nil, errors.Join(d.clean(ctx, "connect", err, ""), db.Close())
	}
	return db, nil
}

// rests says whether nobody has the SQLite file open, nor was killed with it open: its log would be there.
func rests(path string) bool {
	for _, beside := range []string{"-wal", "-journal"} {
		if _, err := os.Stat(path + beside); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// description is what a Table needs beyond the dialect's own texts, of the table (schema, name): the columns of its
// primary key and unique indexes that an upsert may use, and the columns that are filled where a row has no value.
type description struct{ keys, filled string }

// descriptions are by the dialect's name. Each dialect must have one.
var descriptions = map[string]description{
	"sqlite": {
		keys: `SELECT 'primary key', name FROM pragma_table_info(?2, ?1) WHERE pk > 0` +
			` UNION ALL SELECT l.name, coalesce(i.name, '') FROM pragma_index_list(?2, ?1) l, pragma_index_info(l.name, ?1) i` +
			` WHERE l."unique" = 1 AND l.partial = 0 AND l.origin <> 'pk'`,
		filled: `SELECT name FROM pragma_table_xinfo(?2, ?1) WHERE dflt_value IS NOT NULL OR hidden IN (2, 3)` +
			` OR pk = 1 AND upper(type) = 'INTEGER' AND (SELECT count(*) FROM pragma_table_info(?2, ?1) WHERE pk > 0) = 1`,
	},
	"postgres": {
		keys: `SELECT i.indexrelid::text, coalesce(a.attname, '') FROM pg_catalog.pg_index i` +
			` CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)` +
			` LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0` +
			` WHERE i.indrelid = ` + postgresTable + ` AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND k.n <= i.indnkeyatts` +
			` ORDER BY i.indexrelid, k.n`,
		filled: `SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = ` + postgresTable +
			` AND attnum > 0 AND NOT attisdropped AND (atthasdef OR attidentity <> '')`,
	},
	"sqlserver": {
		keys: `SELECT i.name, c.name FROM sys.indexes i JOIN sys.index_columns k ON k.object_id = i.object_id AND k.index_id = i.index_id` +
			` JOIN sys.columns c ON c.object_id = k.object_id AND c.column_id = k.column_id` +
			` WHERE i.object_id = OBJECT_ID(QUOTENAME(@p1) + '.' + QUOTENAME(@p2)) AND i.is_unique = 1 AND i.has_filter = 0 AND i.is_disabled = 0` +
			` AND k.is_included_column = 0 ORDER BY i.index_id, k.key_ordinal`,
		filled: `SELECT name FROM sys.columns WHERE object_id = OBJECT_ID(QUOTENAME(@p1) + '.' + QUOTENAME(@p2))` +
			` AND (default_object_id <> 0 OR is_identity = 1 OR is_computed = 1 OR system_type_id = 189)`, // 189 is rowversion
	},
}

// Table is sdk.Catalog's: it reads the catalog as it is now.
func (r *Reader) Table(ctx context.Context, name string) (out sdk.Table, err error) {
	out.Database = r.dialect.name
	texts, ok := descriptions[r.dialect.name]
	if !ok {
		return out, refused("describe %s: it is not known how, for %s", name, r.dialect.name)
	}
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return out, r.dialect.clean(ctx, "connect", err, "")
	}
	defer func() { err = r.dialect.either(ctx, err, conn.Close()) }()
	s := newSession(r.dialect, newCatalog())
	s.conn = conn
	in, known, err := s.locate(ctx, name)
	if errors.Is(err, ErrRefused) { // there is none
		out.Near, err = s.near(ctx, name)
		return out, err
	}
	if err != nil {
		return out, err
	}
	t, err := s.table(ctx, name)
	if err != nil {
		return out, err
	}
	filled, err := s.names(ctx, texts.filled, in.name, known)
	if err != nil {
		return out, err
	}
	out.Name = t.name
	for _, c := range t.columns {
		out.Columns = append(out.Columns, sdk.Column{Name: c.name, Type: c.kind, MaxLength: c.most, Nullable: c.nullable, Filled: slices.Contains(filled, c.name)})
	}
	out.Keys, err = s.keys(ctx, texts.keys, in.name, known)
	return out, err
}

// near is the table whose name is most like the one given, or empty.
func (s *session) near(ctx context.Context, name string) (string, error) {
	var all []string
	err := s.each(ctx, func(scan scan) error {
		var schema, table string
		var bare bool
		err := scan(&schema, &table, &bare)
		if bare {
			all = append(all, table)
		}
		all = append(all, schema+"."+table)
		return err
	}, s.dialect.tables)
	if err != nil {
		return "", err
	}
	hint := strings.TrimPrefix(nearest(all, name), "; did you mean ")
	return strings.TrimSuffix(hint, "?"), nil
}

// names are those that a text of the catalog gives.
func (s *session) names(ctx context.Context, text string, args ...any) (out []string, err error) {
	err = s.each(ctx, func(scan scan) error {
		var name string
		err := scan(&name)
		out = append(out, name)
		return err
	}, text, args...)
	return out, err
}

// keys groups the columns by their index. One over an expression finds no row by its columns.
func (s *session) keys(ctx context.Context, text string, args ...any) (out [][]string, err error) {
	var order []string
	by := map[string][]string{}
	err = s.each(ctx, func(scan scan) error {
		var index, column string
		err := scan(&index, &column)
		if by[index] == nil {
			order = append(order, index)
		}
		by[index] = append(by[index], column)
		return err
	}, text, args...)
	for _, index := range order {
		if !slices.Contains(by[index], "") {
			out = append(out, by[index])
		}
	}
	return out, err
}

// Query is sdk.Store's, without a cache.
func (r *Reader) Query(ctx context.Context, q sdk.Query) (sdk.Result, error) {
	st, args, err := r.dialect.reading(&q)
	if err != nil {
		return sdk.Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return sdk.Result{}, r.dialect.clean(ctx, "connect", err, "")
	}
	res, err := r.dialect.ask(ctx, cancel, conn, nil, st, args, q.MaxRows)
	return res, r.dialect.either(ctx, err, conn.Close())
}

// Write is sdk.Store's: it refuses.
func (r *Reader) Write(context.Context, ...sdk.Change) ([]sdk.Changed, error) {
	return nil, sdk.Permanent(fmt.Errorf("write: %w", errReadOnly))
}

package dbpool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
)

// sqlserver is what was learnt of one database of SQL Server.
type sqlserver struct {
	old atomic.Bool // it has no OPENJSON: rows go as parameters
}

// openJSONLevel is the compatibility level from which a database has OPENJSON.
const openJSONLevel = 130

// sqlserverVariables is the most parameters of one statement: 2,100, less the two of sp_executesql.
const sqlserverVariables = 2098

// sqlserverBegin begins a transaction that an error undoes whole and in which a lock is waited for at most so long, in
// milliseconds. A session forgets these settings each time that the driver takes its connection from the pool.
const sqlserverBegin = "BEGIN TRANSACTION; SET XACT_ABORT ON; SET LOCK_TIMEOUT 5000"

// sqlserverLock waits for other hosts. The procedure says by its answer, and not by an error, that it waited in vain.
var sqlserverLock = "DECLARE @got int; EXEC @got = sp_getapplock @Resource = N'hostd tables', @LockMode = N'Exclusive', @LockOwner = N'Transaction', @LockTimeout = 8000;" +
	" IF @got < 0 BEGIN; THROW " + strconv.Itoa(numberLocked) + ", N'locked', 1; END"

// sqlserverDialect is SQL Server 2012 and newer. A transaction of ours undoes itself after any error (XACT_ABORT). There
// is no transaction that only reads, so a query is read by its words: see sqlserverBars.
func sqlserverDialect() *dialect {
	s := &sqlserver{}
	return &dialect{
		name:      "sqlserver",
		served:    true,
		connector: sqlserverConnector,
		place:     sqlserverPlace,
		ready:     s.ready,
		fault:     sqlserverFault,

		tables: "SELECT s.name, o.name, CAST(CASE WHEN OBJECT_ID(QUOTENAME(o.name)) = o.object_id THEN 1 ELSE 0 END AS bit)" +
			" FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0 ORDER BY o.name",
		columns: sqlserverColumns,
		tangles: "SELECT CASE WHEN o.type = 'U' THEN 0 ELSE 1 END + (SELECT COUNT(*) FROM sys.foreign_keys AS f WHERE f.parent_object_id = o.object_id)" +
			" + (SELECT COUNT(*) FROM sys.triggers AS g WHERE g.parent_id = o.object_id) FROM sys.objects AS o WHERE o.object_id = " + sqlserverTable,
		uniques: "SELECT i.index_id, COL_NAME(k.object_id, k.column_id) FROM sys.indexes AS i JOIN sys.index_columns AS k ON k.object_id = i.object_id AND k.index_id = i.index_id" +
			" WHERE i.is_unique = 1 AND i.has_filter = 0 AND i.is_disabled = 0 AND k.is_included_column = 0 AND i.object_id = " + sqlserverTable + " ORDER BY i.index_id, k.key_ordinal",
		rows:   1000,
		insert: s.insert,
		fits:   sqlserverFit,
		among:  s.among,

		begin: sqlserverBegin, rollback: "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION",
		lock: sqlserverLock,
		versions: "IF NOT EXISTS (SELECT 1 FROM sys.tables WHERE name = N'schema_version' AND schema_id = SCHEMA_ID())" +
			" CREATE TABLE schema_version (version INT NOT NULL)",
		migrations: sqlserverMigrations,
		purge:      "DELETE TOP (" + strconv.Itoa(purgeBatch) + ") FROM ingest_receipt WHERE first_seen < ?",
		limited: func(query string, n int) string {
			return query + " OFFSET 0 ROWS FETCH NEXT " + strconv.Itoa(n) + " ROWS ONLY"
		},

		mark:      func(n int) string { return "@p" + strconv.Itoa(n) },
		argument:  sqlserverArgument,
		shown:     sqlserverShown,
		variables: sqlserverVariables,
		bars:      sqlserverBars,
		reads:     []string{"SELECT", "WITH"},
		recalls:   []string{"scope_identity", "ident_current"},
	}
}

// sqlserverTable is the number of the table (schema, name).
const sqlserverTable = "OBJECT_ID(QUOTENAME(@p1) + N'.' + QUOTENAME(@p2))"

// sqlserverColumns gives a type as it is declared, that of a type with a name of its own as what it stands for, and behind
// it the collation of a text.
const sqlserverColumns = `SELECT c.name, COALESCE(b.name, u.name) + CASE` +
	` WHEN b.name IN (N'varchar', N'char', N'varbinary', N'binary', N'nvarchar', N'nchar') THEN N'(' +` +
	` CASE WHEN c.max_length = -1 THEN N'max' WHEN b.name LIKE N'n%' THEN CONVERT(nvarchar(10), c.max_length / 2) ELSE CONVERT(nvarchar(10), c.max_length) END + N')'` +
	` WHEN b.name IN (N'decimal', N'numeric') THEN N'(' + CONVERT(nvarchar(10), c.precision) + N',' + CONVERT(nvarchar(10), c.scale) + N')'` +
	` WHEN b.name IN (N'datetime2', N'datetimeoffset', N'time') THEN N'(' + CONVERT(nvarchar(10), c.scale) + N')'` +
	` ELSE N'' END + COALESCE(N' COLLATE ' + c.collation_name, N''),` +
	` CASE WHEN c.max_length <= 0 THEN 0 WHEN b.name IN (N'nvarchar', N'nchar') THEN c.max_length / 2` +
	` WHEN b.name IN (N'varchar', N'char', N'varbinary', N'binary') THEN c.max_length ELSE 0 END, c.is_nullable` +
	` FROM sys.columns AS c JOIN sys.types AS u ON u.user_type_id = c.user_type_id` +
	` LEFT JOIN sys.types AS b ON b.user_type_id = c.system_type_id` +
	` WHERE c.object_id = ` + sqlserverTable + ` ORDER BY c.column_id`

// ready looks whether the database has OPENJSON.
func (s *sqlserver) ready(ctx context.Context, conn *sql.Conn) error {
	level := 0
	err := conn.QueryRowContext(ctx, "SELECT CAST(compatibility_level AS int) FROM sys.databases WHERE database_id = DB_ID()").Scan(&level)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	s.old.Store(level < openJSONLevel)
	return nil
}

func sqlserverConnector(o *Options, _ access, dial dialFunc) (driver.Connector, error) {
	cfg, err := sqlserverConfig(o)
	if err != nil {
		return nil, err
	}
	c := mssql.NewConnectorConfig(cfg)
	if dial != nil {
		c.Dialer = sqlserverDialer(dial)
	}
	return sqlserverDoor{c}, nil
}

// sqlserverConfig reads the DSN. The connection is encrypted unless the DSN says otherwise. The certificate of a server is
// checked, except on this machine: there it is the one that the server made for itself, and no network lies between.
func sqlserverConfig(o *Options) (msdsn.Config, error) {
	cfg, err := msdsn.Parse(o.DSN)
	if err == nil && cfg.Encryption == msdsn.EncryptionOff && !sqlserverSays(cfg, msdsn.Encrypt) {
		err = sqlserverEncrypt(&cfg)
	}
	if err != nil { // it may quote the DSN, and so a password
		return cfg, errors.New("the dsn cannot be read; write it as sqlserver://user:password@host:1433?database=NAME, or as server=HOST;user id=USER;password=...;database=NAME;" +
			" a certificate that it names must be there")
	}
	cfg.DisableRetry = true // what was sent is sent again by the host alone, which knows what it was
	cfg.LogFlags = 0        // the driver would write statements and their values
	if !sqlserverSays(cfg, msdsn.DialTimeout) && o.ConnectTimeout > 0 {
		cfg.DialTimeout = o.ConnectTimeout
	}
	if !sqlserverSays(cfg, msdsn.AppName) {
		cfg.AppName = "hostd"
	}
	return cfg, nil
}

func sqlserverEncrypt(cfg *msdsn.Config) (err error) {
	p := cfg.Parameters
	if !sqlserverSays(*cfg, msdsn.TrustServerCertificate) && !sqlserverSays(*cfg, msdsn.Certificate) && !sqlserverSays(*cfg, msdsn.ServerCertificate) {
		cfg.TrustServerCertificate = sqlserverHere(cfg.Host)
	}
	host := p[msdsn.HostNameInCertificate]
	if host == "" {
		host = cfg.Host
	}
	cfg.Encryption = msdsn.EncryptionRequired
	cfg.TLSConfig, err = msdsn.SetupTLS(p[msdsn.Certificate], p[msdsn.ServerCertificate], cfg.TrustServerCertificate, host, p[msdsn.TLSMin])
	return err
}

func sqlserverSays(cfg msdsn.Config, key string) bool {
	_, ok := cfg.Parameters[key]
	return ok
}

// sqlserverHere says whether the server is on this machine, by the names that SQL Server has for it.
func sqlserverHere(host string) bool {
	switch strings.ToLower(host) {
	case "", ".", "(local)", "localhost":
		return true
	default:
		return net.ParseIP(host).IsLoopback()
	}
}

func sqlserverPlace(o *Options) string {
	cfg, err := sqlserverConfig(o)
	if err != nil {
		return "sqlserver"
	}
	at := cfg.Host
	switch {
	case cfg.Instance != "":
		at += `\` + cfg.Instance
	case cfg.Port != 0:
		at = net.JoinHostPort(cfg.Host, strconv.FormatUint(cfg.Port, 10))
	}
	return at + "/" + cfg.Database
}

type sqlserverDialer dialFunc

// DialContext is mssql.Dialer's.
func (d sqlserverDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return d(ctx, network, addr)
}

// sqlserverBars finds the first word for which a statement must not be run, or "". In T-SQL a text may go on with another
// statement without any mark between, and one that begins with a name that is not a statement's runs a procedure. But the
// words of statements are reserved: outside of quotes and brackets they are nothing else.
func sqlserverBars(st *statement, reading bool) string {
	if !reading && !sqlserverBegins[st.first] {
		return st.first
	}
	rest := st.words
	for rest != "" {
		switch c := rest[0]; {
		case c == '[':
			_, rest, _ = strings.Cut(rest, "]")
			continue
		case !isWord(c):
			rest = rest[1:]
			continue
		}
		n := 0
		for n < len(rest) && isWord(rest[n]) {
			n++
		}
		if word := strings.ToUpper(rest[:n]); sqlserverNever[word] || reading && sqlserverWrites[word] {
			return word
		}
		rest = rest[n:]
	}
	return ""
}

var (
	sqlserverBegins = setOf("INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "SELECT", "CREATE", "ALTER", "DROP", "TRUNCATE")
	sqlserverNever  = setOf("COMMIT", "ROLLBACK", "SAVE", "TRAN", "TRANSACTION", "EXEC", "EXECUTE", "USE", "WAITFOR", "SHUTDOWN", "KILL", "DBCC", "BACKUP", "RESTORE",
		"RECONFIGURE", "REVERT", "GRANT", "REVOKE", "DENY", "SETUSER", "CHECKPOINT", "OPENROWSET", "OPENQUERY", "OPENDATASOURCE", "XACT_ABORT", "IMPLICIT_TRANSACTIONS")
	sqlserverWrites = setOf("INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "ALTER", "DROP", "TRUNCATE", "INTO", "SET", "DECLARE", "WRITETEXT", "UPDATETEXT", "BULK")
)

func setOf(words ...string) map[string]bool {
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[w] = true
	}
	return set
}

// among is by JSON, or by one placeholder for each.
func (s *sqlserver) among(first int, ids []any) (string, []any, int) {
	if s.old.Load() {
		n := sqliteIDs
		for n > len(ids) {
			n /= 2
		}
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%s@p%d", comma(i), first+i)
		}
		return "IN (" + b.String() + ")", ids[:n], n
	}
	buf := []byte{'['}
	for i, id := range ids {
		buf = appendJSON(append(buf, comma(i)...), id)
	}
	text := fmt.Sprintf("IN (SELECT CONVERT(nvarchar(512), value COLLATE "+sqlserverExact+") FROM OPENJSON(@p%d))", first)
	return text, []any{mssql.NVarCharMax(append(buf, ']'))}, len(ids)
}

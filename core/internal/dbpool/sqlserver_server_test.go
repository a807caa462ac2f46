package dbpool_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
)

// mssqlDSN names a real SQL Server for the tests that run on every database, as sqlserver://user:password@host:1433 of a
// login that may make databases. Each test makes one, named hostd_test_..., and drops it.
const mssqlDSN = "HOSTD_TEST_MSSQL"

type sqlserverServer struct {
	once  sync.Once
	why   error // it cannot be used
	dsn   *url.URL
	admin *sql.DB
	names atomic.Int64
}

var sqlserver sqlserverServer

// sqlserverOf gives the server, or skips the test where none is named.
func sqlserverOf(tb testing.TB) *database {
	tb.Helper()
	dsn := os.Getenv(mssqlDSN)
	if dsn == "" {
		tb.Skipf("skip: no SQL Server is named; %s=sqlserver://user:password@host:1433 runs this on one", mssqlDSN)
	}
	sqlserver.once.Do(func() { sqlserver.why = sqlserver.start(dsn) })
	if sqlserver.why != nil {
		tb.Fatalf("%s: %v", mssqlDSN, sqlserver.why)
	}
	return &database{
		served: true,
		tsql:   true,
		fresh:  sqlserver.fresh,
		hold:   sqlserver.hold,
		clinic: `
CREATE TABLE visit (id BIGINT IDENTITY PRIMARY KEY, chart NVARCHAR(200) NOT NULL UNIQUE, room NVARCHAR(MAX), score FLOAT, at DATETIMEOFFSET);
CREATE TABLE ward (name NVARCHAR(200) PRIMARY KEY);
CREATE TABLE bed (id INT PRIMARY KEY, ward NVARCHAR(200) NOT NULL REFERENCES ward(name), next_to INT REFERENCES bed(id));
CREATE TABLE tally (n BIGINT NOT NULL);
INSERT INTO tally VALUES (0);
CREATE TABLE watched (id INT PRIMARY KEY, seen INT);
EXEC(N'CREATE TRIGGER watching ON watched AFTER INSERT AS BEGIN SET NOCOUNT ON; UPDATE w SET seen = (SELECT COUNT(*) FROM visit) FROM watched AS w JOIN inserted AS i ON i.id = w.id; END');
CREATE TABLE kinds (id INT PRIMARY KEY, n BIGINT, f FLOAT, s NVARCHAR(MAX), b VARBINARY(MAX), yes BIT, at DATETIMEOFFSET);
`,
		blob:    "SELECT CONVERT(varbinary(max), REPLICATE(CONVERT(varchar(max), 'x'), ?))",
		session: "SET XACT_ABORT OFF",
		last:    "IDENT_CURRENT('visit')",
		columns: "SELECT name FROM sys.columns WHERE object_id = OBJECT_ID(?)",
		yes:     true,
		at:      func(t time.Time) any { return t.UTC().Truncate(100 * time.Nanosecond) },
		tick:    100 * time.Nanosecond,
		bad:     "SELECT CAST(? AS INTEGER)",
		add:     "ADD",
		series:  "WITH c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < CAST(? AS INTEGER)) SELECT x FROM c OPTION (MAXRECURSION 0)",
		slow:    "SELECT COUNT_BIG(*) FROM sys.all_columns AS a, sys.all_columns AS b, sys.all_columns AS c, sys.all_columns AS d WHERE a.column_id + b.column_id + c.column_id + d.column_id < ?",
		and:     " AND",
		octet:   "0x01",
		leaks: map[string]string{
			"cast": "UPDATE visit SET score = CAST(? AS INTEGER)",
			"date": "UPDATE visit SET at = ?",
			"uuid": "UPDATE visit SET room = CAST(CAST(? AS UNIQUEIDENTIFIER) AS NVARCHAR(50))",
			"xml":  "UPDATE visit SET room = CAST(CAST('<' + ? AS XML) AS NVARCHAR(MAX))",
		},
	}
}

// start connects, and makes the table by whose rows tests wait.
func (s *sqlserverServer) start(dsn string) (err error) {
	if s.dsn, err = url.Parse(dsn); err != nil || s.dsn.Scheme != "sqlserver" {
		return fmt.Errorf("it must begin with sqlserver:// (%w)", err)
	}
	if s.admin, err = sql.Open("sqlserver", dsn); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err = s.admin.ExecContext(ctx, "IF OBJECT_ID(N'tempdb.dbo.hostd_gate') IS NULL CREATE TABLE tempdb.dbo.hostd_gate (n BIGINT PRIMARY KEY, v INT NOT NULL); DELETE FROM tempdb.dbo.hostd_gate")
	return err
}

// stop is called after the last test.
func (s *sqlserverServer) stop() error {
	if s.admin == nil {
		return nil
	}
	return s.admin.Close()
}

// fresh makes a database for the test.
func (s *sqlserverServer) fresh(tb testing.TB, o dbpool.Options) dbpool.Options {
	tb.Helper()
	name := fmt.Sprintf("hostd_test_%d_%d", os.Getpid(), s.names.Add(1))
	s.exec(tb, "CREATE DATABASE "+name)
	tb.Cleanup(func() {
		s.exec(tb, "ALTER DATABASE "+name+" SET SINGLE_USER WITH ROLLBACK IMMEDIATE; DROP DATABASE "+name)
	})
	dsn := *s.dsn
	q := dsn.Query()
	q.Set("database", name)
	dsn.RawQuery = q.Encode()
	o.Driver, o.DSN, o.ConnectTimeout = "sqlserver", dsn.String(), 30*time.Second
	return o
}

// exec runs statements beside every pool.
func (s *sqlserverServer) exec(tb testing.TB, text string, args ...any) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if _, err := s.admin.ExecContext(ctx, text, args...); err != nil {
		tb.Fatal(err)
	}
}

// hold locks the row that the expression waits for.
func (s *sqlserverServer) hold(tb testing.TB) (expr string, open func()) {
	tb.Helper()
	n := s.names.Add(1)
	s.exec(tb, "INSERT INTO tempdb.dbo.hostd_gate VALUES (@p1, 1)", n)
	tx, err := s.admin.BeginTx(context.Background(), nil)
	if err == nil {
		_, err = tx.ExecContext(context.Background(), "UPDATE tempdb.dbo.hostd_gate SET v = 1 WHERE n = @p1", n)
	}
	if err != nil {
		tb.Fatal(err)
	}
	open = sync.OnceFunc(func() {
		if err := tx.Commit(); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(open)
	return fmt.Sprintf("(SELECT v FROM tempdb.dbo.hostd_gate WHERE n = %d)", n), open
}

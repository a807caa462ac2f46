package dbpool_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
	"github.com/hostd/hostd/core/sdk"
	mssql "github.com/microsoft/go-mssqldb"
)

// TestNumbersOfSQLServer has what the server says in words full of values, none of which may be said again.
func TestNumbersOfSQLServer(t *testing.T) {
	const mark = "HONG-700101-1234567"
	for number, want := range map[int32]struct {
		class sdk.Class
		is    error
	}{
		2627: {sdk.ClassPermanent, dbpool.ErrDuplicate}, 2601: {sdk.ClassPermanent, dbpool.ErrDuplicate}, 547: {sdk.ClassPermanent, nil}, 515: {sdk.ClassPermanent, nil},
		8152: {sdk.ClassPermanent, nil}, 2628: {sdk.ClassPermanent, nil}, 245: {sdk.ClassPermanent, nil}, 8114: {sdk.ClassPermanent, nil}, 241: {sdk.ClassPermanent, nil},
		102: {sdk.ClassPermanent, nil}, 207: {sdk.ClassPermanent, nil}, 208: {sdk.ClassPermanent, nil}, 50000: {sdk.ClassPermanent, nil},
		1205: {sdk.ClassBusy, nil}, 1222: {sdk.ClassBusy, nil}, 3960: {sdk.ClassBusy, nil},
		18456: {sdk.ClassUnavailable, nil}, 4060: {sdk.ClassUnavailable, nil}, 40501: {sdk.ClassUnavailable, nil}, 40613: {sdk.ClassUnavailable, nil},
		229: {sdk.ClassUnavailable, nil}, 1105: {sdk.ClassUnavailable, dbpool.ErrFull}, 9002: {sdk.ClassUnavailable, dbpool.ErrFull}, 823: {sdk.ClassUnavailable, dbpool.ErrDamaged},
		99999: {sdk.ClassPermanent, nil}, 12345: {sdk.ClassNone, nil},
	} {
		e := mssql.Error{Number: number, Class: 16, Message: fmt.Sprintf("near '%s'. \"%s\" (%s)", mark, mark, mark), ServerName: mark, ProcName: mark}
		for _, err := range []error{e, fmt.Errorf("exec: %w", e)} {
			class, text, is := dbpool.Meaning("sqlserver", err, "UPDATE visit SET a = ?")
			if class != want.class || !errors.Is(is, want.is) {
				t.Errorf("%d: class %s, %v; want %s, %v", number, class, is, want.class, want.is)
			}
			if strings.Contains(text, "HONG") || !strings.Contains(text, fmt.Sprint(number)) {
				t.Errorf("%d says %s", number, text)
			}
		}
	}
	for known, want := range map[string]string{"SELECT * FROM vist": ": vist", `SELECT * FROM "vist"`: ": vist", "SELECT * FROM vista": ""} {
		_, text, _ := dbpool.Meaning("sqlserver", mssql.Error{Number: 208, Class: 16, Message: "Invalid object name 'vist'."}, known)
		if text != "there is no such table"+want+" (error 208)" {
			t.Errorf("%s: %s", known, text)
		}
	}
	for _, err := range []error{io.EOF, driver.ErrBadConn, net.ErrClosed, mssql.StreamError{InnerError: io.EOF}} {
		if _, text, _ := dbpool.Meaning("sqlserver", err, ""); text != "" {
			t.Errorf("%v is taken for an answer of the server: %s", err, text)
		}
	}
}

func TestOpenOfSQLServerSaysWhatToCheck(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, c := range map[string]struct{ dsn, want string }{
		"no database": {p.DSN("database=none"), "there is no such database"},
		"no user":     {strings.Replace(p.DSN(), "hostd:", "nobody:", 1), "refused the login"},
		"password":    {strings.Replace(p.DSN(), "only-for-tests", "s3cret", 1), "refused the login"},
		"no server":   {"sqlserver://hostd:s3cret@" + closed.Addr().String(), "nobody listens there"},
		"no dsn":      {"", "no dsn is set for sqlserver"},
		"not one":     {"sqlserver://hostd:s3cret@h:1433?encrypt=maybe", "the dsn cannot be read"},
		"not encrypted": {
			p.DSN("encrypt="), "how the dsn says to encrypt",
		},
	} {
		o := p.options()
		o.DSN, o.ConnectTimeout = c.dsn, 5*time.Second
		_, err := dbpool.Open(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v; want %q in it", name, err, c.want)
		}
	}
}

// TestSQLServerIsEncrypted has a certificate that nobody signed: on this machine it is taken, elsewhere it must be named.
func TestSQLServerIsEncrypted(t *testing.T) {
	cert, pem, err := tdstest.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "server.pem")
	if err := os.WriteFile(file, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	p := play(t, 130, tdstest.Config{Certificate: &cert})
	for dsn, want := range map[string]string{
		p.DSN("encrypt="):                                   "",
		p.DSN("encrypt=true", "certificate="+file):          "",
		p.DSN("encrypt=", "certificate="+file):              "",
		p.DSN("encrypt=true", "trustservercertificate=yes"): "",
		p.DSN("encrypt=", "trustservercertificate=no"):      "the certificate of the server is not trusted",
		p.DSN("encrypt=true"):                               "the certificate of the server is not trusted",
	} {
		o := p.options()
		o.DSN = dsn
		pool, err := dbpool.Open(t.Context(), o)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", dsn, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		serve(t, pool)
		mustWrite(t, pool.Store("emr"), sdk.Upsert{Table: "visit", Key: []string{"chart"}, Rows: []sdk.Row{visit("a")}})
	}
	for dsn, want := range map[string]dbpool.Encryption{
		"sqlserver://hostd@10.0.0.5?database=clinic":                             {Required: true, Checked: true},
		"server=emr.example;user id=hostd;database=clinic":                       {Required: true, Checked: true},
		"sqlserver://hostd@emr.example/express":                                  {Required: true, Checked: true},
		"sqlserver://hostd@emr.example?trustservercertificate=true":              {Required: true},
		"sqlserver://hostd@localhost?database=clinic":                            {Required: true},
		`server=(local);database=clinic`:                                         {Required: true},
		"sqlserver://hostd@10.0.0.5?database=clinic&encrypt=false":               {},
		"sqlserver://hostd@10.0.0.5?database=clinic&encrypt=disable":             {},
		"sqlserver://hostd@10.0.0.5?database=clinic&encrypt=true&tlsmin=1.2":     {Required: true, Checked: true},
		"sqlserver://hostd@10.0.0.5?database=clinic&disableretry=false&tlsmin=1": {Required: true, Checked: true},
	} {
		if got, err := dbpool.EncryptionOf(dsn); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", dsn, got, err, want)
		}
	}
}

// TestADeadlineKeepsTheConnection has queries that the server does not end by itself.
func TestADeadlineKeepsTheConnection(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	p.own = func(s *tdstest.Session, r tdstest.Request) tdstest.Reply {
		if strings.Contains(r.Text, "waits") {
			return failed(0, s.Wait(time.Hour))
		}
		return tdstest.Rows(tdstest.Columns("n int"), []any{1}).Then(tdstest.Reply{Results: []tdstest.Result{{}}})
	}
	o := p.options()
	o.OperationTimeout = time.Second
	s := runs(t, o).Store("emr")
	query(t, s, "SELECT 1")
	ever := p.Counts().Ever
	for _, args := range [][]any{nil, {1}} {
		text := "SELECT n FROM waits"
		if args != nil {
			text += " WHERE n = ?"
		}
		_, err := s.Query(t.Context(), sdk.Query{SQL: text, Args: args})
		if !errors.Is(err, context.DeadlineExceeded) || sdk.ClassOf(err) != sdk.ClassUnavailable || !strings.Contains(err.Error(), "within the operation's time") {
			t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
		}
		query(t, s, "SELECT 1")
	}
	if c := p.Counts(); c.Ever != ever || c.Attentions < 2 {
		t.Errorf("%d connections and %d cancels; want %d and 2", c.Ever, c.Attentions, ever)
	}
}

// TestACutCommitOfSQLServerIsUnknown cuts the connection when the commit was sent: before it is done, and after.
func TestACutCommitOfSQLServerIsUnknown(t *testing.T) {
	for _, at := range []tdstest.Point{tdstest.Received, tdstest.Answer} {
		p := play(t, 130, tdstest.Config{})
		s := runs(t, p.options()).Store("emr")
		mustWrite(t, s, noted("a", "1", "h"))
		p.Inject(tdstest.Fault{At: at, Do: tdstest.Cut, When: func(r tdstest.Request) bool { return r.Text == "COMMIT" }})
		if _, err := s.Write(t.Context(), noted("b", "2", "h")); sdk.ClassOf(err) != sdk.ClassUnknown {
			t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
		}
		want := sdk.Applied
		if at == tdstest.Answer {
			want = sdk.Duplicate
		}
		outcome(t, s, noted("b", "2", "h"), want)
		if n := p.rows.Count("visit"); n != 2 {
			t.Errorf("%d visits, want 2", n)
		}
	}
}

// TestACommitThatTheServerRefusedIsNotUnknown has a transaction that was undone before.
func TestACommitThatTheServerRefusedIsNotUnknown(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	s := runs(t, p.options()).Store("emr")
	p.Inject(tdstest.Fault{Do: tdstest.Refuse, Err: tdstest.SQLError(3902), When: func(r tdstest.Request) bool { return r.Text == "COMMIT" }})
	if _, err := s.Write(t.Context(), insertVisit("a")); sdk.ClassOf(err) != sdk.ClassUnavailable || !strings.Contains(err.Error(), "3902") {
		t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
	}
	mustWrite(t, s, insertVisit("a"))
}

// TestARestartedSQLServerFailsNothing has idle connections when the server goes.
func TestARestartedSQLServerFailsNothing(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	s := runs(t, p.options()).Store("emr")
	for n := range 3 {
		mustWrite(t, s, insertVisit(fmt.Sprint(n)))
		if err := p.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(t, s, insertVisit("last"))
	if n := p.rows.Count("visit"); n != 4 {
		t.Errorf("%d visits", n)
	}
}

// TestSQLServerTakesOneStatement has what T-SQL would take for more than the one statement that it begins with.
func TestSQLServerTakesOneStatement(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	p.own = func(*tdstest.Session, tdstest.Request) tdstest.Reply { return tdstest.Affected(1) }
	s := runs(t, p.options()).Store("emr")
	for _, c := range [][2]string{
		{"commit", "COMMIT"},
		{"UPDATE visit SET room = '1' COMMIT", "COMMIT"},
		{"DELETE FROM visit ROLLBACK TRAN", "ROLLBACK"},
		{"sp_who", "SP_WHO"},
		{"INSERT INTO visit EXEC list", "EXEC"},
		{"SET XACT_ABORT OFF", "SET"},
		{"UPDATE visit SET room = '1' SET XACT_ABORT ON", "XACT_ABORT"},
		{"DECLARE @a int", "placeholders are ?"},
		{"USE master", "USE"},
	} {
		text, want := c[0], c[1]
		_, err := s.Write(t.Context(), sdk.Exec{SQL: text, Want: -1})
		if !errors.Is(err, dbpool.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"SELECT 1 DELETE FROM visit", "SELECT room INTO other FROM visit", "WITH a AS (SELECT 1 AS b) DELETE FROM a", "EXEC list", "SELECT * FROM OPENQUERY(x, 'DELETE FROM visit')", "SELECT 1 UPDATE visit SET room = 'x'"} {
		if _, err := s.Query(t.Context(), sdk.Query{SQL: text}); !errors.Is(err, dbpool.ErrRefused) {
			t.Errorf("%s: %v", text, err)
		}
	}
	sent := len(p.Requests())
	for _, text := range []string{"UPDATE visit SET [commit] = 'COMMIT' WHERE \"exec\" = 1 -- ROLLBACK", "MERGE INTO visit AS t USING pair AS s ON t.n = s.b WHEN MATCHED THEN UPDATE SET n = 1;", "TRUNCATE TABLE pair"} {
		mustWrite(t, s, sdk.Exec{SQL: text, Want: 1})
	}
	for _, text := range []string{"SELECT [update], updated, \"delete\" FROM visit WHERE room = 'INSERT' /* DROP */"} {
		if _, err := s.Query(t.Context(), sdk.Query{SQL: text}); errors.Is(err, dbpool.ErrRefused) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if n := len(p.Requests()) - sent; n != 3*3+1 {
		t.Errorf("%d requests for 3 statements, each in its transaction, and a query", n)
	}
}

// TestArgumentsOfSQLServer are sent in types that find an index and are read in every language.
func TestArgumentsOfSQLServer(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	p.own = func(*tdstest.Session, tdstest.Request) tdstest.Reply { return tdstest.Affected(1) }
	s := runs(t, p.options()).Store("emr")
	at := time.Date(2026, 3, 2, 18, 30, 0, 123456789, time.FixedZone("KST", 9*3600))
	mustWrite(t, s, sdk.Exec{SQL: "UPDATE visit SET a = ? WHERE b = ? AND c = ? AND d = ? AND e = ? AND f = ?", Args: []any{"P100", "홍길동", at, int64(5), true, []byte("x")}, Want: 1})
	for _, r := range p.Requests() {
		if !strings.HasPrefix(r.Text, "UPDATE visit") {
			continue
		}
		if want := "UPDATE visit SET a = @p1 WHERE b = @p2 AND c = @p3 AND d = @p4 AND e = @p5 AND f = @p6"; r.Text != want {
			t.Errorf("text %s", r.Text)
		}
		if want := "@p1 varchar(4),@p2 nvarchar(3),@p3 datetimeoffset(7),@p4 bigint,@p5 bit,@p6 varbinary(1)"; r.Decl != want {
			t.Errorf("declared %s, want %s", r.Decl, want)
		}
		if got, ok := r.Param("@p3").(time.Time); !ok || !got.Equal(at.Truncate(100)) {
			t.Errorf("time %v", r.Param("@p3"))
		}
	}
}

// TestOneRecordManyTimesAtOnceInSQLServer writes the same record on many connections: those that come late find it there
// only when they write their receipt.
func TestOneRecordManyTimesAtOnceInSQLServer(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	o := p.options()
	o.MaxOpen = 8
	s := runs(t, o).Store("emr")
	for n := range 5 {
		outcomes := make(chan sdk.Outcome, o.MaxOpen)
		var wg sync.WaitGroup
		for range o.MaxOpen {
			wg.Go(func() {
				out, err := s.Write(t.Context(), noted(fmt.Sprint(n), fmt.Sprint(n), "h"))
				if err != nil {
					t.Error(err)
					return
				}
				outcomes <- out[0].Outcome
			})
		}
		wg.Wait()
		close(outcomes)
		applied := 0
		for o := range outcomes {
			if o == sdk.Applied {
				applied++
			}
		}
		if applied != 1 {
			t.Errorf("record %d was applied %d times", n, applied)
		}
	}
	if n := p.rows.Count("visit"); n != 5 {
		t.Errorf("%d visits", n)
	}
}

// TestAnotherHostBringsTheTablesUpToDate has the lock held by another one for too long.
func TestAnotherHostBringsTheTablesUpToDate(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	p.Inject(tdstest.Fault{Do: tdstest.Refuse, Err: tdstest.SQLError(50422), When: func(r tdstest.Request) bool { return strings.Contains(r.Text, "sp_getapplock") }})
	if _, err := dbpool.Open(t.Context(), p.options()); sdk.ClassOf(err) != sdk.ClassBusy || !strings.Contains(err.Error(), "another host") {
		t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
	}
	runs(t, p.options())
	runs(t, p.options()) // a second host finds them made
	made, noted := 0, 0
	for _, r := range p.Requests() {
		if strings.HasPrefix(r.Text, "\nCREATE TABLE record") {
			made++
		}
		if r.Text == "INSERT INTO schema_version (version) VALUES (1)" {
			noted++
		}
	}
	if c := p.Counts(); made != 1 || noted != 1 || c.Undone != 1 {
		t.Errorf("made %d times, noted %d times, counts %+v", made, noted, c)
	}
}

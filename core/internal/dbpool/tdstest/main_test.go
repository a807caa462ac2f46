package tdstest_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"go.uber.org/goleak"

	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
)

// The driver's own goroutines of a poisoned connection never end: that is what TestPoisonedConnection shows.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/microsoft/go-mssqldb.processSingleResponse"),
		goleak.IgnoreAnyFunction("github.com/microsoft/go-mssqldb.(*tdsSession).startResponseReader"))
}

// open gives a pool on the server.
func open(t *testing.T, srv *tdstest.Server, options ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlserver", srv.DSN(options...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// await fails the test if the counts do not become as wanted.
func await(t *testing.T, srv *tdstest.Server, wanted func(tdstest.Counts) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := srv.Wait(ctx, wanted); err != nil {
		t.Fatal(err)
	}
}

// number is that of an error of the server, or 0.
func number(err error) int32 {
	var e mssql.Error
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// lost says whether the error is that of a connection.
func lost(err error) bool {
	var stream mssql.StreamError
	return errors.Is(err, io.EOF) || errors.As(err, new(net.Error)) || errors.As(err, &stream)
}

// scripted starts a server that answers a text by its first word.
func scripted(t *testing.T, replies map[string]tdstest.Reply) *tdstest.Server {
	t.Helper()
	return tdstest.Start(t, tdstest.Config{Script: func(_ *tdstest.Session, r tdstest.Request) tdstest.Reply {
		word, _, _ := strings.Cut(r.Text, " ")
		reply, ok := replies[word]
		if !ok {
			return tdstest.Fail(tdstest.SQLError(208))
		}
		return reply
	}})
}

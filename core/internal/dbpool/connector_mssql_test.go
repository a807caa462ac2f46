package dbpool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
)

// mssqlLogin connects through go-mssqldb. Each login has a copy of the connector, for the dialer is a field of it.
func mssqlLogin(t *testing.T, dsn string) loginFunc {
	base, err := mssql.NewConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, dial dialFunc) (driver.Conn, error) {
		c := *base
		c.Dialer = mssqlDialer(dial)
		return c.Connect(ctx)
	}
}

type mssqlDialer dialFunc

func (d mssqlDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return d(ctx, network, addr)
}

// go-mssqldb does not look at its context in the login: left to itself it waits for ever on a server that says nothing.
func TestMSSQLSilentServer(t *testing.T) {
	const bound = 500 * time.Millisecond
	for _, encrypt := range []string{"disable", "true", "strict"} {
		t.Run(encrypt, func(t *testing.T) {
			nothingLeft(t)
			addr, heard := silent(t)
			all := newConnections(t.Context(), connectOptions{bound: bound, fault: toyFault, login: mssqlLogin(t, fmt.Sprintf("sqlserver://u:p@%s?disableretry=true&encrypt=%s", addr, encrypt))})
			db := sql.OpenDB(all.generation(nil))
			var err error
			within(t, bound, func() { err = db.PingContext(t.Context()) })
			isConnectError(t, err, "does not answer the login")
			if !eventually(func() bool { return heard.Load() > 0 }) {
				t.Error("the driver said nothing")
			}
			if n := all.counts(); n != (connectCounts{Generation: 1}) {
				t.Errorf("left behind: %+v", n)
			}
			if err := errors.Join(db.Close(), all.stop()); err != nil {
				t.Error(err)
			}
		})
	}
}

// silent takes connections and what they say, and answers nothing.
func silent(t *testing.T) (addr string, heard *atomic.Int64) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard = new(atomic.Int64)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				if n, err := io.Copy(io.Discard, c); err == nil || n > 0 {
					heard.Add(n)
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	return ln.Addr().String(), heard
}

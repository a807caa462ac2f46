package dbpool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
	"github.com/hostd/hostd/core/sdk"
	mssql "github.com/microsoft/go-mssqldb"
)

// tdsRig is a rig whose server is one for tests that go-mssqldb really talks to.
func tdsRig(t *testing.T, cfg tdstest.Config, change func(*connectOptions)) (*rig, *tdstest.Server) {
	t.Helper()
	nothingLeft(t)
	srv := tdstest.Start(t, cfg)
	t.Cleanup(srv.Thaw)
	return newRigOn(t, hears, func(o *connectOptions) {
		o.login, o.fault = mssqlLogin(t, srv.DSN()), func(err error) fault {
			var answer mssql.Error
			if errors.As(err, &answer) {
				return fault{class: sdk.ClassUnavailable, text: fmt.Sprint("refused with ", answer.Number)}
			}
			return fault{lost: true}
		}
		change(o)
	}), srv
}

// A statement on a server that went silent, cancelled by its context, is freed by a cut at once; left to itself the
// driver waits 5 s for an answer to its attention.
func TestMSSQLBlackHole(t *testing.T) {
	r, srv := tdsRig(t, tdstest.Config{}, func(*connectOptions) {})
	c, l := r.take()
	defer c.Close()
	srv.Freeze()
	mark := l.mark()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	late := time.AfterFunc(200*time.Millisecond, l.cut)
	defer late.Stop()
	var err error
	within(t, 200*time.Millisecond, func() { _, err = c.ExecContext(ctx, "write it") })
	if err == nil || !l.sentSince(mark) {
		t.Errorf("it is not known that it was sent: %v", err)
	}
	if n := r.counts(); n.Sockets != 0 || r.broken.Load() != 0 {
		t.Errorf("%+v, the loss was told %d times", n, r.broken.Load())
	}
}

// P3 and P2 with go-mssqldb: a restart with idle connections costs no write, and a frozen server no more than the bound.
func TestMSSQLOutages(t *testing.T) {
	const bound = 500 * time.Millisecond
	r, srv := tdsRig(t, tdstest.Config{}, func(o *connectOptions) { o.bound, o.quiet = bound, 50*time.Millisecond })
	idle := func() {
		conns := make([]*sql.Conn, rigOpen)
		for i := range conns {
			conns[i], _ = r.take()
		}
		for _, c := range conns {
			c.Close()
		}
		time.Sleep(2 * r.opt.quiet)
	}
	idle()
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, err := r.db.ExecContext(t.Context(), "write it"); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	if n := r.counts(); r.broken.Load() != 1 || n.Sockets != 1 {
		t.Errorf("the loss was told %d times; %+v", r.broken.Load(), n)
	}

	idle()
	srv.Freeze()
	var err error
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	within(t, bound, func() { _, err = r.db.ExecContext(ctx, "write it") })
	isConnectError(t, err, "does not answer the login")
	if n := r.counts(); !lost(err, nil) || n.Sockets != 0 || n.Strays != 0 {
		t.Errorf("%v; %+v", err, n)
	}
	srv.Thaw()
	if _, err := r.db.ExecContext(t.Context(), "write it"); err != nil {
		t.Errorf("after the frost: %v", err)
	}
}

// A login that the server refuses is its answer: it does not open the breaker, and the dialect words it.
func TestMSSQLLoginRefused(t *testing.T) {
	r, srv := tdsRig(t, tdstest.Config{}, func(*connectOptions) {})
	refusal := tdstest.SQLError(18456)
	srv.RefuseLogins(&refusal)
	_, err := r.db.ExecContext(t.Context(), "write it")
	isConnectError(t, err, "refused with 18456")
	if lost(err, nil) {
		t.Error("the server answered, and counts as lost")
	}
	if n := r.counts(); n != (connectCounts{Generation: 1}) {
		t.Errorf("left behind: %+v", n)
	}
}

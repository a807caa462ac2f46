package dbpool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
	"go.uber.org/goleak"
)

// slow counts n rows that do not exist: it takes time in its first step, where it can be interrupted.
const slow = "WITH RECURSIVE c(x) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT x + 1 FROM c WHERE x < ?) SELECT count(*) FROM c"

// until waits for a condition of another goroutine's making.
func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatal("never: " + what)
		}
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// hold occupies n readers of the holder until the returned function is called.
func hold(t *testing.T, p *dbpool.Pool, holder string, n int) (release func()) {
	t.Helper()
	gate, open := newGate()
	var wg sync.WaitGroup
	before := p.Stats().InUse
	for range n {
		wg.Go(func() {
			if _, err := p.Store(holder).Query(t.Context(), sdk.Query{SQL: "SELECT test_wait(?)", Args: []any{gate}}); err != nil {
				t.Errorf("the held query ended with %v", err)
			}
		})
	}
	until(t, "all held", func() bool { return p.Stats().InUse == before+n })
	return func() { open(); wg.Wait() }
}

func TestAFullPoolNamesItsHolders(t *testing.T) {
	p := running(t, dbpool.Options{MaxOpen: 4, AcquireTimeout: 300 * time.Millisecond})
	polite := p.Store("pacs")
	releaseEmr, releaseLab := hold(t, p, "emr", 2), hold(t, p, "lab", 1)
	_, err := polite.Query(t.Context(), sdk.Query{SQL: "SELECT 1"})
	if !errors.Is(err, dbpool.ErrBusy) || sdk.ClassOf(err) != sdk.ClassBusy {
		t.Fatalf("got %v, class %s", err, sdk.ClassOf(err))
	}
	for _, want := range []string{"emr 2 (oldest ", "SELECT test_wait(?))", "lab 1 (oldest "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	s := p.Stats()
	if s.InUse != 3 || s.MaxOpen != 4 || len(s.Holders) != 2 || s.Holders[0].Name != "emr" || s.Holders[0].InUse != 2 || s.WaitCount == 0 || s.WaitDuration < 300*time.Millisecond {
		t.Errorf("stats %+v", s)
	}
	releaseEmr()
	releaseLab()
	if _, err := polite.Query(t.Context(), sdk.Query{SQL: "SELECT 1"}); err != nil {
		t.Errorf("after the release: %v", err)
	}
	if s := p.Stats(); s.InUse != 0 || len(s.Holders) != 0 || s.Open != s.Idle {
		t.Errorf("stats %+v", s)
	}
}

func TestASinkAmongOthersCannotTakeAllReaders(t *testing.T) {
	p := running(t, dbpool.Options{MaxOpen: 4, AcquireTimeout: 300 * time.Millisecond})
	alone := p.Store("emr")
	hold(t, p, "emr", 3)() // alone it may have all three readers
	p.Store("pacs")
	release := hold(t, p, "emr", 2)
	defer release()
	if _, err := alone.Query(t.Context(), sdk.Query{SQL: "SELECT 1"}); !errors.Is(err, dbpool.ErrBusy) {
		t.Errorf("a third reader for emr: %v", err)
	}
	if _, err := p.Store("pacs").Query(t.Context(), sdk.Query{SQL: "SELECT 1"}); err != nil {
		t.Errorf("the last reader for pacs: %v", err)
	}
}

// flood is how many requests of one holder wait before another asks once.
const flood = 60

// TestFloodedPoolServesThePolite lets one holder queue many requests before another asks once.
func TestFloodedPoolServesThePolite(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		t.Run("reads", func(t *testing.T) { politeRead(t, d) })
		t.Run("writes", func(t *testing.T) { politeWrite(t, d) })
	})
}

func politeRead(t *testing.T, d *database) {
	p := d.withClinic(t, dbpool.Options{MaxOpen: 2, AcquireTimeout: time.Hour, OperationTimeout: time.Hour})
	greedy, polite := p.Store("greedy"), p.Store("polite")
	var wg sync.WaitGroup
	ask := func(s sdk.Store, expr string) {
		wg.Go(func() {
			if _, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT " + expr}); err != nil {
				t.Error(err)
			}
		})
	}
	first, openFirst := d.hold(t)
	rest, openRest := d.hold(t)
	ask(greedy, first)
	until(t, "the flood has its connection", func() bool { return p.Stats().InUse == 1 })
	for range flood {
		ask(greedy, rest)
	}
	until(t, "a flood", func() bool { return p.Stats().Waiting == flood })
	served := make(chan struct{})
	go func() {
		defer close(served)
		if _, err := polite.Query(t.Context(), sdk.Query{SQL: "SELECT 1"}); err != nil {
			t.Error(err)
		}
	}()
	until(t, "the polite one is served or waits", func() bool { return isClosed(served) || p.Stats().Waiting == flood+1 })
	openFirst()
	until(t, "the polite one is served before the rest of the flood", func() bool { return isClosed(served) })
	openRest()
	wg.Wait()
}

func politeWrite(t *testing.T, d *database) {
	p := d.withClinic(t, dbpool.Options{MaxOpen: 4, AcquireTimeout: time.Hour, OperationTimeout: time.Hour})
	greedy, polite := p.Store("greedy"), p.Store("polite")
	var wg sync.WaitGroup
	write := func(c sdk.Change) {
		wg.Go(func() {
			if _, err := greedy.Write(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	expr, open := d.hold(t)
	for n := range 3 { // all that it may have, where there is more than one writer
		write(sdk.Exec{SQL: "INSERT INTO tally SELECT -" + expr, Want: 1})
		until(t, "the flood has its connections", func() bool { s := p.Stats(); return s.InUse > 0 && s.InUse+s.Waiting == n+1 })
	}
	before := p.Stats().Waiting
	for range flood {
		write(sdk.Insert{Table: "tally", Rows: slices.Repeat([]sdk.Row{{"n": -1}}, 100)})
	}
	until(t, "a flood", func() bool { return p.Stats().Waiting == before+flood })
	served := make(chan struct{})
	go func() {
		defer close(served)
		if _, err := polite.Write(t.Context(), sdk.Exec{SQL: "INSERT INTO tally SELECT count(*) FROM tally", Want: 1}); err != nil {
			t.Error(err)
		}
	}()
	until(t, "the polite one is served or waits", func() bool { return isClosed(served) || p.Stats().Waiting == before+flood+1 })
	open()
	wg.Wait()
	<-served
	if n := query(t, polite, "SELECT max(n) FROM tally")[0][0].(int64); n > flood/4*100 {
		t.Errorf("the polite one was written after %d rows", n)
	}
}

// A group of writes is as long as its parts, and everybody in it waits for its end: one holder has only so many in each.
func TestAFloodFillsNoGroup(t *testing.T) {
	d := sqliteOf(t)
	p := d.withClinic(t, dbpool.Options{AcquireTimeout: time.Hour, OperationTimeout: time.Hour})
	greedy := p.Store("greedy")
	if _, err := p.Store("polite").Write(t.Context(), sdk.Insert{Table: "tally", Rows: []sdk.Row{{"n": 1}}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	write := func(expr string) {
		wg.Go(func() {
			if _, err := greedy.Write(t.Context(), sdk.Exec{SQL: "INSERT INTO tally SELECT " + expr, Want: 1}); err != nil {
				t.Error(err)
			}
		})
	}
	first, open := d.hold(t)
	write(first)
	until(t, "a write stands", func() bool { return p.Stats().InUse == 1 })
	before := p.Stats().Commits
	for range flood {
		write("1")
	}
	until(t, "a flood", func() bool { return p.Stats().Waiting == flood })
	open()
	wg.Wait()
	if n := p.Stats().Commits - before; n < 1+flood/2 {
		t.Errorf("%d writes were committed in %d groups", 1+flood, n)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAnOperationEndsWithItsTimeOrItsCaller(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p := d.withClinic(t, dbpool.Options{OperationTimeout: 500 * time.Millisecond})
		s := p.Store("emr")
		_, err := s.Query(t.Context(), sdk.Query{SQL: d.slow, Args: []any{1 << 40}})
		if !errors.Is(err, context.DeadlineExceeded) || sdk.ClassOf(err) != sdk.ClassUnavailable {
			t.Errorf("beyond its time: %v, class %s", err, sdk.ClassOf(err))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, ask := range map[string]func() error{
			"query": func() error { _, err := s.Query(ctx, sdk.Query{SQL: "SELECT 1"}); return err },
			"write": func() error { _, err := s.Write(ctx, onceOf(1, nil)); return err },
		} {
			if err := ask(); !errors.Is(err, context.Canceled) || sdk.ClassOf(err) != sdk.ClassUnavailable {
				t.Errorf("%s for a caller that left: %v, class %s", name, err, sdk.ClassOf(err))
			}
		}
		if n := count(t, s, "record"); n != 0 {
			t.Errorf("%d records of a caller that left before", n)
		}
		long := sdk.Exec{SQL: "UPDATE tally SET n = (" + d.slow + ")", Args: []any{1 << 40}, Want: -1}
		if _, err := s.Write(t.Context(), long); sdk.ClassOf(err) != sdk.ClassUnavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write beyond its time: %v, class %s", err, sdk.ClassOf(err))
		}
		until(t, "a write after it", func() bool { // on a busy machine it may need more than its time itself
			_, err := s.Write(t.Context(), onceOf(1, nil))
			if err != nil && sdk.ClassOf(err) != sdk.ClassUnavailable {
				t.Fatal(err)
			}
			return err == nil
		})
	})
}

func TestAWriteWhoseCallerLeftHasAnUnknownOutcome(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p := d.withClinic(t, dbpool.Options{})
		s := p.Store("emr")
		expr, open := d.hold(t)
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := s.Write(ctx, sdk.Exec{SQL: "INSERT INTO tally SELECT " + expr, Want: 1})
			left <- err
		}()
		until(t, "the write began", func() bool { return p.Stats().InUse == 1 })
		cancel()
		if err := <-left; sdk.ClassOf(err) != sdk.ClassUnknown || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
		}
		open()
		until(t, "the write ended", func() bool { return p.Stats().InUse == 0 })
		if n := count(t, s, "tally"); n != 2 {
			t.Errorf("%d tallies: the write that had begun did not go on", n)
		}
	})
}

func TestADatabaseThatDoesNotAnswerIsAbandoned(t *testing.T) {
	var log lines
	p, err := dbpool.Open(t.Context(), dbpool.Options{Path: t.TempDir() + "/hostd.db", MaxOpen: 3, OperationTimeout: 300 * time.Millisecond, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	dbpool.SetGrace(p, 20*time.Millisecond, 20*time.Millisecond)
	others := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	s := p.Store("emr")
	gate, release := newGate()
	var wg sync.WaitGroup
	for range 2 { // both readers
		wg.Go(func() {
			_, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT test_wait(?)", Args: []any{gate}})
			if !errors.Is(err, dbpool.ErrAbandoned) || sdk.ClassOf(err) != sdk.ClassUnknown {
				t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
			}
		})
	}
	// The writer stands still with the database's lock; the one in its place waits for that.
	_, err = s.Write(t.Context(), sdk.Exec{SQL: "DELETE FROM exam WHERE source = test_wait(?) OR test_wait(?) = 0", Args: []any{gate, gate}, Want: -1}, sdk.Exec{SQL: "INSERT INTO attachment SELECT '', '', test_wait(?), '', '', 0, '', ''", Args: []any{gate}, Want: 1})
	if !errors.Is(err, dbpool.ErrAbandoned) || sdk.ClassOf(err) != sdk.ClassUnknown {
		t.Errorf("the write got %v, class %s", err, sdk.ClassOf(err))
	}
	wg.Wait()
	if st := p.Stats(); st.Abandoned != 3 || st.InUse != 0 {
		t.Errorf("stats %+v", st)
	}
	if got := query(t, s, "SELECT 1")[0][0]; got != int64(1) {
		t.Errorf("after that a query answers %v", got)
	}
	if _, err := s.Write(t.Context(), onceOf(1, nil)); sdk.ClassOf(err) != sdk.ClassUnavailable && sdk.ClassOf(err) != sdk.ClassBusy {
		t.Errorf("while the lock is held a write answers %v", err)
	}
	release()
	until(t, "a write goes through", func() bool {
		_, err := s.Write(t.Context(), onceOf(1, nil))
		return err == nil
	})
	for _, want := range []string{"is cancelled", "is abandoned", "holder=emr"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, &log)
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	until(t, "the abandoned ones end too", func() bool { return goleak.Find(others) == nil })
}

func TestMonitor(t *testing.T) {
	var log lines
	p := running(t, dbpool.Options{MaxOpen: 4, MonitorEnabled: true, MonitorInterval: 5 * time.Millisecond, WarnAt: 0.5, QueryLog: true, SlowQuery: time.Nanosecond, Log: log.logger()})
	until(t, "a status line", func() bool {
		return strings.Contains(log.String(), `level=INFO msg="Primary DB Pool Status - Open: 2, InUse: 0, Idle: 2, WaitCount: 0, WaitDuration: 0s"`)
	})
	if strings.Contains(log.String(), "usage high") {
		t.Error("warned with nothing in use")
	}
	release, other := hold(t, p, "emr", 2), hold(t, p, "pacs", 1)
	until(t, "a warning", func() bool {
		return strings.Contains(log.String(), `level=WARN msg="Primary DB connection pool usage high: 75.0% (3/4 connections in use); holders: emr 2 (oldest 0.`)
	})
	if !strings.Contains(log.String(), "), pacs 1; waiting 0\"") {
		t.Errorf("the warning does not end as it should:\n%s", &log)
	}
	release()
	other()
	query(t, p.Store("emr"), "SELECT 12345 /* note */ , 'Hong'")
	for _, want := range []string{`level=DEBUG msg="database operation" holder=emr statement="SELECT ? , ?"`, `level=WARN msg="slow database operation" holder=emr statement="SELECT ? , ?"`} {
		until(t, want, func() bool { return strings.Contains(log.String(), want) })
	}
}

func TestStoppedPoolRefuses(t *testing.T) {
	p, err := dbpool.Open(t.Context(), dbpool.Options{Path: t.TempDir() + "/hostd.db", AcquireTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s := p.Store("emr")
	if _, err := s.Query(t.Context(), sdk.Query{SQL: "SELECT 1"}); !errors.Is(err, dbpool.ErrBusy) || !strings.Contains(err.Error(), "not running") {
		t.Errorf("before Run: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	query(t, s, "SELECT 1")
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(t.Context(), onceOf(1, nil)); !errors.Is(err, dbpool.ErrStopped) || sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("after Run: %v", err)
	}
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
}

func TestReadersAndWriterBesideEachOther(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		if d.tsql {
			t.Skip("a query of SQL Server sees each table at a moment of its own, unless the database keeps snapshots")
		}
		p := d.withClinic(t, dbpool.Options{})
		s := p.Store("emr")
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				for last := int64(0); ; {
					select {
					case <-stop:
						return
					default:
					}
					res, err := p.Store("pacs").Query(t.Context(), sdk.Query{SQL: "SELECT (SELECT count(*) FROM visit), (SELECT count(*) FROM ward)"})
					if err != nil {
						t.Error(err)
						return
					}
					visits, wards := res.Rows[0][0].(int64), res.Rows[0][1].(int64)
					if visits != wards || visits < last {
						t.Errorf("read %d visits and %d wards after %d", visits, wards, last)
						return
					}
					last = visits
				}
			})
		}
		for n := range 30 {
			name := fmt.Sprint(n)
			mustWrite(t, s, insertVisit(name), sdk.Insert{Table: "ward", Rows: []sdk.Row{{"name": name}}})
		}
		close(stop)
		wg.Wait()
	})
}

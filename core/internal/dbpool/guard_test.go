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
const slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?) SELECT count(*) FROM c"

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

// TestFloodedPoolServesThePolite lets one holder flood reads and writes, and another ask now and then.
func TestFloodedPoolServesThePolite(t *testing.T) {
	p := clinic(t, dbpool.Options{AcquireTimeout: time.Hour, OperationTimeout: time.Hour})
	flood, polite := p.Store("flood"), p.Store("polite")
	for name, ask := range map[string]func(s sdk.Store, n int) error{
		"reads": func(s sdk.Store, _ int) error {
			_, err := s.Query(t.Context(), sdk.Query{SQL: slow, Args: []any{1000}})
			return err
		},
		"writes": func(s sdk.Store, _ int) error {
			rows := make([]sdk.Row, 100)
			for i := range rows {
				rows[i] = sdk.Row{"n": i}
			}
			_, err := s.Write(t.Context(), sdk.Insert{Table: "tally", Rows: rows})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			var mu sync.Mutex
			var floods []time.Duration
			var wg sync.WaitGroup
			callers := 200
			if testing.Short() {
				callers = 60
			}
			for n := range callers {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						begin := time.Now()
						if err := ask(flood, n); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						floods = append(floods, time.Since(begin))
						mu.Unlock()
					}
				})
			}
			until(t, "a flood", func() bool { return p.Stats().Waiting > callers/2 })
			var took []time.Duration
			for n := range 10 {
				begin := time.Now()
				if err := ask(polite, n); err != nil {
					t.Error(err)
				}
				took = append(took, time.Since(begin))
			}
			close(stop)
			wg.Wait()
			slices.Sort(took)
			slices.Sort(floods)
			if mine, theirs := took[len(took)/2], floods[len(floods)/2]; mine*4 > theirs {
				t.Errorf("the polite one waited %s, the flood %s (median)", mine, theirs)
			}
		})
	}
}

func TestAnOperationEndsWithItsTimeOrItsCaller(t *testing.T) {
	p := running(t, dbpool.Options{OperationTimeout: 500 * time.Millisecond})
	s := p.Store("emr")
	_, err := s.Query(t.Context(), sdk.Query{SQL: slow, Args: []any{1 << 40}})
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
	long := sdk.Exec{SQL: "INSERT INTO record SELECT * FROM record WHERE id IN (" + slow + ")", Args: []any{1 << 40}, Want: -1}
	if _, err := s.Write(t.Context(), long); sdk.ClassOf(err) != sdk.ClassUnavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write beyond its time: %v, class %s", err, sdk.ClassOf(err))
	}
	if _, err := s.Write(t.Context(), onceOf(1, nil)); err != nil {
		t.Errorf("the write after it: %v", err)
	}
}

func TestAWriteWhoseCallerLeftHasAnUnknownOutcome(t *testing.T) {
	p := clinic(t, dbpool.Options{})
	s := p.Store("emr")
	gate, open := newGate()
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := s.Write(ctx, sdk.Exec{SQL: "INSERT INTO tally SELECT test_wait(?)", Args: []any{gate}, Want: 1})
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
	p := clinic(t, dbpool.Options{})
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
}

package incident

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostd/hostd/internal/incident/load"
	"modernc.org/sqlite"
)

var visitors = flag.Int("visits", 10, "visits in TestVisits, for each of the three")

// What the origin's log said of a visit, and what is promised.
const (
	originBare   = 230
	originCached = 180
	promised     = 120
)

// TestVisits counts how often the same visits reach the database: without a cache, with the origin's, and through hostd
// with cached queries. Each is counted in its database layer: in the driver, or in hostd's query log.
func TestVisits(t *testing.T) {
	bare, bareReport := countedVisits(t, nil)
	cached, cachedReport := countedVisits(t, map[int64]kept{})
	ours, oursReport := hostdVisits(t)
	t.Logf("accesses to the database, %d visits\n%-24s %10s %8s %14s\n%s%s%s", *visitors, "", "accesses", "a visit", "stale answers",
		line("no cache", bare, bareReport), line("the origin's cache", cached, cachedReport), line("hostd, cached queries", ours, oursReport))
	if bare != originBare**visitors || cached != originCached**visitors {
		t.Errorf("the model is not the origin's load: %d and %d accesses in %d visits, want %d and %d a visit", bare, cached, *visitors, originBare, originCached)
	}
	if ours > promised**visitors {
		t.Errorf("hostd made %d accesses in %d visits, more than %d a visit", ours, *visitors, promised)
	}
	if cachedReport.Stale == 0 || bareReport.Stale > 0 || oursReport.Stale > 0 {
		t.Errorf("stale answers: %d without a cache, %d with the origin's, %d with hostd's; want none, some, none", bareReport.Stale, cachedReport.Stale, oursReport.Stale)
	}
}

func line(name string, accesses int, r load.Report) string {
	return fmt.Sprintf("%-24s %10d %8.1f %14d\n", name, accesses, float64(accesses)/float64(*visitors), r.Stale)
}

// seed makes the tables in a new file.
func seed(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(path)+"?_pragma=journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	text := load.Schema
	for n := range *visitors {
		text += load.Seed(int64(n + 1))
	}
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// countedVisits runs the visits over database/sql, and gives what the driver was asked for.
func countedVisits(t *testing.T, exams map[int64]kept) (int, load.Report) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "visits.db")
	seed(t, path)
	c := &counter{dsn: "file:" + filepath.ToSlash(path) + "?_pragma=busy_timeout(5000)"}
	db := sql.OpenDB(c)
	defer db.Close()
	r, err := load.Run(*visitors, &origin{ctx: t.Context(), db: db, exams: exams})
	if err != nil {
		t.Fatal(err)
	}
	return int(c.asked.Load()), r
}

// origin is the origin's way to its database.
type origin struct {
	ctx   context.Context
	db    *sql.DB
	exams map[int64]kept // nil is no cache
}

// kept is what the origin's cache had of an exam. It had 1,000 of them for 30 minutes, which no visit reaches; it stood in
// front of one query of many, and nothing that was written dropped an entry.
type kept struct {
	status int64
	since  time.Time
}

// Read is load.Access's.
func (o *origin) Read(op load.Op, key int64) (n int64, err error) {
	if k, ok := o.exams[key]; ok && op == load.ReadExam && time.Since(k.since) < load.CacheFor {
		return k.status, nil
	}
	if err := o.db.QueryRowContext(o.ctx, load.Queries[op].SQL, key).Scan(&n); err != nil {
		return 0, err
	}
	if o.exams != nil && op == load.ReadExam {
		o.exams[key] = kept{n, time.Now()}
	}
	return n, nil
}

// Write is load.Access's.
func (o *origin) Write(op load.Op, key, value int64) error {
	text := "INSERT INTO visit_observation (exam, idx) VALUES (?, ?)"
	if op == load.WriteExam {
		text = "INSERT INTO visit_exam (id, status) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET status = excluded.status"
	}
	_, err := o.db.ExecContext(o.ctx, text, key, value)
	return err
}

const visitsConfig = `
logging: {level: info, levels: {dbpool: debug}, file: {path: log/hostd.log}}
database: {pool: {query_log: true, monitor: {enabled: false}}}
devices: [{name: ark, plugin: generator, settings: {count: 1}}]
sinks: [{name: visits, plugin: visits, settings: {visits: %d}}]
`

// hostdVisits runs them through hostd, and gives what its query log has of them.
func hostdVisits(t *testing.T) (accesses int, r load.Report) {
	t.Helper()
	c := newClinic(t, fmt.Sprintf(visitsConfig, *visitors))
	c.write("data/.keep", "")
	seed(t, c.path("data/hostd.db"))
	c.start()
	report := "data/state/sinks/visits/report.json"
	c.until("the visits are over", func() bool { _, err := os.Stat(c.path(report)); return err == nil })
	c.stop()
	if err := json.Unmarshal([]byte(c.read(report)), &r); err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(c.read("log/hostd.log")) {
		if strings.Contains(l, "database operation") && strings.Contains(l, "holder=visits") {
			accesses++
		}
	}
	if accesses == 0 || r.Steps != originBare**visitors {
		t.Fatalf("%d lines in the query log for %d steps, want some for %d", accesses, r.Steps, originBare**visitors)
	}
	return accesses, r
}

// counter is a connector of SQLite that counts what reaches it.
type counter struct {
	dsn   string
	asked atomic.Int64
}

// Connect is driver.Connector's.
func (c *counter) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.Driver().Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return &countedConn{conn, c}, nil
}

// Driver is driver.Connector's.
func (c *counter) Driver() driver.Driver { return &sqlite.Driver{} }

type countedConn struct {
	driver.Conn
	counter *counter
}

// QueryContext is driver.QueryerContext's.
func (c *countedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.counter.asked.Add(1)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// ExecContext is driver.ExecerContext's.
func (c *countedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.counter.asked.Add(1)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

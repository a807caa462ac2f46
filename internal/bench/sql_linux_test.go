package bench

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

var exams = flag.Int("exams", 30_000, "exams of ten observations in BenchmarkSQLSink")

const (
	sinkBatch    = 1000 // records in a delivery, and in a transaction of the direct writer
	rowsAtOnce   = 100  // in a statement of the direct writer
	rowsOfExam   = 12   // that are counted: exam, ten observations, receipt
	observations = 10
	watchEvery   = 5 * time.Millisecond
)

// BenchmarkSQLSink delivers exams of ten observations from the spool through the sql sink's process into SQLite with
// synchronous=FULL. Then the very rows that it wrote are written by a direct writer in this process: modernc, one
// connection, one transaction for as many records as the sink's batch, prepared statements of many rows. The ratio is the
// median of those of the turns.
func BenchmarkSQLSink(b *testing.B) {
	program(b)
	parent := workDir(b)
	var sinks, directs, ratios []float64
	for b.Loop() {
		dir := inside(b, parent)
		sink, cpu := deliver(b, dir)
		file := filepath.Join(dir, "data", "hostd.db")
		direct, own := writeDirectly(b, file, filepath.Join(dir, "direct.db"))
		b.Logf("sink %.0f rows/s, direct %.0f rows/s; CPU s/M rows %s, direct %.1f; load %s", sink, direct, cpu, own, loadavg(b))
		sinks, directs, ratios = append(sinks, sink), append(directs, direct), append(ratios, sink/direct)
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(sinks), "rows/s")
	b.ReportMetric(median(directs), "direct-rows/s")
	b.ReportMetric(median(ratios), "ratio")
}

// deliver fills a spool, then has it delivered with nothing else to do, and gives counted rows in a second, from the
// first delivery that is seen in the database to the last one, and what host and sink took of the CPU.
func deliver(b *testing.B, dir string) (rate float64, cpu string) {
	b.Helper()
	out := filepath.Join(dir, "out")
	h := start(b, dir, fmt.Sprintf(`
devices: [{name: gen, plugin: exams, settings: {count: %d}}]
sinks: [{name: lines, plugin: file, settings: {dir: %q}}]
`, *exams, out))
	h.until("all exams in the spool", 100*time.Millisecond, flowWait, func() bool {
		if size, _ := grown(h, out); size < shortest(b, out)*int64(*exams) {
			return false
		}
		got, err := count(out)
		if err != nil {
			b.Fatal(err)
		}
		return got.lines == *exams
	})
	h.end()
	h = start(b, dir, fmt.Sprintf("sinks: [{name: emr, plugin: sql, start: oldest, batch: %d}]\n", sinkBatch))
	h.awaitReady()
	db := openSQLite(b, filepath.Join(dir, "data", "hostd.db"))
	var first, last int
	var from, to time.Time
	h.until("all exams in the database", watchEvery, flowWait, func() bool {
		n := int(number(b, db, "SELECT coalesce(max(id), 0) FROM record"))
		if now := time.Now(); n > 0 && from.IsZero() {
			first, from = n, now
		} else if n > last {
			to = now
		}
		last = n
		return n >= *exams
	})
	for _, u := range h.family() {
		cpu += fmt.Sprintf("%s %.1f ", u.name, u.cpu*1e6/float64(*exams*rowsOfExam))
	}
	if n := number(b, db, "SELECT (SELECT count(*) FROM exam) + (SELECT count(*) FROM observation) + (SELECT count(*) FROM ingest_receipt)"); n != int64(*exams*rowsOfExam) {
		b.Fatalf("%d rows for %d exams, want %d for each", n, *exams, rowsOfExam)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	h.end()
	return float64((last-first)*rowsOfExam) / to.Sub(from).Seconds(), cpu
}

func openSQLite(b *testing.B, path string) *sql.DB {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)")
	if err != nil {
		b.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

func number(b *testing.B, db *sql.DB, query string) (n int64) {
	b.Helper()
	if err := db.QueryRowContext(b.Context(), query).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

// table is what one table of the host holds, in the order in which it was written.
type table struct {
	name    string
	each    int    // rows of one exam
	order   string // of these
	columns []string
	rows    [][]any
}

// writeDirectly copies the tables into a new database, and gives counted rows in a second, and CPU seconds for a million.
func writeDirectly(b *testing.B, from, to string) (rate, cpu float64) {
	b.Helper()
	ctx := b.Context()
	source, target := openSQLite(b, from), openSQLite(b, to)
	defer source.Close()
	defer target.Close()
	tables := []table{{name: "record", each: 1}, {name: "exam", each: 1}, {name: "observation", each: observations, order: ", t.idx"}, {name: "ingest_receipt", each: 1}}
	for i := range tables {
		if err := tables[i].read(ctx, source); err != nil {
			b.Fatal(err)
		}
	}
	if err := sameTables(ctx, source, target); err != nil {
		b.Fatal(err)
	}
	conn, err := target.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	w := writer{conn: conn, prepared: map[string]*sql.Stmt{}}
	began := machineNow(b)
	for at := 0; at < *exams; at += sinkBatch {
		if err := w.batch(ctx, tables, at, min(at+sinkBatch, *exams)); err != nil {
			b.Fatal(err)
		}
	}
	ended, rows := machineNow(b), float64(*exams*rowsOfExam)
	return rows / ended.at.Sub(began.at).Seconds(), (ended.own - began.own) * 1e6 / rows
}

func (t *table) read(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "SELECT t.* FROM "+t.name+" AS t JOIN record AS r USING (source, record_id) ORDER BY r.id"+t.order)
	if err != nil {
		return err
	}
	defer rows.Close()
	if t.columns, err = rows.Columns(); err != nil {
		return err
	}
	for rows.Next() {
		row := make([]any, len(t.columns))
		into := make([]any, len(row))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		t.rows = append(t.rows, row)
	}
	return rows.Err()
}

// sameTables makes the host's tables and indexes in a database in WAL mode.
func sameTables(ctx context.Context, from, to *sql.DB) error {
	rows, err := from.QueryContext(ctx, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type = 'table' DESC")
	if err != nil {
		return err
	}
	defer rows.Close()
	if _, err := to.ExecContext(ctx, "PRAGMA journal_mode=WAL"); err != nil {
		return err
	}
	for rows.Next() {
		var ddl string
		if err := rows.Scan(&ddl); err != nil {
			return err
		}
		if _, err := to.ExecContext(ctx, ddl); err != nil {
			return err
		}
	}
	return rows.Err()
}

// writer is the direct writer.
type writer struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

// batch writes the rows of the exams from at to end in one transaction.
func (w *writer) batch(ctx context.Context, tables []table, at, end int) error {
	if err := w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, t := range tables {
		rows := t.rows[at*t.each : end*t.each]
		for len(rows) > 0 {
			n := min(len(rows), rowsAtOnce)
			args := make([]any, 0, n*len(t.columns))
			for _, r := range rows[:n] {
				args = append(args, r...)
			}
			one := "(?" + strings.Repeat(",?", len(t.columns)-1) + ")"
			text := "INSERT INTO " + t.name + " VALUES " + one + strings.Repeat(","+one, n-1)
			if err := w.exec(ctx, text, args...); err != nil {
				return err
			}
			rows = rows[n:]
		}
	}
	return w.exec(ctx, "COMMIT")
}

func (w *writer) exec(ctx context.Context, text string, args ...any) (err error) {
	s := w.prepared[text]
	if s == nil {
		if s, err = w.conn.PrepareContext(ctx, text); err != nil {
			return err
		}
		w.prepared[text] = s
	}
	_, err = s.ExecContext(ctx, args...)
	return err
}

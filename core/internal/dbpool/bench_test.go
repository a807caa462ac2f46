package dbpool_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
)

// The benchmarks write what the sql sink writes: for each record one row of record, one of exam, ten of observation.
// Rows of receipts are not counted, though they are written too.
const rowsOfRecord = 12

var (
	recordColumns      = []string{"source", "record_id", "kind", "taken_at", "received_at", "seq", "content_type", "labels", "data", "raw", "content_hash", "amends", "unassigned"}
	examColumns        = []string{"source", "record_id", "patient_id", "patient_name", "patient_birth", "patient_sex", "device_make", "device_model", "device_serial", "taken_at", "received_at", "unassigned", "warnings", "amended_by"}
	observationColumns = []string{"source", "record_id", "idx", "code", "eye", "method", "seq", "value_num", "value_text", "unit", "text", "flags"}
)

func recordRow(n int, payload []byte) sdk.Row {
	return sdk.Row{
		"source": "ark-1", "record_id": idOf(n), "kind": "exam", "taken_at": "2026-03-02T09:30:00", "received_at": time.Unix(int64(n), 0), "seq": n, "content_type": "application/json", "labels": "{}", "data": payload, "raw": nil, "content_hash": hashOf(n), "amends": "", "unassigned": false,
	}
}

func examRow(n int) sdk.Row {
	return sdk.Row{
		"source": "ark-1", "record_id": idOf(n), "patient_id": fmt.Sprint("P", n%500), "patient_name": "Test^Person", "patient_birth": "1970-01-01", "patient_sex": "F",
		"device_make": "Acme", "device_model": "ARK", "device_serial": "77", "taken_at": "2026-03-02T09:30:00", "received_at": time.Unix(int64(n), 0), "unassigned": false, "warnings": "[]", "amended_by": "",
	}
}

func observationRows(n int) []sdk.Row {
	rows := make([]sdk.Row, 10)
	for i := range rows {
		rows[i] = sdk.Row{"source": "ark-1", "record_id": idOf(n), "idx": i, "code": "SPH", "eye": "R", "method": "auto", "seq": i, "value_num": -2.25, "value_text": "-2.25", "unit": "D", "text": "", "flags": "[]"}
	}
	return rows
}

func idOf(n int) string   { return fmt.Sprintf("2026-%09d", n) }
func hashOf(n int) string { return fmt.Sprintf("%064x", n) }

func onceOf(n int, payload []byte) sdk.Once {
	key := []string{"source", "record_id"}
	return sdk.Once{Source: "ark-1", ID: idOf(n), Hash: hashOf(n), Seq: uint64(n), Changes: []sdk.Change{
		sdk.Upsert{Table: "record", Key: key, Rows: []sdk.Row{recordRow(n, payload)}},
		sdk.Upsert{Table: "exam", Key: key, Rows: []sdk.Row{examRow(n)}},
		sdk.Upsert{Table: "observation", Key: append(key, "idx"), Rows: observationRows(n)},
	}}
}

func BenchmarkWrite(b *testing.B) {
	payload := []byte(strings.Repeat("x", 300))
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("pool/records=%d", size), func(b *testing.B) {
			p := running(b, dbpool.Options{})
			store := p.Store("emr")
			n, begin := 0, time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				changes := make([]sdk.Change, size)
				for i := range changes {
					changes[i] = onceOf(n, payload)
					n++
				}
				b.StartTimer()
				start := time.Now()
				if _, err := store.Write(b.Context(), changes...); err != nil {
					b.Fatal(err)
				}
				begin += time.Since(start)
			}
			b.ReportMetric(float64(n*rowsOfRecord)/begin.Seconds(), "rows/s")
		})
		b.Run(fmt.Sprintf("direct/records=%d", size), func(b *testing.B) {
			d := newDirect(b)
			n, begin := 0, time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				batch := newBatch(n, size, payload)
				b.StartTimer()
				start := time.Now()
				d.write(b.Context(), b, n, size, batch)
				begin += time.Since(start)
				n += size
			}
			b.ReportMetric(float64(n*rowsOfRecord)/begin.Seconds(), "rows/s")
		})
	}
}

// direct is modernc as a program would use it for the same rows: one connection, FULL, prepared, many rows in a
// statement, a look for the receipts and the receipts in the same transaction.
type direct struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func newDirect(tb testing.TB) *direct {
	path := filepath.Join(tb.TempDir(), "direct.db")
	p, err := dbpool.Open(tb.Context(), dbpool.Options{Path: path}) // for its tables
	if err != nil {
		tb.Fatal(err)
	}
	p.Close()
	u := url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(path), "/"), RawQuery: "_synchronous=FULL&_txlock=immediate&_busy_timeout=5000"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(2)
	conn, err := db.Conn(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close(); db.Close() })
	return &direct{db: db, conn: conn, stmts: map[string]*sql.Stmt{}}
}

// batch is what direct writes, made before its time is taken.
type batch struct{ records, exams, observations, receipts []sdk.Row }

func newBatch(from, n int, payload []byte) (b batch) {
	for i := from; i < from+n; i++ {
		b.records, b.exams = append(b.records, recordRow(i, payload)), append(b.exams, examRow(i))
		b.observations = append(b.observations, observationRows(i)...)
		b.receipts = append(b.receipts, sdk.Row{"source": "ark-1", "record_id": idOf(i), "content_hash": hashOf(i), "seq": i, "first_seen": time.Unix(int64(i), 0), "rows": rowsOfRecord})
	}
	return b
}

func (d *direct) write(ctx context.Context, tb testing.TB, from, n int, rows batch) {
	d.do(ctx, tb, "BEGIN IMMEDIATE")
	for at := from; at < from+n; at += 100 {
		ids := []any{"ark-1"}
		for i := at; i < min(at+100, from+n); i++ {
			ids = append(ids, idOf(i))
		}
		text := "SELECT record_id, content_hash FROM ingest_receipt WHERE source = ? AND record_id IN (?" + strings.Repeat(",?", len(ids)-2) + ")"
		d.absent(ctx, tb, text, ids)
	}
	d.insert(ctx, tb, "record", recordColumns, "source,record_id", rows.records)
	d.insert(ctx, tb, "exam", examColumns, "source,record_id", rows.exams)
	d.insert(ctx, tb, "observation", observationColumns, "source,record_id,idx", rows.observations)
	d.insert(ctx, tb, "ingest_receipt", []string{"source", "record_id", "content_hash", "seq", "first_seen", "rows"}, "", rows.receipts)
	d.do(ctx, tb, "COMMIT")
}

func (d *direct) absent(ctx context.Context, tb testing.TB, text string, ids []any) {
	found, err := d.stmt(ctx, tb, text).QueryContext(ctx, ids...) //nolint:sqlclosecheck // the statement is kept
	if err != nil {
		tb.Fatal(err)
	}
	defer found.Close()
	if found.Next() || found.Err() != nil {
		tb.Fatal("there already, or not to be read")
	}
}

func (d *direct) do(ctx context.Context, tb testing.TB, text string) {
	if _, err := d.stmt(ctx, tb, text).ExecContext(ctx); err != nil { //nolint:sqlclosecheck // kept
		tb.Fatal(err)
	}
}

func (d *direct) stmt(ctx context.Context, tb testing.TB, text string) *sql.Stmt {
	if s := d.stmts[text]; s != nil {
		return s
	}
	s, err := d.conn.PrepareContext(ctx, text)
	if err != nil {
		tb.Fatal(err)
	}
	d.stmts[text] = s
	return s
}

func (d *direct) insert(ctx context.Context, tb testing.TB, table string, columns []string, key string, rows []sdk.Row) {
	for len(rows) > 0 {
		n := min(len(rows), 100)
		text := "INSERT INTO " + table + " (" + strings.Join(columns, ",") + ") VALUES (?" + strings.Repeat(",?", len(columns)-1) + ")" +
			strings.Repeat(",(?"+strings.Repeat(",?", len(columns)-1)+")", n-1)
		if key != "" {
			text += " ON CONFLICT (" + key + ") DO UPDATE SET "
			for i, c := range columns {
				if i > 0 {
					text += ","
				}
				text += c + "=excluded." + c
			}
		}
		args := make([]any, 0, n*len(columns))
		for _, row := range rows[:n] {
			for _, c := range columns {
				v := row[c]
				if t, ok := v.(time.Time); ok {
					v = t.UTC().Format("2006-01-02T15:04:05.000000000Z")
				}
				args = append(args, v)
			}
		}
		if _, err := d.stmt(ctx, tb, text).ExecContext(ctx, args...); err != nil { //nolint:sqlclosecheck // kept
			tb.Fatal(err)
		}
		rows = rows[n:]
	}
}

// BenchmarkGroup has many callers who each write one row.
func BenchmarkGroup(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			p := running(b, dbpool.Options{})
			store := p.Store("emr")
			begin := time.Now()
			total := 0
			for b.Loop() {
				errs := make(chan error, callers)
				for i := range callers {
					n := total + i
					go func() {
						_, err := store.Write(context.Background(), sdk.Insert{Table: "exam", Rows: []sdk.Row{examRow(n)}})
						errs <- err
					}()
				}
				for range callers {
					if err := <-errs; err != nil {
						b.Fatal(err)
					}
				}
				total += callers
			}
			b.ReportMetric(float64(total)/time.Since(begin).Seconds(), "writes/s")
			s := p.Stats()
			b.ReportMetric(float64(s.Writes)/float64(s.Commits), "writes/commit")
		})
	}
}

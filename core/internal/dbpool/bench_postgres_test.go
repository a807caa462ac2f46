package dbpool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
	"github.com/jackc/pgx/v5"
)

// BenchmarkPostgres writes the same records through the pool, and by unnest as a program would call it: one connection,
// columns in arrays that are made before the time is taken, a look for the receipts and the receipts in the same
// transaction.
func BenchmarkPostgres(b *testing.B) {
	d := postgresOf(b)
	payload := []byte(strings.Repeat("x", 300))
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("pool/records=%d", size), func(b *testing.B) {
			store := d.running(b, dbpool.Options{}).Store("emr")
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
		b.Run(fmt.Sprintf("unnest/records=%d", size), func(b *testing.B) {
			u := newUnnest(b, d)
			n, begin := 0, time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				rows := newBatch(n, size, payload)
				ids := columnOf[string](rows.records, "record_id")
				records, exams := arrays(recordKinds, rows.records), arrays(examKinds, rows.exams)
				observations, receipts := arrays(observationKinds, rows.observations), arrays(receiptKinds, rows.receipts)
				b.StartTimer()
				start := time.Now()
				u.write(b, ids, records, exams, observations, receipts)
				begin += time.Since(start)
				n += size
			}
			b.ReportMetric(float64(n*rowsOfRecord)/begin.Seconds(), "rows/s")
		})
	}
}

// kinds are columns with the types of their arrays.
type kinds [][2]string

var (
	recordKinds = kinds{
		{"source", "text"},
		{"record_id", "text"},
		{"kind", "text"},
		{"taken_at", "text"},
		{"received_at", "timestamptz"},
		{"seq", "int8"},
		{"content_type", "text"},
		{"labels", "text"},
		{"data", "bytea"},
		{"content_hash", "text"},
		{"amends", "text"},
		{"unassigned", "bool"},
	}
	examKinds = kinds{
		{"source", "text"},
		{"record_id", "text"},
		{"patient_id", "text"},
		{"patient_name", "text"},
		{"patient_birth", "text"},
		{"patient_sex", "text"},
		{"device_make", "text"},
		{"device_model", "text"},
		{"device_serial", "text"},
		{"taken_at", "text"},
		{"received_at", "timestamptz"},
		{"unassigned", "bool"},
		{"warnings", "text"},
		{"amended_by", "text"},
	}
	observationKinds = kinds{
		{"source", "text"},
		{"record_id", "text"},
		{"idx", "int8"},
		{"code", "text"},
		{"eye", "text"},
		{"method", "text"},
		{"seq", "int8"},
		{"value_num", "float8"},
		{"value_text", "text"},
		{"unit", "text"},
		{"text", "text"},
		{"flags", "text"},
	}
	receiptKinds = kinds{{"source", "text"}, {"record_id", "text"}, {"content_hash", "text"}, {"seq", "int8"}, {"first_seen", "timestamptz"}, {"rows", "int8"}}
)

// insert is the statement for the columns.
func (k kinds) insert(table, key string) string {
	var names, params, sets []string
	for i, c := range k {
		names = append(names, c[0])
		params = append(params, fmt.Sprintf("$%d::%s[]", i+1, c[1]))
		sets = append(sets, c[0]+"=excluded."+c[0])
	}
	text := "INSERT INTO " + table + " (" + strings.Join(names, ",") + ") SELECT * FROM unnest(" + strings.Join(params, ",") + ")"
	if key != "" {
		text += " ON CONFLICT (" + key + ") DO UPDATE SET " + strings.Join(sets, ",")
	}
	return text
}

// arrays has a slice for each column.
func arrays(k kinds, rows []sdk.Row) []any {
	out := make([]any, len(k))
	for i, c := range k {
		switch c[1] {
		case "text":
			out[i] = columnOf[string](rows, c[0])
		case "bytea":
			out[i] = columnOf[[]byte](rows, c[0])
		case "bool":
			out[i] = columnOf[bool](rows, c[0])
		case "float8":
			out[i] = columnOf[float64](rows, c[0])
		case "timestamptz":
			out[i] = columnOf[time.Time](rows, c[0])
		default:
			out[i] = columnOf[int](rows, c[0])
		}
	}
	return out
}

func columnOf[T any](rows []sdk.Row, name string) []T {
	out := make([]T, len(rows))
	for i, row := range rows {
		out[i] = row[name].(T)
	}
	return out
}

type unnest struct{ conn *pgx.Conn }

func newUnnest(b *testing.B, d *database) *unnest {
	o := d.fresh(b, dbpool.Options{})
	p, err := dbpool.Open(b.Context(), o) // for its tables
	if err != nil {
		b.Fatal(err)
	}
	p.Close()
	conn, err := pgx.Connect(b.Context(), o.DSN)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(context.Background()) })
	return &unnest{conn}
}

func (u *unnest) write(b *testing.B, ids []string, records, exams, observations, receipts []any) {
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	tx, err := u.conn.Begin(ctx)
	if err != nil {
		b.Fatal(err)
	}
	there, err := tx.Query(ctx, "SELECT record_id, content_hash FROM ingest_receipt WHERE source = $1 AND record_id = ANY($2::text[])", "ark-1", ids)
	if err != nil {
		b.Fatal(err)
	}
	if there.Next() || there.Err() != nil {
		b.Fatal("there already, or not to be read")
	}
	there.Close()
	for _, step := range []struct {
		text string
		args []any
	}{
		{recordKinds.insert("record", "source,record_id"), records},
		{examKinds.insert("exam", "source,record_id"), exams},
		{observationKinds.insert("observation", "source,record_id,idx"), observations},
		{receiptKinds.insert("ingest_receipt", ""), receipts},
	} {
		if _, err := tx.Exec(ctx, step.text, step.args...); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPostgresParallel has callers who each write a record, on as many connections as the pool has.
func BenchmarkPostgresParallel(b *testing.B) {
	d := postgresOf(b)
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			store := d.running(b, dbpool.Options{AcquireTimeout: time.Minute}).Store("emr")
			total, begin := 0, time.Now()
			for b.Loop() {
				errs := make(chan error, callers)
				for i := range callers {
					n := total + i
					go func() {
						_, err := store.Write(context.Background(), onceOf(n, nil))
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
		})
	}
}

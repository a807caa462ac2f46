package dbpool_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
)

// floodCallers is how many callers of one sink ask at once, again and again.
const floodCallers = 200

// BenchmarkFlood is what a polite sink's operation takes while another sink floods the pool: its p99 by the median of
// the same operation alone. The goal is at most 3.
func BenchmarkFlood(b *testing.B) {
	for name, d := range map[string]struct {
		open func(testing.TB) *database
		nap  string // a query of 10 ms that needs no CPU
	}{
		"sqlite":   {sqliteOf, "SELECT test_sleep(10)"},
		"postgres": {postgresOf, "SELECT pg_sleep(0.01)"},
	} {
		b.Run(name, func(b *testing.B) {
			db := d.open(b)
			b.Run("read", func(b *testing.B) {
				flooded(b, db, func(ctx context.Context, s sdk.Store) error {
					_, err := s.Query(ctx, sdk.Query{SQL: d.nap})
					return err
				})
			})
			b.Run("write", func(b *testing.B) {
				flooded(b, db, func(ctx context.Context, s sdk.Store) error {
					_, err := s.Write(ctx, sdk.Insert{Table: "tally", Rows: []sdk.Row{{"n": 1}}})
					return err
				})
			})
		})
	}
}

// flooded measures the operation alone, and beside the flood.
func flooded(b *testing.B, d *database, op func(context.Context, sdk.Store) error) {
	const calls = 500
	p := d.withClinic(b, dbpool.Options{MaxOpen: 8, AcquireTimeout: time.Minute, OperationTimeout: time.Minute})
	greedy, polite := p.Store("greedy"), p.Store("polite")
	for b.Loop() {
		alone := callTimes(b, calls, func() error { return op(b.Context(), polite) })
		ctx, cancel := context.WithCancel(b.Context())
		var flood sync.WaitGroup
		for range floodCallers {
			flood.Go(func() {
				for ctx.Err() == nil {
					if err := op(ctx, greedy); err != nil && ctx.Err() == nil {
						b.Error(err)
						return
					}
				}
			})
		}
		until(b, "a flood", func() bool { return p.Stats().Waiting > floodCallers/2 })
		beside := callTimes(b, calls, func() error { return op(b.Context(), polite) })
		cancel()
		flood.Wait()
		b.ReportMetric(float64(alone[calls/2].Microseconds()), "µs_alone")
		b.ReportMetric(float64(beside[calls/2].Microseconds()), "µs_p50")
		b.ReportMetric(float64(beside[calls*99/100].Microseconds()), "µs_p99")
		b.ReportMetric(beside[calls*99/100].Seconds()/alone[calls/2].Seconds(), "p99_of_alone")
	}
}

// callTimes calls n times, one after the other, and gives what each took, shortest first.
func callTimes(b *testing.B, n int, call func() error) []time.Duration {
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		if err := call(); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took
}

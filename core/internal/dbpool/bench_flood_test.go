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

// BenchmarkFlood is what a polite sink's operation takes while another sink floods the pool, by what it takes alone: median by
// median and p99 by p99, for a disk has a tail of its own. The goal is at most 3.
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
	const calls = 2000
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
		alone = append(alone, callTimes(b, calls, func() error { return op(b.Context(), polite) })...) // before and after
		slices.Sort(alone)
		middle, late := calls/2, calls*99/100
		own, ownLate := alone[2*middle], alone[2*late]
		b.ReportMetric(float64(own.Microseconds()), "µs_alone_p50")
		b.ReportMetric(float64(ownLate.Microseconds()), "µs_alone_p99")
		b.ReportMetric(float64(beside[middle].Microseconds()), "µs_p50")
		b.ReportMetric(float64(beside[late].Microseconds()), "µs_p99")
		b.ReportMetric(beside[middle].Seconds()/own.Seconds(), "p50_ratio")
		b.ReportMetric(beside[late].Seconds()/ownLate.Seconds(), "p99_ratio")
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

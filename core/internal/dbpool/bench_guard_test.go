package dbpool_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
)

// BenchmarkGuard has the same read through the guard, and through database/sql alone with a deadline, turn by turn: one
// caller, and as many as there are connections. The goals, on SQLite, are at most 2 µs more for one read, and 0.95 of the
// rate. database/sql is used as most programs do, and with the statement prepared before.
func BenchmarkGuard(b *testing.B) {
	for _, of := range databases[:2] {
		b.Run(of.name, func(b *testing.B) { benchGuard(b, of.open(b)) })
	}
}

func benchGuard(b *testing.B, d *database) {
	o := d.fresh(b, dbpool.Options{})
	p := runs(b, o)
	q := sdk.Query{SQL: "SELECT count(*) FROM exam WHERE source = ?", Args: []any{"ark-1"}}
	store := p.Store("emr")
	ways := []func() error{func() error { _, err := store.Query(b.Context(), q); return err }}
	for _, prepare := range []bool{false, true} {
		ask, end, err := dbpool.Alone(b.Context(), o, q, prepare)
		if err != nil {
			b.Fatal(err)
		}
		defer end()
		ways = append(ways, ask)
	}
	b.Run("one", func(b *testing.B) {
		took := turns(b, 1, ways)
		b.ReportMetric(took[0], "µs/read")
		b.ReportMetric(took[0]-took[1], "µs_more/read")
		b.ReportMetric(took[0]-took[2], "µs_more_than_prepared/read")
	})
	b.Run("all", func(b *testing.B) {
		took := turns(b, p.Stats().MaxOpen-1, ways)
		b.ReportMetric(took[0], "µs/read")
		b.ReportMetric(took[1]/took[0], "of_bare")
		b.ReportMetric(took[2]/took[0], "of_prepared")
	})
}

// turns lets each of the ways run in short turns, each with n callers, and gives how long a read of each took, in µs: the
// median of its turns.
func turns(b *testing.B, n int, ways []func() error) []float64 {
	const reads = 210
	took := make([][]time.Duration, len(ways))
	for b.Loop() {
		for i, read := range ways {
			began := time.Now()
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					for range reads / n {
						if err := read(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			took[i] = append(took[i], time.Since(began))
		}
	}
	out := make([]float64, len(ways))
	for i := range took {
		slices.Sort(took[i])
		out[i] = float64(took[i][len(took[i])/2].Nanoseconds()) / reads / 1000
	}
	return out
}

package dbpool

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// BenchmarkGuard has the same read through the guard, and through database/sql alone with a deadline, turn by turn: one
// caller, and as many as there are connections. The goals are at most 2 µs more for one read, and 0.95 of the rate.
func BenchmarkGuard(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	p, err := Open(ctx, Options{Path: filepath.Join(b.TempDir(), "hostd.db")})
	if err != nil {
		b.Fatal(err)
	}
	g := life.NewGroup(ctx)
	g.Go("pool", p.Run)
	b.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			b.Error(err)
		}
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	})
	q := sdk.Query{SQL: "SELECT count(*) FROM exam WHERE source = ?", Args: []any{"ark-1"}}
	st, err := p.dialect.parse(q.SQL)
	if err != nil {
		b.Fatal(err)
	}
	store := p.Store("emr")
	guarded := func() error { _, err := store.Query(ctx, q); return err }
	bare := func() error {
		// All that Query does about the request itself, and no lease.
		if _, err := p.dialect.parse(q.SQL); err != nil {
			return err
		}
		args, err := p.dialect.fill(st, q.Args)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, p.opt.OperationTimeout)
		defer cancel()
		_, err = p.dialect.readAll(ctx, cancel, p.handleOf(wide), st, args, defaultRows)
		return err
	}
	b.Run("one", func(b *testing.B) { b.ReportMetric(turns(b, 1, guarded, bare)) })
	b.Run("all", func(b *testing.B) { b.ReportMetric(turns(b, p.places(wide), guarded, bare)) })
}

// turns lets both run in short turns, each with n callers, and gives what a read of the first takes more, in µs, and for
// more than one caller the rate of the first by that of the second.
func turns(b *testing.B, n int, first, second func() error) (float64, string) {
	const reads = 2000
	var took [2]time.Duration
	rounds := 0
	for b.Loop() {
		for i, f := range []func() error{first, second} {
			began := time.Now()
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					for range reads / n {
						if err := f(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			took[i] += time.Since(began)
		}
		rounds++
	}
	if n > 1 {
		return took[1].Seconds() / took[0].Seconds(), "of_bare"
	}
	return float64((took[0] - took[1]).Microseconds()) / float64(rounds*reads), "µs_more/read"
}

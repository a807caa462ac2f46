package dbpool_test

import (
	"context"
	"database/sql/driver"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/life"
	"go.uber.org/goleak"
	"modernc.org/sqlite"
)

// gates are what test_wait waits for, by number.
var (
	gates    sync.Map
	gateKeys atomic.Int64
)

// TestMain gives SQL a function test_wait(n) that blocks until gate n is opened, and looks at no context.
func TestMain(m *testing.M) {
	sqlite.MustRegisterScalarFunction("test_wait", 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		if gate, ok := gates.Load(args[0]); ok {
			<-gate.(chan struct{})
		}
		return args[0], nil
	})
	goleak.VerifyTestMain(m)
}

// newGate makes a gate, to be opened once.
func newGate() (n int64, open func()) {
	n = gateKeys.Add(1)
	gate := make(chan struct{})
	gates.Store(n, gate)
	return n, func() { close(gate) }
}

// running opens a pool on a file of its own and runs it until the test ends.
func running(tb testing.TB, o dbpool.Options) *dbpool.Pool {
	tb.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(tb.TempDir(), "hostd.db")
	}
	p, err := dbpool.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	serve(tb, p)
	return p
}

// serve runs and at the end closes the pool.
func serve(tb testing.TB, p *dbpool.Pool) {
	ctx, cancel := context.WithCancel(context.Background())
	g := life.NewGroup(ctx)
	g.Go("pool", p.Run)
	tb.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			tb.Error(err)
		}
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
}

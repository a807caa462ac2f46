package dbpool_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// TestMain gives SQL a function test_wait(n) that blocks until gate n is opened, and looks at no context, and test_sleep(ms), which is
// a statement that takes its time without a CPU, for benchmarks.
func TestMain(m *testing.M) {
	sqlite.MustRegisterScalarFunction("test_wait", 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		if gate, ok := gates.Load(args[0]); ok {
			<-gate.(chan struct{})
		}
		return args[0], nil
	})
	sqlite.MustRegisterScalarFunction("test_sleep", 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		time.Sleep(time.Duration(args[0].(int64)) * time.Millisecond)
		return args[0], nil
	})
	goleak.VerifyTestMain(whole{m})
}

// whole is all tests, and the end of the servers that they started.
type whole struct{ m *testing.M }

// Run is goleak.TestingM's.
func (w whole) Run() int {
	code := w.m.Run()
	if err := errors.Join(postgres.stop(), sqlserver.stop()); err != nil {
		fmt.Fprintln(os.Stderr, "end of the servers:", err)
		return 1
	}
	return code
}

// newGate makes a gate, to be opened once.
func newGate() (n int64, open func()) {
	n = gateKeys.Add(1)
	gate := make(chan struct{})
	gates.Store(n, gate)
	return n, func() { close(gate) }
}

// running opens a pool on a file of its own and runs it until the test ends.
func running(tb testing.TB, o dbpool.Options) *dbpool.Pool { return sqliteOf(tb).running(tb, o) }

// clinic is as running, with a clinic's tables.
func clinic(tb testing.TB, o dbpool.Options) *dbpool.Pool { return sqliteOf(tb).withClinic(tb, o) }

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

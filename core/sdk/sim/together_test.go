package sim_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/hostd/hostd/core/sdk/sim"
)

func TestTogether(t *testing.T) {
	var sum atomic.Int64
	met := make(chan struct{})
	err := sim.Together(t.Context(), 2, func(ctx context.Context, n int) error { // each waits for the other
		sum.Add(int64(n) + 1)
		select {
		case met <- struct{}{}:
		case <-met:
		}
		return nil
	})
	if err != nil || sum.Load() != 3 {
		t.Fatalf("%v, sum %d", err, sum.Load())
	}
	broken := errors.New("broken")
	err = sim.Together(t.Context(), 3, func(ctx context.Context, n int) error {
		if n == 1 {
			return broken
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, broken) || errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want the one failure", err)
	}
}

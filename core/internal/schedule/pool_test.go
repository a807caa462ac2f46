package schedule_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/schedule"
)

// running starts a pool inside a bubble and returns its stop, which waits.
func running(t *testing.T, o schedule.Options) (*schedule.Pool, context.Context, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := schedule.New(o)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return p, ctx, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestOneJobOfAKeyAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 4, Queue: 100})
		defer stop()
		var mu sync.Mutex
		var order []int
		active := 0
		for i := range 20 {
			err := p.Do(ctx, "ark", schedule.Arrival, func(context.Context) {
				mu.Lock()
				active++
				if active > 1 {
					t.Error("two jobs of one key at once")
				}
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				active--
				mu.Unlock()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if !slices.IsSorted(order) || len(order) != 20 {
			t.Fatalf("order %v", order)
		}
	})
}

func TestTurnsBetweenKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 1, Queue: 1000})
		defer stop()
		var order []string // one worker: no lock needed between its jobs
		block := make(chan struct{})
		must(t, p.Do(ctx, "first", schedule.Arrival, func(context.Context) { <-block }))
		synctest.Wait()
		for range 100 {
			must(t, p.Do(ctx, "flood", schedule.Arrival, func(context.Context) { order = append(order, "flood") }))
		}
		must(t, p.Do(ctx, "quiet", schedule.Arrival, func(context.Context) { order = append(order, "quiet") }))
		close(block)
		synctest.Wait()
		if at := slices.Index(order, "quiet"); at > 1 {
			t.Fatalf("the quiet key waited for %d jobs of the flooding one", at)
		}
	})
}

func TestPollsLeaveTheLastWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 2, Queue: 10})
		frozen := make(chan struct{})
		for _, key := range []string{"a", "b", "c"} {
			must(t, p.Do(ctx, key, schedule.Poll, func(context.Context) { <-frozen }))
		}
		ran := false
		must(t, p.Do(ctx, "listener", schedule.Arrival, func(context.Context) { ran = true }))
		synctest.Wait()
		if !ran {
			t.Fatal("frozen polls hold every worker")
		}
		if s := p.Stats(); s.Busy != 1 || s.Queued != 2 {
			t.Fatalf("busy %d, queued %d; want 1 and 2", s.Busy, s.Queued)
		}
		close(frozen)
		synctest.Wait()
		stop()
	})
}

func TestFullQueueMakesDoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 1, Queue: 1})
		defer stop()
		block := make(chan struct{})
		must(t, p.Do(ctx, "a", schedule.Arrival, func(context.Context) { <-block }))
		synctest.Wait()
		must(t, p.Do(ctx, "a", schedule.Arrival, func(context.Context) {}))
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := p.Do(short, "b", schedule.Arrival, func(context.Context) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Do on a full queue = %v, want the deadline", err)
		}
		close(block)
	})
}

func TestStoppedPoolSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, stop := running(t, schedule.Options{Size: 1, Queue: 1})
		synctest.Wait()
		stop()
		if err := p.Do(context.Background(), "a", schedule.Arrival, func(context.Context) {}); !errors.Is(err, schedule.ErrStopped) {
			t.Fatalf("Do = %v, want ErrStopped", err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package supervise

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A device brings at once what the burst allows, then as much as its rate; one that paused may bring a burst again, and no more.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1 << 20
		limit := rate
		var held time.Duration
		p := pacer{Pace: Pace{Rate: func() int { return limit }, Held: func(d time.Duration) { held += d }}}
		bring := func(batches, size int) time.Duration {
			t.Helper()
			from := time.Now()
			for range batches {
				if err := p.after(t.Context(), size); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(from).Round(time.Millisecond)
		}
		if d := bring(burst>>10, 1<<10); d != 0 {
			t.Errorf("a burst took %v", d)
		}
		if held != 0 {
			t.Errorf("held for %v within the burst", held)
		}
		if d := bring(160, 64<<10); d != 10*time.Second {
			t.Errorf("10 s of the rate took %v", d)
		}
		if held = held.Round(time.Millisecond); held != 10*time.Second {
			t.Errorf("held for %v", held)
		}
		time.Sleep(time.Hour)
		if d := bring(5, burst); d != time.Second {
			t.Errorf("a burst and a second of the rate took %v: what is saved up in an hour is one burst", d)
		}
		time.Sleep(time.Second)
		if d := bring(1, 16<<20); d != 15750*time.Millisecond {
			t.Errorf("the batch after one of 16 MiB may come after %v, want what it is above a burst", d)
		}
		limit = 0
		if d := bring(1000, 1<<20); d != 0 {
			t.Errorf("without a limit it took %v", d)
		}
		limit = rate
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.after(ctx, 16<<20); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the end of its session it got %v", err)
		}
	})
}

package life

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is a pause that doubles from First to Longest, each time with a jitter of up to half of it. It belongs to
// one goroutine. Both fields must be set.
type Backoff struct {
	First, Longest time.Duration
	pause          time.Duration
}

// Reset makes the next pause the first one again.
func (b *Backoff) Reset() { b.pause = 0 }

// Pause is the pause that Wait made last, without its jitter; 0 after a Reset.
func (b *Backoff) Pause() time.Duration { return b.pause }

// Wait blocks for the next pause; an error means that ctx ended first.
func (b *Backoff) Wait(ctx context.Context) error {
	b.pause = min(max(b.pause*2, b.First), b.Longest)
	t := time.NewTimer(b.pause/2 + rand.N(b.pause/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

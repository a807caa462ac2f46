package supervise

import (
	"context"
	"time"
)

// Pace is how much a device may bring for long.
type Pace struct {
	Rate func() int            // bytes a second, 0 for as many as come; asked with each batch
	Held func(d time.Duration) // counts for how long it was held to that
}

// burst is how many bytes a device may bring at once before its rate holds: some large batches, or seconds of small ones.
const burst = 256 << 10

// pacer holds a device that floods to its rate, so that others do not wait for the disk behind it. It waits behind a batch and
// never before one: who sends little waits for nothing, and no worker is held meanwhile. One goroutine uses it.
type pacer struct {
	Pace
	credit float64   // bytes that may still come at once
	at     time.Time // when credit was that
}

// after counts n bytes and waits until the next ones may come, or ctx ends.
func (p *pacer) after(ctx context.Context, n int) error {
	rate := float64(p.Rate())
	if rate == 0 {
		return nil
	}
	now := time.Now()
	p.credit = min(burst, p.credit+rate*now.Sub(p.at).Seconds()) - float64(n)
	p.at = now
	if p.credit >= 0 {
		return nil
	}
	wait := time.NewTimer(time.Duration(-p.credit / rate * float64(time.Second)))
	defer wait.Stop()
	defer func() { p.Held(time.Since(now)) }()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

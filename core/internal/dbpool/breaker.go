package dbpool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

const (
	tripsAt      = 3           // failures in a row
	firstProbe   = time.Second // after the breaker opened; the pause doubles from one probe to the next
	longestProbe = 15 * time.Second
)

// Breaker is the state of a breaker. It is closed as long as the server answers.
type Breaker struct {
	Open   bool      // operations fail at once, and a probe is made now and then
	Since  time.Time // when it opened, or last closed; zero if it never opened
	Next   time.Time // when the next probe begins; zero while it is closed
	Cause  string    // of the newest failure, without values; empty while it is closed
	Probes int       // since it opened
	Opened uint64    // times that it opened
}

// breaker makes operations fail at once while the server is lost, so that nobody waits for it in vain, and lets one
// prober find out when it is back.
type breaker struct {
	probe  func(ctx context.Context) error // connects, logs in and lets go; it ends soon after ctx
	log    *slog.Logger
	open   atomic.Bool   // written under mu
	failed atomic.Int64  // failures in a row; written under mu
	opened chan struct{} // one is in it when the breaker has opened and the prober has not seen it

	mu   sync.Mutex
	is   Breaker   // guarded by mu
	loss time.Time // guarded by mu: when the newest loss of a connection was noted
}

func newBreaker(probe func(ctx context.Context) error, log *slog.Logger) *breaker {
	return &breaker{probe: probe, log: log, opened: make(chan struct{}, 1)}
}

// state is a snapshot; no breaker is one that is always closed.
func (b *breaker) state() Breaker {
	if b == nil {
		return Breaker{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.is
}

// allow is an error with ErrDown while the breaker is open.
func (b *breaker) allow() error {
	if b == nil || !b.open.Load() {
		return nil
	}
	s := b.state()
	if !s.Open {
		return nil
	}
	return sdk.WithClass(sdk.ClassUnavailable, fmt.Errorf("not sent, %w since %s (%s): %s; next try in %s", ErrDown, s.Since.Format(time.TimeOnly),
		time.Since(s.Since).Round(time.Second), s.Cause, max(time.Until(s.Next), 0).Round(100*time.Millisecond)))
}

// works notes that the server answered.
func (b *breaker) works() {
	if b.failed.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.is.Open {
		b.failed.Store(0)
	}
}

// fails notes an operation that failed for the server, see lost; began is when it got its lease. A server that is
// restarted counts once for all the operations that it took along.
func (b *breaker) fails(began time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.is.Open || !b.counts(began, err) {
		return
	}
	if b.failed.Add(1) >= tripsAt {
		b.trip(reason(err))
	}
}

// counts says whether a loss is news; b.mu is held.
func (b *breaker) counts(began time.Time, err error) bool {
	if began.Before(b.is.Since) {
		return false // begun before the server was found again
	}
	var ce *connectError
	if errors.As(err, &ce) {
		return true
	}
	if !began.After(b.loss) {
		return false
	}
	b.loss = time.Now()
	return true
}

// reason is the text for an error of ours.
func reason(err error) string {
	var ce *connectError
	if errors.As(err, &ce) {
		return ce.text
	}
	return err.Error()
}

// trip opens the breaker; b.mu is held.
func (b *breaker) trip(why string) {
	now := time.Now()
	b.is = Breaker{Open: true, Since: now, Next: now.Add(firstProbe), Cause: why, Opened: b.is.Opened + 1}
	b.open.Store(b.is.Open)
	b.log.Warn("database is unavailable; operations fail at once until a probe succeeds", "cause", why, "failures", b.failed.Load())
	select {
	case b.opened <- struct{}{}:
	default:
	}
}

// Run probes while the breaker is open, until ctx ends.
func (b *breaker) Run(ctx context.Context) error {
	for {
		select {
		case <-b.opened:
			b.regain(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// regain probes until it succeeds or ctx ends. A probe may last until the next one is due: on a server that is frozen
// there is always one that waits, and the first answer ends the outage, however long it was.
func (b *breaker) regain(ctx context.Context) {
	pause := firstProbe
	due := time.Now().Add(jittered(pause))
	for b.await(ctx, due) {
		pause = min(2*pause, longestProbe)
		due = time.Now().Add(jittered(pause))
		err := b.knock(ctx, due)
		if err == nil {
			b.reset()
			return
		}
		if ctx.Err() == nil {
			b.missed(err)
		}
	}
}

// jittered takes up to a quarter off a pause, so that many hosts do not knock together.
func jittered(pause time.Duration) time.Duration { return pause - rand.N(pause/4+1) }

// await is false when ctx ends before the time.
func (b *breaker) await(ctx context.Context, due time.Time) bool {
	b.plan(due)
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *breaker) plan(next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.is.Next = next
}

// knock makes one probe, until the next one is due.
func (b *breaker) knock(ctx context.Context, due time.Time) error {
	b.plan(due)
	ctx, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	return b.probe(ctx)
}

func (b *breaker) missed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.is.Probes++
	b.is.Cause = reason(err)
}

// reset closes the breaker.
func (b *breaker) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.log.Info("database is available again", "after", now.Sub(b.is.Since).Round(time.Millisecond), "probes", b.is.Probes+1)
	b.is = Breaker{Since: now, Opened: b.is.Opened}
	b.failed.Store(0)
	b.open.Store(b.is.Open)
}

package supervise

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// Plan says when one device is due. It is schedule.Plan, seen from here.
type Plan interface {
	Wait(now time.Time) time.Duration         // before Due is asked again
	Due(now time.Time) bool                   // whether it is to be read now
	Open(now time.Time) bool                  // whether it may be read now because it asks for it
	Done(begun, now time.Time) (overruns int) // a poll is over; overruns are the times that passed while it ran
}

// interval is the manifest's, 0 where it names none.
func interval(m sdk.Manifest) time.Duration {
	every, err := time.ParseDuration(m.Every)
	if err != nil || every < 0 {
		return 0
	}
	return every
}

// pollWhenDue reads the device when it is due, and at once when it asks for it in its window. A poll that is due while the
// last one runs is skipped and counted.
func (r *deviceRun) pollWhenDue(ctx context.Context, plan Plan) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wake:
			asked = true
		}
		if now := time.Now(); plan.Due(now) || asked && plan.Open(now) {
			begun, err := r.pollOnce(ctx)
			if err != nil || ctx.Err() != nil {
				return err
			}
			for range plan.Done(begun, time.Now()) {
				r.d.Overrun()
			}
		}
		timer.Reset(plan.Wait(time.Now()))
	}
}

// pollOnce has a worker read the device, and waits for its end or that of ctx. It gives when the worker began.
func (r *deviceRun) pollOnce(ctx context.Context) (time.Time, error) {
	var begun time.Time // of the worker, until done
	done := make(chan error, 1)
	if err := r.d.Work(ctx, r.name, true, func(work context.Context) {
		begun = time.Now()
		done <- life.Call(func() error { return r.poll(ctx, work) })
	}); err != nil {
		return time.Time{}, err
	}
	select {
	case err := <-done:
		if errors.Is(err, errTimeout) {
			err = r.rest(ctx)
		}
		return begun, err
	case <-ctx.Done():
		return time.Time{}, nil
	}
}

// errTimeout is the end of a poll's time on its worker.
var errTimeout = errors.New("poll is not over")

// poll tells the device to read, and takes its batches until it says that there is nothing more, or its time is over.
func (r *deviceRun) poll(ctx, work context.Context) error {
	r.mu.Lock()
	r.unsent.PollMillis = uint32(max(r.d.Timeout.Milliseconds(), 1))
	r.kickSender()
	r.mu.Unlock()
	over := time.NewTimer(r.d.Timeout)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-work.Done():
			return nil
		case <-over.C:
			return errTimeout
		case in := <-r.events:
			if in.Idle {
				r.release(in)
				return nil
			}
			select {
			case r.slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			r.take(work, r.batch(in))
		}
	}
}

// rest waits without a worker for the end of a poll that has had its time. What comes meanwhile is taken as from a listener.
func (r *deviceRun) rest(ctx context.Context) error {
	over := time.NewTimer(pollGrace)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-over.C:
			return fmt.Errorf("poll did not end within %s: %w", r.d.Timeout+pollGrace, wire.ErrHung)
		case in := <-r.events:
			if in.Idle {
				r.release(in)
				return nil
			}
			if err := r.arrived(ctx, in); err != nil {
				return err
			}
		}
	}
}

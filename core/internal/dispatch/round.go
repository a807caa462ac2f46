package dispatch

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/spool"
)

// round is delivery from the cursor on until the first failure.
type round struct {
	lane   *Lane
	conn   Conn
	again  bool
	hands  chan struct{}  // one for each batch in the sink's hands
	sent   chan *delivery // what is in the sink's hands, oldest first; never full; closed when no more is sent
	done   chan struct{}  // closed when no more outcome is awaited
	since  atomic.Int64   // Unix nanoseconds at which the oldest one became the oldest; 0: there is none
	silent atomic.Bool    // the watch has ended the stream
}

func newRound(l *Lane, c Conn, again bool) *round {
	inFlight := l.opt.InFlight
	if l.limit < l.opt.Records {
		inFlight = 1 // the next limit depends on this outcome
	}
	return &round{
		lane: l, conn: c, again: again, hands: make(chan struct{}, inFlight),
		sent: make(chan *delivery, inFlight), done: make(chan struct{}),
	}
}

// run returns the batch that failed with its failure, or the stream's error with the batch that the sink worked on.
// What else the sink had is released: it is read again from the cursor. At the end of ctx it waits for the outcomes of
// what was handed over, for drainTime at most.
func (r *round) run(ctx context.Context) (failed *delivery, failure, err error) {
	g := life.NewGroup(ctx)
	g.Go("deliveries", r.send)
	g.Go("outcome watch", r.watch)
	failed, failure, err = r.receive(ctx)
	close(r.done)
	g.Cancel()
	if bad := g.Wait(); err == nil && failure == nil {
		err = bad
	}
	for d := range r.sent {
		if err == nil {
			_, err = r.conn.Recv() // a failure: the sink writes nothing behind a failed batch
		}
		d.release()
	}
	if r.silent.Load() {
		err = ErrNoOutcome
	}
	return failed, failure, err
}

// send leases batches and hands them over. After one that was not full it waits for the gap.
func (r *round) send(ctx context.Context) error {
	defer close(r.sent)
	l := r.lane
	reader, err := l.log.Reader(l.opt.Sink)
	if err != nil {
		return err
	}
	defer reader.Close()
	gap := time.NewTimer(0)
	defer gap.Stop()
	for number := uint64(1); ; number++ {
		if !r.turn(ctx, gap) {
			return nil
		}
		d, err := r.prepare(ctx, reader)
		if err != nil {
			return err
		}
		r.sent <- d
		if err := r.conn.Send(number, r.again && number == 1, d.lease.Records); err != nil {
			r.conn.Close() // the receiver sees the same end
			return nil
		}
		wait := partialGap
		if d.count() >= l.limit || d.size() >= maxBytes/2 {
			wait = 0
		}
		gap.Reset(wait)
	}
}

// turn waits for the gap and for a free hand of the sink; false is the end of ctx.
func (r *round) turn(ctx context.Context, gap *time.Timer) bool {
	select {
	case <-ctx.Done():
		return false
	case <-gap.C:
	}
	select {
	case <-ctx.Done():
		return false
	case r.hands <- struct{}{}:
		return true
	}
}

// prepare reads records on a worker, and waits for them without one.
func (r *round) prepare(ctx context.Context, reader *spool.Reader) (*delivery, error) {
	for {
		var lease *spool.Lease
		var err error
		if work := r.lane.opt.Work(ctx, func(context.Context) {
			lease, err = reader.TryNext(r.lane.limit, maxBytes)
		}); work != nil {
			return nil, work
		}
		if err != nil {
			return nil, err
		}
		if lease != nil {
			return &delivery{lease: lease}, nil
		}
		if err := reader.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// receive settles batches by their outcomes until one fails, the stream ends, or no more is sent.
func (r *round) receive(ctx context.Context) (failed *delivery, failure, err error) {
	for d := range r.sent {
		r.since.Store(time.Now().UnixNano())
		out, err := r.conn.Recv()
		r.since.Store(0)
		if err != nil {
			return d, nil, err
		}
		if out.Failure != nil {
			return d, out.Failure, nil
		}
		err = r.lane.settled(ctx, d, out)
		d.release()
		if err != nil {
			return nil, nil, err
		}
		<-r.hands
	}
	return nil, nil, nil
}

// watch ends the stream when the sink is silent for too long over one batch, or does not come to an end with the host.
func (r *round) watch(ctx context.Context) error {
	tick := time.NewTicker(r.lane.opt.Timeout / 20)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			return nil
		case <-ctx.Done():
			return r.drained()
		case <-tick.C:
		}
		since := r.since.Load()
		if since != 0 && time.Since(time.Unix(0, since)) > r.lane.opt.Timeout {
			r.silent.Store(true)
			r.conn.Close()
			return errors.New("outcome is overdue")
		}
	}
}

func (r *round) drained() error {
	t := time.NewTimer(drainTime)
	defer t.Stop()
	select {
	case <-r.done:
	case <-t.C:
		r.conn.Close()
	}
	return nil
}

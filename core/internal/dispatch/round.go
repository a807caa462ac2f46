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
	began  time.Time      // of the round; times in it are counted from here, since the wall clock may be put
	since  atomic.Int64   // nanoseconds after began at which the oldest one became the oldest; 0: there is none
	silent atomic.Bool    // the watch has ended the stream
}

func newRound(l *Lane, c Conn, again bool) *round {
	inFlight := l.opt.InFlight
	if l.limit < l.opt.Records {
		inFlight = 1 // the next limit depends on this outcome
	}
	return &round{
		lane: l, conn: c, again: again, began: time.Now(), hands: make(chan struct{}, inFlight),
		sent: make(chan *delivery, inFlight), done: make(chan struct{}),
	}
}

// run returns the batch that failed with its failure, or the stream's error with the batch that the sink worked on, or
// nothing when batches are full again. What else the sink had is released: it is read again from the cursor. At the end
// of ctx it waits for the outcomes of what was handed over, for drainTime at most.
func (r *round) run(ctx context.Context) (failed *delivery, failure, err error) {
	g := life.NewGroup(ctx)
	sending, enough := context.WithCancel(ctx)
	g.Go("deliveries", func(context.Context) error { return r.send(sending) })
	g.Go("outcome watch", r.watch)
	failed, failure, err = r.receive(ctx)
	enough()
	err = r.skip(err)
	close(r.done)
	g.Cancel()
	if bad := g.Wait(); err == nil && failure == nil {
		err = bad
	}
	if r.silent.Load() {
		err = ErrNoOutcome
	}
	return failed, failure, err
}

// now is at least 1.
func (r *round) now() int64 { return max(int64(time.Since(r.began)), 1) }

// skip waits for the outcomes of what was handed over behind a failed batch: failures, too, since the sink writes
// nothing behind one. After an error of the stream there are none.
func (r *round) skip(err error) error {
	for {
		if err != nil {
			r.conn.Close()
		}
		r.since.Store(r.now())
		d, more := <-r.sent
		if !more {
			r.since.Store(0)
			return err
		}
		if err == nil && d.count() > 0 {
			_, err = r.conn.Recv()
		}
		<-d.handed
		d.release()
	}
}

// send leases batches and hands them over. After one that was not full it waits for the gap.
func (r *round) send(ctx context.Context) (err error) {
	defer close(r.sent)
	l := r.lane
	reader, err := l.log.Reader(l.opt.Sink)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	gap := time.NewTimer(0)
	defer gap.Stop()
	for number := uint64(1); r.turn(ctx, gap); {
		d, err := r.prepare(ctx, reader)
		if ctx.Err() != nil && err != nil {
			return nil
		}
		if err != nil {
			return err
		}
		wait := partialGap
		if len(d.lease.Records) >= l.limit || d.count() == 0 || d.size() >= maxBytes/2 {
			wait = 0
		}
		r.sent <- d
		if d.count() > 0 {
			err = r.conn.Send(number, r.again && number == 1, d.records)
			number++
		}
		close(d.handed)
		if err != nil {
			r.conn.Close() // the receiver sees the same end
			return nil
		}
		gap.Reset(wait)
	}
	return nil
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

// prepare reads records on a worker, and waits for them without one. A disk that does not read is tried again with the
// same reader, which in the end leaves out what stays unreadable.
func (r *round) prepare(ctx context.Context, reader *spool.Reader) (*delivery, error) {
	pause := life.Backoff{First: firstPause, Longest: longestPause}
	for {
		lease, err := r.read(ctx, reader)
		if err == nil && pause.Pause() > 0 {
			pause.Reset()
			r.lane.setWaiting("")
		}
		if lease != nil {
			return r.lane.newDelivery(lease), nil
		}
		if err == nil {
			err = reader.Wait(ctx)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, spool.ErrDisk) {
			return nil, err
		}
		r.lane.setWaiting(err.Error())
		r.lane.opt.Log.Warn("spool not readable", "err", err)
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// read leases what is there now, on a worker.
func (r *round) read(ctx context.Context, reader *spool.Reader) (lease *spool.Lease, err error) {
	work := r.lane.opt.Work(ctx, func(context.Context) {
		err = life.Call(func() (err error) {
			lease, err = reader.TryNext(r.lane.limit, maxBytes)
			return err
		})
	})
	if work != nil {
		return nil, work
	}
	return lease, err
}

// receive settles batches by their outcomes until one fails, the stream ends, no more is sent, or more may be in flight.
func (r *round) receive(ctx context.Context) (failed *delivery, failure, err error) {
	for d := range r.sent {
		out, err := r.outcome(d)
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
		if cap(r.hands) < r.lane.opt.InFlight && r.lane.limit == r.lane.opt.Records {
			return nil, nil, nil
		}
		<-r.hands
	}
	return nil, nil, nil
}

// outcome waits for what the sink says of a batch; of nothing it says nothing.
func (r *round) outcome(d *delivery) (out Outcome, err error) {
	if d.count() > 0 {
		r.since.Store(r.now())
		out, err = r.conn.Recv()
	}
	<-d.handed
	r.since.Store(0)
	return out, err
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
		if since != 0 && time.Duration(r.now()-since) > r.lane.opt.Timeout {
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

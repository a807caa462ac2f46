// Package dispatch delivers the spool's records to one sink: it leases a batch, hands it over, and settles it by the
// sink's outcome.
//
//	device -> supervise -> schedule -> route -> spool -> [ dispatch ] -> sink
//
// The order of records is kept. A failure of the whole batch is tried again: for ever when its class says that it will
// pass, else the batch is halved down to the record that causes it, which becomes a dead letter after its tries. No
// record is dead-lettered in company. What is held back from the sink is put aside in its turn, and nothing waits for it.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/sdk"
)

// Defaults of a lane.
const (
	DefaultRecords = 1000                  // of a batch
	maxBytes       = 1 << 20               // of a batch, unless it is one record
	partialGap     = 20 * time.Millisecond // between part-filled batches, which saves most of a sink's fsyncs
	soloTries      = 5                     // of a record alone whose error has no class
	soloCrashes    = 3                     // of a sink, with one record in its hands
	firstPause     = 500 * time.Millisecond
	longestPause   = 30 * time.Second
	drainTime      = 2 * time.Second // for outcomes when the host stops
)

// ErrNoOutcome is a sink that has a batch for longer than its time. Its process must be replaced.
var ErrNoOutcome = errors.New("sink has not answered a batch in time")

// Log is the spool as a lane sees it; *spool.Spool fills it.
type Log interface {
	Reader(sink spool.SinkID) (*spool.Reader, error)
	Settle(sink spool.SinkID, upTo uint64, n, died int) error
	Dead(ctx context.Context, sink spool.SinkID, ref spool.Ref, reason string, attempts int) error
}

// Holding keeps records back from a sink until others take their place, or the sink gets them after all.
type Holding interface {
	// Look says whether a record is to be kept back, and else the id of the record of its device that it takes the place of,
	// or nothing. It is called by one goroutine at a time.
	Look(ref *spool.Ref) (back bool, instead string)
	// Hold keeps records back; they are on the disk when it returns.
	Hold(ctx context.Context, refs []spool.Ref) error
	// Replaced says that the sink has what takes the place of records, should they be kept back.
	Replaced(list []Replaced) error
	// Release puts in once more what is kept back. It may be called again after an error.
	Release(ctx context.Context) error
}

// Replaced names a record that another one takes the place of.
type Replaced struct {
	Device, ID string
	By         uint64 // number of the other one
}

// Conn is the stream to a running sink. Its calls may run beside each other; Send and Recv end when the stream does.
type Conn interface {
	// Send hands a batch over; again marks the first one after a failure.
	Send(number uint64, again bool, records []spool.Ref) error
	// Recv waits for the outcome of the oldest batch that has none yet.
	Recv() (Outcome, error)
	// Settled is called after a batch was settled, beside Send.
	Settled()
	// Close ends the stream. It may be called again.
	Close()
}

// Outcome is what a sink says of a batch.
type Outcome struct {
	Refused []Refusal // these will never be stored; the others are
	Failure error     // not nil: none was stored; see sdk.ClassOf
}

// Refusal is one record that a sink refuses for good.
type Refusal struct {
	Index  int
	Reason string
}

// Options of a lane.
type Options struct {
	Sink     spool.SinkID
	Records  int           // of a batch, at most; 0 is DefaultRecords
	InFlight int           // batches handed over at once; 0 is 2
	Timeout  time.Duration // for one outcome; 0 is 2 minutes
	Log      *slog.Logger
	Holding  Holding // nil: nothing is held back, and nothing was
	HoldBack bool    // records are looked at; else what is held back is released
	// Work runs f on the worker pool and waits for it.
	Work func(ctx context.Context, f func(ctx context.Context)) error
}

// Lane delivers to one sink, over as many runs of its plugin as it takes.
type Lane struct {
	opt   Options
	log   Log
	pause life.Backoff

	// The rest but waiting belongs to Deliver's goroutine.
	conn    Conn            // of this run
	limit   int             // records of a batch, now
	until   uint64          // seq of the newest record of a batch that failed without a class; the limit stays small up to it
	solo    uint64          // seq of the record that is tried alone
	tries   int             // of it
	crashes int             // of the sink with it
	buried  map[uint64]bool // dead letters of records that are not settled yet, by seq

	mu      sync.Mutex
	waiting string // guarded by mu: why delivery waits, or empty
}

// New makes a lane. Deliver runs it.
func New(log Log, o Options) *Lane {
	if o.Records <= 0 || o.Records > DefaultRecords {
		o.Records = DefaultRecords
	}
	if o.InFlight <= 0 {
		o.InFlight = 2
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Minute
	}
	return &Lane{opt: o, log: log, limit: o.Records, buried: map[uint64]bool{}, pause: life.Backoff{First: firstPause, Longest: longestPause}}
}

// Waiting says why delivery waits, or nothing.
func (l *Lane) Waiting() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

func (l *Lane) setWaiting(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = why
}

// Deliver works until ctx or the stream ends; the error is the stream's. It is called once for each run of the sink,
// never twice at a time, and begins with what is not settled.
func (l *Lane) Deliver(ctx context.Context, c Conn) error {
	if l.opt.Holding == nil || l.opt.HoldBack {
		return l.deliver(ctx, c)
	}
	beside := life.NewGroup(ctx)
	beside.Go("held records", l.release)
	err := l.deliver(ctx, c)
	beside.Cancel()
	if bad := beside.Wait(); err == nil {
		err = bad
	}
	return err
}

// release lets the sink have what was held back; a spool without room is tried again, and delivery makes some meanwhile.
func (l *Lane) release(ctx context.Context) error {
	pause := life.Backoff{First: firstPause, Longest: longestPause}
	for {
		err := l.opt.Holding.Release(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		l.opt.Log.Warn("held records are not delivered yet", "err", err)
		if pause.Wait(ctx) != nil {
			return nil
		}
	}
}

func (l *Lane) deliver(ctx context.Context, c Conn) error {
	again := false
	l.conn = c
	for {
		failed, failure, err := newRound(l, c, again).run(ctx)
		again = failure != nil
		switch {
		case ctx.Err() != nil:
			failed.release()
			return ctx.Err()
		case failure != nil:
			wait, bad := l.failed(ctx, failed, failure)
			if err := errors.Join(err, bad); err != nil {
				return err
			}
			if wait {
				if err := l.pause.Wait(ctx); err != nil {
					return err
				}
			}
		case errors.Is(err, ErrNoOutcome): // most often its target is frozen, which is no fault of the record
			failed.release()
			l.setWaiting(err.Error())
			return err
		case err != nil:
			return errors.Join(err, l.crashed(ctx, failed))
		}
	}
}

// delivery is a batch in a sink's hands, or the part of one that is remembered after it failed.
type delivery struct {
	lease   *spool.Lease
	records []spool.Ref   // those of the lease that the sink gets
	held    []spool.Ref   // those that it does not
	instead []Replaced    // what records take the place of, by their index; nil: nothing
	handed  chan struct{} // closed when Send has returned: the lease may be given back
}

// newDelivery sorts a lease.
func (l *Lane) newDelivery(lease *spool.Lease) *delivery {
	d := &delivery{lease: lease, records: lease.Records, handed: make(chan struct{})}
	if !l.opt.HoldBack {
		return d
	}
	d.records = make([]spool.Ref, 0, len(lease.Records))
	for i := range lease.Records {
		ref := &lease.Records[i]
		back, instead := l.opt.Holding.Look(ref)
		if back {
			d.held = append(d.held, *ref)
			continue
		}
		d.records, d.instead = append(d.records, *ref), append(d.instead, Replaced{ref.Device, instead, ref.Seq})
	}
	return d
}

// release gives the lease back; a nil delivery has none.
func (d *delivery) release() {
	if d != nil {
		d.lease.Release()
	}
}

func (d *delivery) count() int { return len(d.records) }
func (d *delivery) size() (n int) {
	for i := range d.records {
		n += len(d.records[i].Payload)
	}
	return n
}
func (d *delivery) last() uint64 { return d.lease.Records[len(d.lease.Records)-1].Seq }

// settled moves the cursor over a batch after its refused records are dead letters on the disk.
func (l *Lane) settled(ctx context.Context, d *delivery, out Outcome) error {
	for _, r := range out.Refused {
		if r.Index < 0 || r.Index >= d.count() {
			return fmt.Errorf("sink refused record %d of a batch of %d", r.Index, d.count())
		}
	}
	for _, r := range out.Refused {
		ref := d.records[r.Index]
		if err := l.bury(ctx, ref, withoutData(r.Reason, []spool.Ref{ref}), 1); err != nil {
			return err
		}
	}
	if err := l.putAside(ctx, d); err != nil {
		return err
	}
	last := d.last()
	died := 0
	for seq := range l.buried {
		if seq <= last {
			died++
		}
	}
	// Rule 18: the sink has it, or the letter is on the disk.
	if err := l.log.Settle(l.opt.Sink, last, len(d.lease.Records), died); err != nil {
		return err
	}
	l.grow(last)
	maps.DeleteFunc(l.buried, func(seq uint64, _ bool) bool { return seq <= last })
	l.solo, l.tries, l.crashes = 0, 0, 0
	l.pause.Reset()
	l.setWaiting("")
	if d.count() > 0 {
		l.conn.Settled()
	}
	return nil
}

// putAside keeps what the sink is not to get, and then says what the sink's new records take the place of.
func (l *Lane) putAside(ctx context.Context, d *delivery) error {
	held := slices.DeleteFunc(d.held, func(r spool.Ref) bool { return l.buried[r.Seq] })
	if len(held) > 0 {
		if err := l.opt.Holding.Hold(context.WithoutCancel(ctx), held); err != nil {
			return fmt.Errorf("hold records back: %w", err)
		}
		l.opt.Log.Debug("held back", "records", len(held))
	}
	for i := range held {
		l.buried[held[i].Seq] = true
	}
	var list []Replaced
	for i, r := range d.instead {
		if r.ID != "" && !l.buried[d.records[i].Seq] {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return l.opt.Holding.Replaced(list)
}

// grow makes batches larger again. A limit that is full is not written: the sender reads it with several in flight.
func (l *Lane) grow(last uint64) {
	switch {
	case l.limit == l.opt.Records:
	case last >= l.until:
		l.limit = l.opt.Records
	default:
		l.limit = min(l.limit*2, l.opt.Records)
	}
}

// bury makes a record a dead letter, once: a batch whose settling failed comes again, and an outcome may name a record
// twice. The end of ctx does not keep it from the disk, since the sink will not be asked again.
func (l *Lane) bury(ctx context.Context, ref spool.Ref, reason string, attempts int) error {
	if l.buried[ref.Seq] {
		return nil
	}
	if err := l.log.Dead(context.WithoutCancel(ctx), l.opt.Sink, ref, reason, attempts); err != nil {
		return fmt.Errorf("keep dead letter: %w", err)
	}
	l.buried[ref.Seq] = true
	l.opt.Log.Warn("dead letter", "seq", ref.Seq, "device", ref.Device, "reason", reason, "attempts", attempts)
	return nil
}

// failed decides what follows a batch of which nothing was stored: wait, halve, or bury the one that is alone.
func (l *Lane) failed(ctx context.Context, d *delivery, failure error) (wait bool, err error) {
	defer d.release()
	class := sdk.ClassOf(failure)
	failure = quiet(failure, d.records)
	l.setWaiting(failure.Error())
	l.opt.Log.Warn("delivery failed", "records", d.count(), "class", class.String(), "err", failure)
	switch class {
	case sdk.ClassBusy, sdk.ClassUnavailable, sdk.ClassUnknown:
		return true, nil
	case sdk.ClassNone, sdk.ClassPermanent:
	}
	if d.count() > 1 {
		l.halve(d)
		return false, nil
	}
	ref := d.records[0]
	l.alone(ref.Seq)
	l.tries++
	if class != sdk.ClassPermanent && l.tries < soloTries {
		return true, nil
	}
	if err := l.bury(ctx, ref, failure.Error(), l.tries); err != nil {
		return false, err
	}
	return false, l.settled(ctx, d, Outcome{})
}

// crashed remembers what the sink had in its hands when it went: alone in its batch at the third crash, a record is a
// dead letter. The first of a batch is tried alone at once, and not after several halvings, each of which costs the sink's
// process another crash: too many without a batch that is settled, and supervise starts it no more.
func (l *Lane) crashed(ctx context.Context, d *delivery) error {
	if d == nil {
		return nil
	}
	defer d.release()
	if d.count() > 1 {
		l.until = max(l.until, d.last())
		l.limit = 1
		return nil
	}
	ref := d.records[0]
	l.alone(ref.Seq)
	l.crashes++
	if l.crashes < soloCrashes {
		return nil
	}
	if err := l.bury(ctx, ref, "sink crashed", l.crashes); err != nil {
		return err
	}
	return l.settled(ctx, d, Outcome{})
}

func (l *Lane) halve(d *delivery) {
	l.until = max(l.until, d.last())
	l.limit = max(d.count()/2, 1)
}

func (l *Lane) alone(seq uint64) {
	if l.solo != seq {
		l.solo, l.tries, l.crashes = seq, 0, 0
	}
	l.limit = 1
	l.until = max(l.until, seq)
}

package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hostd/hostd/core/internal/dispatch"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/sdk"
)

// rig is a lane on a real spool inside a bubble.
type rig struct {
	t     *testing.T
	spool *spool.Spool
	id    spool.SinkID
	lane  *dispatch.Lane
	log   faultyLog
	n     int // records put
	stop  func()
}

// faultyLog is the spool, with a fault where dead says so.
type faultyLog struct {
	*spool.Spool
	dead func() error
}

// Dead is dispatch.Log's.
func (l *faultyLog) Dead(ctx context.Context, id spool.SinkID, ref spool.Ref, reason string, attempts int) error {
	if l.dead != nil {
		if err := l.dead(); err != nil {
			return err
		}
	}
	return l.Spool.Dead(ctx, id, ref, reason, attempts)
}

func inline(ctx context.Context, f func(context.Context)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f(ctx)
	return nil
}

func newRig(t *testing.T, o dispatch.Options) *rig {
	t.Helper()
	return newRigIn(t, t.TempDir(), spool.Options{}, o)
}

func newRigIn(t *testing.T, dir string, so spool.Options, o dispatch.Options) *rig {
	t.Helper()
	r := &rig{t: t}
	var err error
	if r.spool, err = spool.Open(dir, so); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.spool.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := errors.Join(<-done, r.spool.Close()); err != nil {
			t.Error(err)
		}
	}
	if r.id, err = r.spool.RegisterSink("emr"); err != nil {
		t.Fatal(err)
	}
	r.log = faultyLog{Spool: r.spool}
	o.Sink, o.Work, o.Log = r.id, inline, slog.New(slog.DiscardHandler)
	r.lane = dispatch.New(&r.log, o)
	return r
}

// put stores n records, numbered from 1 on, in one batch.
func (r *rig) put(n int) {
	r.t.Helper()
	b := spool.Batch{Device: "ark-1"}
	for range n {
		r.n++
		b.Records = append(b.Records, spool.Entry{Payload: fmt.Append(nil, r.n), Sinks: spool.SinkSet(0).With(r.id)})
	}
	done := make(chan error, 1)
	if err := r.spool.Append(context.Background(), b, func(err error) { done <- err }); err != nil {
		r.t.Fatal(err)
	}
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}

// dead gives the dead letters as "record: reason (attempts)".
func (r *rig) dead() (out []string) {
	r.t.Helper()
	for l, err := range r.spool.DeadLetters("emr") {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s: %s (%d)", l.Payload, l.Reason, l.Attempts))
	}
	return out
}

// accounts holds that every record is delivered, dead or waiting.
func (r *rig) accounts(delivered, dead, backlog int) {
	r.t.Helper()
	s := r.spool.Stats().Sinks[r.id]
	if s.Appended != s.Delivered+s.Dead+s.Backlog {
		r.t.Errorf("appended %d is not delivered %d + dead %d + backlog %d", s.Appended, s.Delivered, s.Dead, s.Backlog)
	}
	if int(s.Delivered) != delivered || int(s.Dead) != dead || int(s.Backlog) != backlog {
		r.t.Errorf("delivered %d, dead %d, backlog %d; want %d, %d, %d", s.Delivered, s.Dead, s.Backlog, delivered, dead, backlog)
	}
}

// deliver runs the lane on a sink until stop, which gives Deliver's error.
func (r *rig) deliver(c *conn) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.lane.Deliver(ctx, c) }()
	return func() error {
		cancel()
		return <-done
	}
}

// batch is what a sink was sent.
type batch struct {
	number uint64
	again  bool
	texts  []string
}

func (b batch) String() string { return strings.Join(b.texts, " ") }

var errBroken = errors.New("stream is broken")

// conn is a scripted sink. It writes one batch after the other, and nothing behind a failed one until the lane comes
// again. write is nil or answers a batch; it may wait on the stream's end.
type conn struct {
	write func(b batch) (dispatch.Outcome, error) // an error breaks the stream

	mu       sync.Mutex
	sent     []batch  // guarded by mu: handed over
	written  []string // guarded by mu: stored, in order
	calls    []batch  // guarded by mu: what write was asked
	inHand   int      // guarded by mu
	mostHand int      // guarded by mu
	failed   bool     // guarded by mu
	settled  int      // guarded by mu: batches
	once     sync.Once
	queue    chan batch
	end      chan struct{}
}

func newConn(write func(b batch) (dispatch.Outcome, error)) *conn {
	return &conn{write: write, queue: make(chan batch, 16), end: make(chan struct{})}
}

// Send is dispatch.Conn's.
func (c *conn) Send(number uint64, again bool, refs []spool.Ref) error {
	b := batch{number: number, again: again}
	for _, r := range refs {
		b.texts = append(b.texts, string(r.Payload))
	}
	c.mu.Lock()
	c.sent = append(c.sent, b)
	c.inHand++
	c.mostHand = max(c.mostHand, c.inHand)
	c.mu.Unlock()
	select {
	case <-c.end:
		return errBroken
	case c.queue <- b:
		return nil
	}
}

// Settled is dispatch.Conn's.
func (c *conn) Settled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled++
}

// Recv is dispatch.Conn's.
func (c *conn) Recv() (dispatch.Outcome, error) {
	var b batch
	select {
	case <-c.end:
		return dispatch.Outcome{}, errBroken
	case b = <-c.queue:
	}
	c.mu.Lock()
	c.failed = c.failed && !b.again
	skip := c.failed
	if !skip {
		c.calls = append(c.calls, b)
	}
	c.mu.Unlock()
	out, err := dispatch.Outcome{}, error(nil)
	switch {
	case skip:
		out.Failure = sdk.WithClass(sdk.ClassBusy, errors.New("an earlier batch failed"))
	case c.write != nil:
		out, err = c.write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inHand--
	switch {
	case err != nil:
		c.Close()
	case out.Failure != nil:
		c.failed = true
	default:
		for i, text := range b.texts {
			if !slices.ContainsFunc(out.Refused, func(r dispatch.Refusal) bool { return r.Index == i }) {
				c.written = append(c.written, text)
			}
		}
	}
	return out, err
}

// Close is dispatch.Conn's.
func (c *conn) Close() { c.once.Do(func() { close(c.end) }) }

// asked gives the batches that write was asked for, one text each.
func (c *conn) asked() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.calls {
		out = append(out, b.String())
	}
	return out
}

func (c *conn) stored() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.written)
}

func failure(class sdk.Class, text string) (dispatch.Outcome, error) {
	return dispatch.Outcome{Failure: sdk.WithClass(class, errors.New(text))}, nil
}

func numbers(from, to int) (out []string) {
	for ; from <= to; from++ {
		out = append(out, fmt.Sprint(from))
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s %q, want %q", what, got, want)
	}
}

// ended is what Deliver gives when it was stopped.
func ended(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Deliver = %v, want the end of ctx", err)
	}
}

package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/capture"
)

const (
	emptyPause = 50 * time.Millisecond  // keeps a listening device whose Read returns nothing from spinning
	closeGrace = 500 * time.Millisecond // for Read and Ack to end by their ctx, before Close is called beside them
)

var errNotOpen = errors.New("device is not open")

// deviceHandler drives the author's Device as the contract says. Open, Run and Close come from the host in this order.
type deviceHandler struct {
	device sdk.Device
	window int
	polled bool
	wire   bool // the manifest's
	log    *logOutput

	mu      sync.Mutex
	session *deviceSession // guarded by mu; nil while the device is closed
}

// deviceSession is the time between an Open and its Close.
type deviceSession struct {
	h        *deviceHandler
	group    *life.Group   // what the author started with env.Go, and the receiver of answers
	wake     chan struct{} // capacity 1
	failed   chan error    // capacity 1: why the session cannot go on
	polls    chan time.Duration
	finisher finisher
	recorder *capture.Recorder // nil where nothing is captured
	calls    sync.WaitGroup    // Read and the taking of answers, which call the device

	mu     sync.Mutex
	number uint64      // guarded by mu: of the last message sent
	open   []openBatch // guarded by mu: sent and not answered, oldest first
	freed  chan struct{}
}

// openBatch is a batch whose answer is awaited.
type openBatch struct {
	parts  int    // messages sent
	number uint64 // of its last message; 0 until that is sent
	next   sdk.Position
}

// Open is the host's call.
func (h *deviceHandler) Open(ctx context.Context, o wire.OpenDevice) error {
	if err := h.Close(ctx); err != nil {
		return fmt.Errorf("close before open: %w", err)
	}
	h.log.setLevel(o.LogLevel)
	s := &deviceSession{
		h: h, group: life.NewGroup(context.WithoutCancel(ctx)), wake: make(chan struct{}, 1), failed: make(chan error, 1),
		polls: make(chan time.Duration, 1), freed: make(chan struct{}, 1), finisher: finisher{staging: o.StagingDir},
	}
	env := sdk.Env{
		Name: o.Name, Settings: sdk.NewSettings(o.Settings), StateDir: o.StateDir, StagingDir: o.StagingDir,
		Log: h.log.logger, Wake: s.wakeUp, Go: s.goAuthor,
	}
	if err := s.startCapture(o.StateDir, &env); err != nil {
		s.group.Cancel()
		return err
	}
	h.mu.Lock()
	h.session = s
	h.mu.Unlock()
	if err := h.device.Open(ctx, env, sdk.Position(o.Position)); err != nil {
		return errors.Join(err, h.Close(ctx))
	}
	return nil
}

// Close is the host's call; closing what is closed is no error. The device's Close does not overlap its Read and Ack,
// unless these do not end by their ctx.
func (h *deviceHandler) Close(ctx context.Context) error {
	h.mu.Lock()
	s := h.session
	h.session = nil
	h.mu.Unlock()
	if s == nil {
		return nil
	}
	s.group.Cancel()
	s.awaitCalls(ctx)
	return errors.Join(h.device.Close(ctx), s.group.Stop(ctx), s.endCapture())
}

// awaitCalls waits for the calls that run, for closeGrace at most.
func (s *deviceSession) awaitCalls(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeGrace)
	defer cancel()
	g := life.NewGroup(ctx)
	g.Go("calls of the device", func(context.Context) error {
		s.calls.Wait()
		return nil
	})
	if err := g.Stop(ctx); err != nil {
		s.h.log.logger.Warn("device still works while it is closed", "err", err)
	}
}

// Run is the host's call: it reads, sends, and takes answers until ctx ends or something fails.
func (h *deviceHandler) Run(ctx context.Context, stream wire.DeviceStream) error {
	s := h.begin()
	if s == nil {
		return errNotOpen
	}
	defer s.calls.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.calls.Add(1)
	s.group.Go("answers", func(context.Context) error {
		defer s.calls.Done()
		cancel(s.answers(ctx, stream))
		return nil
	})
	s.group.Go("failure", func(gone context.Context) error {
		select {
		case err := <-s.failed:
			cancel(err)
		case <-ctx.Done():
		case <-gone.Done():
			cancel(errNotOpen)
		}
		return nil
	})
	err := s.read(ctx, stream)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// begin is the open session with one call counted, or nil.
func (h *deviceHandler) begin() *deviceSession {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session != nil {
		h.session.calls.Add(1)
	}
	return h.session
}

func (s *deviceSession) read(ctx context.Context, stream wire.DeviceStream) error {
	if s.h.polled {
		return s.readPolled(ctx, stream)
	}
	for {
		empty, err := s.readOnce(ctx, stream)
		if err != nil {
			return err
		}
		if empty {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(emptyPause):
			}
		}
	}
}

// readPolled waits for the host's word, or passes the device's own wish on.
func (s *deviceSession) readPolled(ctx context.Context, stream wire.DeviceStream) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
			if err := s.sign(stream, true, false); err != nil {
				return err
			}
		case limit := <-s.polls:
			if err := s.poll(ctx, stream, limit); err != nil {
				return err
			}
			if err := s.sign(stream, false, true); err != nil {
				return err
			}
		}
	}
}

// poll reads until there is nothing more or the host's limit is over.
func (s *deviceSession) poll(ctx context.Context, stream wire.DeviceStream, limit time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for bounded.Err() == nil {
		empty, err := s.readOnce(bounded, stream)
		if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && bounded.Err() != nil {
			return nil
		}
		if err != nil || empty {
			return err
		}
	}
	return ctx.Err()
}

// readOnce reads one batch when the window is open, and sends it.
func (s *deviceSession) readOnce(ctx context.Context, stream wire.DeviceStream) (empty bool, err error) {
	if err := s.awaitWindow(ctx); err != nil {
		return false, err
	}
	b, err := s.h.device.Read(ctx)
	if err != nil {
		return false, err
	}
	if len(b.Records) == 0 && b.Next == "" {
		return true, nil
	}
	return len(b.Records) == 0, s.send(stream, b)
}

func (s *deviceSession) awaitWindow(ctx context.Context) error {
	for {
		s.mu.Lock()
		n := len(s.open)
		s.mu.Unlock()
		if n < s.h.window {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.freed:
		}
	}
}

// send cuts the batch into messages; only the last one moves the position, so that a batch is stored whole before its
// position is. The batch is registered as open before its first message leaves.
func (s *deviceSession) send(stream wire.DeviceStream, b sdk.Batch) error {
	if len(b.Next) > sdk.MaxPosition {
		return fmt.Errorf("read: position of %d bytes, the limit is %d: keep what is larger in Env.StateDir", len(b.Next), sdk.MaxPosition)
	}
	if s.h.window == 1 {
		if err := s.finisher.sweep(b.Records); err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
	out, count := wire.NewOutgoing(sdk.MaxBatchSize), 0
	for i := range b.Records {
		r := &b.Records[i]
		if err := s.finisher.finish(r); err != nil {
			return fmt.Errorf("read: record %d of the batch: %w", i, err)
		}
		if count > 0 && (count == sdk.MaxBatch || out.Len()+wire.RecordSize(r) > sdk.MaxBatchSize) {
			out.Head(s.part(), "")
			if err := stream.Send(out); err != nil {
				return err
			}
			out, count = wire.NewOutgoing(sdk.MaxBatchSize), 0
		}
		out.Record(r)
		count++
	}
	out.Head(s.lastPart(b.Next), string(b.Next))
	return stream.Send(out)
}

// part numbers a message, and opens its batch where it is the first one.
func (s *deviceSession) part() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.partLocked().number
}

// lastPart numbers the message that carries the batch's position.
func (s *deviceSession) lastPart(next sdk.Position) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partLocked()
	s.open[len(s.open)-1] = openBatch{parts: p.parts, number: p.number, next: next}
	return p.number
}

// partLocked counts a message of the newest batch and gives its number and the batch's parts so far.
func (s *deviceSession) partLocked() openBatch {
	s.number++
	if n := len(s.open); n == 0 || s.open[n-1].number > 0 {
		s.open = append(s.open, openBatch{})
	}
	b := &s.open[len(s.open)-1]
	b.parts++
	return openBatch{parts: b.parts, number: s.number}
}

func (s *deviceSession) sign(stream wire.DeviceStream, wake, idle bool) error {
	out := wire.NewOutgoing(0)
	out.Sign(wake, idle)
	return stream.Send(out)
}

// answers takes the host's answers until the stream ends, and says why it ended.
func (s *deviceSession) answers(ctx context.Context, stream wire.DeviceStream) error {
	for {
		a, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("stream to the host: %w", err)
		}
		if a.Ack > 0 {
			if err := s.acked(ctx, a.Ack); err != nil {
				return fmt.Errorf("ack: %w", err)
			}
		}
		if a.Refused > 0 {
			if err := s.refused(ctx, a.Refused, a.Reason); err != nil {
				return err
			}
		}
		if a.PollMillis > 0 {
			select {
			case s.polls <- time.Duration(a.PollMillis) * time.Millisecond:
			default:
				return errors.New("host polled before the last poll was over")
			}
		}
	}
}

// acked tells the device about the newest batch that the number covers, and only then lets Read go on.
func (s *deviceSession) acked(ctx context.Context, number uint64) error {
	s.mu.Lock()
	n, next := 0, sdk.Position("")
	for n < len(s.open) && s.open[n].number > 0 && s.open[n].number <= number {
		next = s.open[n].next
		n++
	}
	s.mu.Unlock()
	if n == 0 {
		return nil
	}
	if err := s.inTime(ctx, func(ctx context.Context) error { return s.h.device.Ack(ctx, next) }); err != nil {
		return err
	}
	s.settle(n)
	return nil
}

// answerTime is how long a device may take to hear an answer; then it is closed and opened again.
const answerTime = 15 * time.Second

// inTime calls the author with a deadline, and does not wait for one who does not hear it.
func (s *deviceSession) inTime(ctx context.Context, call func(ctx context.Context) error) error {
	limit := answerTime
	if debugging() {
		limit = 24 * time.Hour // it may stand at a breakpoint
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	s.group.Go("answer", func(context.Context) error {
		done <- life.Call(func() error { return call(ctx) })
		return nil
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // it heard the end
		return err
	default:
		return fmt.Errorf("the device has not heard the answer within %s: %w", limit, ctx.Err())
	}
}

// refused hands the negative answer on. A device that cannot hear it, that has read ahead, or whose batch was sent in
// parts of which some may be stored, is reopened instead.
func (s *deviceSession) refused(ctx context.Context, number uint64, why sdk.Reason) error {
	r, ok := s.h.device.(sdk.Refuser)
	if !ok {
		return fmt.Errorf("batch refused: %s", why)
	}
	s.mu.Lock()
	open := append([]openBatch(nil), s.open...)
	s.mu.Unlock()
	parted := false
	for _, b := range open {
		parted = parted || b.parts > 1 || b.number == 0
		if b.number < number {
			continue // it may be stored, or is not read to its end
		}
		if err := r.Refuse(ctx, b.next, why); err != nil {
			return fmt.Errorf("refuse: %w", err)
		}
	}
	if s.h.window > 1 || parted {
		return fmt.Errorf("batch refused: %s", why)
	}
	s.settle(len(open))
	return nil
}

func (s *deviceSession) settle(n int) {
	s.mu.Lock()
	s.open = append(s.open[:0], s.open[n:]...)
	s.mu.Unlock()
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

func (s *deviceSession) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *deviceSession) goAuthor(f func(ctx context.Context) error) {
	s.group.Go("plugin", func(ctx context.Context) error {
		err := life.Call(func() error { return f(ctx) })
		if err != nil && ctx.Err() == nil {
			select {
			case s.failed <- err:
			default:
				slog.Warn("second failure in a goroutine of the plugin", "err", err)
			}
		}
		return nil
	})
}

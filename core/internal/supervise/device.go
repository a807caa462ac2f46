package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// Deadlines of the calls to a plugin.
const (
	openTimeout  = 15 * time.Second
	closeTimeout = 3 * time.Second
	pollGrace    = 5 * time.Second // beyond a poll's own timeout
)

// Limits of what a device may have open at the host: more than the largest window makes the stream wait.
const maxOpenBatches = 8

// Work runs a job on the worker pool, one at a time for a device. It is schedule.Pool.Do, seen from here.
type Work func(ctx context.Context, device string, poll bool, run func(ctx context.Context)) error

// Intake takes what devices send. It is filled by the host.
type Intake interface {
	// Room is nil while batches are taken. While the disk is full it is a channel that is closed when they are again.
	Room() <-chan struct{}
	// Position is the last stored position of a device, empty at the beginning.
	Position(device string) []byte
	// Term changes when storing has failed. A batch is stored only in the term in which it was sent, so that no batch
	// is stored whose forerunner was not.
	Term() uint64
	// Take checks, routes and stores a batch, and calls answer once, from any goroutine and without blocking it: nil
	// after the fsync, else why not. Take may block while the spool is busy; it owns the batch until it has answered.
	Take(ctx context.Context, batch *DeviceBatch)
}

// DeviceBatch is one batch on its way to the disk.
type DeviceBatch struct {
	Device  string
	Staging string // where its attachments are
	Term    uint64 // see Intake.Term
	In      *wire.Incoming
	Answer  func(err error) // see Intake.Take; the batch's bytes are given back by it
}

// RefusedError is why a batch was not stored, in the word that the device is told.
type RefusedError struct {
	Reason sdk.Reason
	Err    error
}

// Error is the reason and its cause.
func (e *RefusedError) Error() string { return fmt.Sprintf("batch refused (%s): %v", e.Reason, e.Err) }

// Unwrap gives the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// Device is one device's side of the host: how it is opened and polled.
type Device struct {
	Open    wire.OpenDevice                // Position is filled at each open
	Plan    func(every time.Duration) Plan // polled devices: when it is due; every is the manifest's interval, 0 where it names none
	Timeout time.Duration                  // polled devices: how long one poll may take
	Answer  time.Duration                  // how long a batch may wait for its answer
	Intake  Intake
	Work    Work
	Overrun func() // counts a poll that was due while the last one still ran
	Pace    Pace
}

var errRefusedBefore = errors.New("an earlier batch was refused")

// deviceRun is the time from one opening of the stream to its end.
type deviceRun struct {
	d      *Device
	name   string
	proc   *Process
	stream *wire.DeviceRun
	slots  chan struct{} // one for each open batch
	polled bool
	single bool   // window 1: the device may go on after a refusal
	term   uint64 // in which the open batches were sent; of the goroutine that makes batches
	wake   chan struct{}
	events chan *wire.Incoming // polled: what arrives while a poll runs; a nil is its end
	broken chan error          // capacity 1: why the stream cannot go on
	pace   pacer               // of the goroutine that receives
	spare  sync.Pool

	mu      sync.Mutex
	open    []*openBatch  // guarded by mu: oldest first; the first one is not answered yet
	unsent  wire.Answer   // guarded by mu: what the sender goroutine sends next
	refused bool          // guarded by mu: nothing after it may be acknowledged
	noRoom  bool          // guarded by mu: the last answer was that there is no room
	partial bool          // guarded by mu: a message without a position was refused, perhaps the beginning of a batch
	kick    chan struct{} // capacity 1: unsent has something
}

// openBatch waits for its one answer, or for that of an older one.
type openBatch struct {
	number   uint64
	since    time.Time
	position bool // it has one
	stored   bool
}

// Session opens the device, runs its stream until something fails, and closes it. It is a Session of an Instance.
func (d *Device) Session(ctx context.Context, proc *Process, up func()) error {
	err := d.session(ctx, proc, up)
	if room := d.Intake.Room(); room != nil || errors.Is(err, errNotTaken) {
		return &noRoomError{err: err, room: room}
	}
	return err
}

func (d *Device) session(ctx context.Context, proc *Process, up func()) error {
	if proc.Manifest.Role != sdk.RoleDevice {
		return fmt.Errorf("plugin %s is a %s, not a device", proc.Manifest.Name, proc.Manifest.Role)
	}
	if err := d.prepare(); err != nil {
		return err
	}
	if err := checkSettings(proc.Manifest.Settings, d.Open.Settings); err != nil {
		return err
	}
	open := d.Open
	open.Position = d.Intake.Position(open.Name)
	bounded, cancel := context.WithTimeout(ctx, openTimeout)
	err := proc.Conn.OpenDevice(bounded, open)
	cancel()
	if err != nil {
		return fmt.Errorf("open: %w", overdue(err, openTimeout))
	}
	up()
	err = d.stream(ctx, proc)
	bounded, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return firstOf(err, overdue(proc.Conn.CloseDevice(bounded), closeTimeout))
}

// firstOf is err, unless the second one says that the process must be replaced.
func firstOf(err, closing error) error {
	if err == nil {
		return closing
	}
	replace := func(err error) bool { return errors.Is(err, wire.ErrHung) || errors.Is(err, wire.ErrGone) }
	if replace(closing) && !replace(err) {
		return fmt.Errorf("%w; close: %w", err, closing)
	}
	return err
}

// overdue says of a call that has no answer how long it was waited for, and what its author does.
func overdue(err error, limit time.Duration) error {
	if errors.Is(err, wire.ErrHung) {
		return fmt.Errorf("%w within %s; the call must end with its ctx", err, limit)
	}
	return err
}

// checkSettings refuses settings that the manifest does not know, before a plugin is opened that may take them in silence.
func checkSettings(list []sdk.Setting, settings []byte) error {
	values := map[string]any{}
	if len(settings) > 0 {
		dec := json.NewDecoder(bytes.NewReader(settings))
		dec.UseNumber()
		if err := dec.Decode(&values); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
	}
	var faults []error
	for _, f := range sdk.CheckSettings(list, values) {
		faults = append(faults, f)
	}
	if len(faults) > 0 {
		return fmt.Errorf("settings do not fit the plugin's manifest, and it was not opened: %w", errors.Join(faults...))
	}
	return nil
}

// prepare makes the device's folders and empties the staging one: what is in it belongs to batches that were never
// acknowledged. The folder itself stays: on a full disk it could not be made again.
func (d *Device) prepare() error {
	for _, dir := range []string{d.Open.StateDir, d.Open.StagingDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	stale, err := os.ReadDir(d.Open.StagingDir)
	for _, e := range stale {
		err = errors.Join(err, os.RemoveAll(filepath.Join(d.Open.StagingDir, e.Name())))
	}
	if err != nil {
		return fmt.Errorf("empty staging folder: %w", err)
	}
	return nil
}

func (d *Device) stream(ctx context.Context, proc *Process) error {
	g := life.NewGroup(ctx)
	stream, err := proc.Conn.RunDevice(g.Context()) //nolint:contextcheck // it is made of ctx, and ends with the group
	if err != nil {
		g.Cancel()
		return err
	}
	r := &deviceRun{
		d: d, name: d.Open.Name, proc: proc, stream: stream, slots: make(chan struct{}, maxOpenBatches), polled: proc.Manifest.Polled,
		single: proc.Manifest.Window <= 1,
		wake:   make(chan struct{}, 1), events: make(chan *wire.Incoming), kick: make(chan struct{}, 1),
		broken: make(chan error, 1),
		pace:   pacer{Pace: d.Pace},
		spare:  sync.Pool{New: func() any { return &wire.Incoming{} }},
	}
	g.Go("answers to "+r.name, r.send)
	g.Go("answer times of "+r.name, r.watchAnswers)
	if r.polled {
		plan := d.Plan(interval(proc.Manifest))
		g.Go("polls of "+r.name, func(ctx context.Context) error { return r.pollWhenDue(ctx, plan) })
	}
	g.Go("batches of "+r.name, r.receive)
	select {
	case err = <-g.Failed():
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.Cancel()
	_ = g.Wait()                                       // its first error is err
	if bug := new(life.Panic); !errors.As(err, &bug) { // its batch may have no answer, ever
		r.settle()
	}
	if r.wasRefused() {
		err = fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return err
}

// settle waits until no batch is open, at most as long as an answer may take: what is on its way to the disk when the device is
// opened again would come twice.
func (r *deviceRun) settle() {
	late := time.NewTimer(r.d.Answer)
	defer late.Stop()
	for range maxOpenBatches {
		select {
		case r.slots <- struct{}{}:
		case <-late.C:
			return
		}
	}
}

// errNotTaken is the end of a stream in which a batch was refused: the device is well, and the host had no room.
var errNotTaken = errors.New("a batch was not taken")

// noRoomError is the end of a session for want of room at the host, or while there is none.
type noRoomError struct {
	err  error
	room <-chan struct{} // see Intake.Room; nil: there may be room already, and nobody tells
}

// Error is the cause.
func (e *noRoomError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *noRoomError) Unwrap() error { return e.err }

func (r *deviceRun) wasRefused() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.noRoom
}

// receive reads the stream and hands batches to the workers, or to the poll that runs.
func (r *deviceRun) receive(ctx context.Context) error {
	for {
		in, ok := r.spare.Get().(*wire.Incoming)
		if !ok {
			return errors.New("receive: pool gave something else")
		}
		if err := r.stream.Recv(in); err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the device has ended its stream: it must read on until the host closes it")
			}
			return err
		}
		size := in.Size()
		if err := r.dispatch(ctx, in); err != nil {
			return err
		}
		if err := r.pace.after(ctx, size); err != nil {
			return err
		}
	}
}

func (r *deviceRun) dispatch(ctx context.Context, in *wire.Incoming) error {
	switch {
	case in.Wake:
		r.release(in)
		select {
		case r.wake <- struct{}{}:
		default:
		}
		return nil
	case r.polled:
		select {
		case r.events <- in:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	default:
		return r.arrived(ctx, in)
	}
}

// arrived has a worker take a batch.
func (r *deviceRun) arrived(ctx context.Context, in *wire.Incoming) error {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	b := r.batch(in)
	err := r.d.Work(ctx, r.name, false, func(work context.Context) {
		if err := life.Call(func() error { r.take(work, b); return nil }); err != nil {
			r.breakOff(err)
		}
	})
	if err != nil {
		<-r.slots // it will not run
	}
	return err
}

// breakOff ends the stream with err.
func (r *deviceRun) breakOff(err error) {
	select {
	case r.broken <- err:
	default:
	}
}

// take hands a batch to the intake, unless one before it was refused: then this one must not be stored either.
func (r *deviceRun) take(ctx context.Context, b *DeviceBatch) {
	if r.mayFollow(b) {
		r.d.Intake.Take(ctx, b)
		return
	}
	b.Answer(errRefusedBefore)
}

// mayFollow says whether the batch may be stored after those before it. Serve cuts a large batch into messages of which
// only the last has the position: stored behind a refused beginning, that position would pass over what is not stored.
// The device is reopened instead.
func (r *deviceRun) mayFollow(b *DeviceBatch) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.single && r.partial && len(b.In.Next) > 0 {
		r.breakOff(errRefusedBefore)
		return false
	}
	return !r.refused
}

// batch ties a message to its answer. With nothing open, every message before it was stored or refused, and it may be
// stored in the term of now; else it shares the term of those that it rests on.
func (r *deviceRun) batch(in *wire.Incoming) *DeviceBatch {
	o := &openBatch{number: in.Number, since: time.Now(), position: len(in.Next) > 0}
	if r.idle() {
		r.term = r.d.Intake.Term()
	}
	r.mu.Lock()
	r.open = append(r.open, o)
	r.mu.Unlock()
	return &DeviceBatch{Device: r.name, Staging: r.d.Open.StagingDir, Term: r.term, In: in, Answer: func(err error) {
		r.release(in)
		r.mu.Lock()
		r.answer(o, err)
		r.mu.Unlock()
		<-r.slots
	}}
}

// idle is true when no batch is open.
func (r *deviceRun) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open) == 0
}

func (r *deviceRun) release(in *wire.Incoming) {
	in.Release()
	r.spare.Put(in)
}

// answer queues the one answer of an open batch; the sender goroutine sends it. Acknowledgements are cumulative: one is
// sent for the newest batch that has no unanswered one before it, and none after a refusal. The caller holds mu.
func (r *deviceRun) answer(o *openBatch, err error) {
	at := slices.Index(r.open, o)
	switch {
	case at < 0: // refused as late already
	case err == nil && !r.refused:
		r.noRoom = false
		o.stored = true
		r.acknowledge()
	default:
		r.open = slices.Delete(r.open, at, at+1)
		r.refuse(o, err)
	}
}

func (r *deviceRun) acknowledge() {
	n := 0
	for n < len(r.open) && r.open[n].stored {
		r.unsent.Ack = r.open[n].number
		n++
	}
	if n > 0 {
		r.open = slices.Delete(r.open, 0, n)
		r.kickSender()
	}
}

func (r *deviceRun) refuse(o *openBatch, err error) {
	if r.refused {
		return
	}
	r.refused, r.partial = true, r.partial || !o.position
	r.open = slices.DeleteFunc(r.open, func(o *openBatch) bool { return o.stored }) // they stay without their answer
	r.unsent.Refused, r.unsent.Reason = o.number, sdk.ReasonDisk
	var why *RefusedError
	if errors.As(err, &why) {
		r.unsent.Reason = why.Reason
	}
	r.noRoom = r.unsent.Reason == sdk.ReasonFull || r.unsent.Reason == sdk.ReasonDisk
	r.kickSender()
}

// watchAnswers refuses a batch that has no answer in time. It may be stored all the same; then the device sends it
// again, and its identity makes the two one.
func (r *deviceRun) watchAnswers(ctx context.Context) error {
	tick := time.NewTicker(max(r.d.Answer/10, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.broken:
			return err
		case <-tick.C:
		}
		r.mu.Lock()
		for len(r.open) > 0 && time.Since(r.open[0].since) > r.d.Answer {
			r.answer(r.open[0], &RefusedError{Reason: sdk.ReasonLate, Err: fmt.Errorf("not stored within %s", r.d.Answer)})
		}
		r.mu.Unlock()
	}
}

func (r *deviceRun) kickSender() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// send sends answers, and the word to poll. A refusal ends the stream after it was sent, unless the device reads one
// batch at a time and knows the negative answer; the device decides by ending the stream itself.
func (r *deviceRun) send(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.kick:
		}
		r.mu.Lock()
		a := r.unsent
		r.unsent = wire.Answer{}
		if a.Refused > 0 && r.single {
			r.refused = false
		}
		r.mu.Unlock()
		if err := r.stream.Send(a); err != nil {
			return err
		}
		if a.Ack > 0 {
			r.proc.worked.Store(true)
		}
	}
}

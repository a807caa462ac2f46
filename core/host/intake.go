package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/internal/route"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/supervise"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// intake takes the devices' batches to the disk: check, route, store, answer.
type intake struct {
	spool *spool.Spool
	log   *slog.Logger

	routing atomic.Pointer[routing] // exchanged by a reload; a batch is routed by one
	spare   sync.Pool               // of *scratch

	mu     sync.Mutex
	counts map[string]*deviceCount // guarded by mu: by device, also of those that were removed
}

// routing says which sinks a record goes to.
type routing struct {
	table *route.Table
	sinks []spool.SinkID // by the table's numbers
}

// deviceCount is what is counted of one device.
type deviceCount struct {
	received atomic.Uint64
	held     atomic.Int64 // nanoseconds for which it was held to its rate
	last     atomic.Int64 // Unix nanoseconds of the newest stored record; 0: none since the start
	refused  atomic.Pointer[string]
	rejected atomic.Pointer[string] // the newest input that could not be read; nil after a batch in which all was
}

// scratch is the memory of one Take.
type scratch struct {
	entries []spool.Entry
	head    wire.Head
}

// newIntake routes nothing until it has a routing.
func newIntake(s *spool.Spool, log *slog.Logger) *intake {
	in := &intake{spool: s, log: log, counts: map[string]*deviceCount{}}
	in.spare.New = func() any { return &scratch{} }
	return in
}

// countOf is what is counted of a device, which goes on when the device is stopped and started.
func (i *intake) countOf(device string) *deviceCount {
	i.mu.Lock()
	defer i.mu.Unlock()
	c := i.counts[device]
	if c == nil {
		c = &deviceCount{}
		i.counts[device] = c
	}
	return c
}

// moveCount lets what is counted of a device go on under another name.
func (i *intake) moveCount(name, to string) {
	was, is := i.countOf(name), i.countOf(to)
	is.received.Add(was.received.Swap(0))
	is.held.Add(was.held.Swap(0))
	is.last.Store(max(is.last.Load(), was.last.Swap(0)))
	is.rejected.Store(was.rejected.Swap(nil))
	was.refused.Store(nil)
}

// Position is supervise.Intake's.
func (i *intake) Position(device string) []byte {
	p, _ := i.spool.Position(device) // none is the beginning
	return p
}

// Room is supervise.Intake's.
func (i *intake) Room() <-chan struct{} { return i.spool.Room() }

// Term is supervise.Intake's.
func (i *intake) Term() uint64 { return i.spool.Term() }

// Take is supervise.Intake's.
func (i *intake) Take(ctx context.Context, b *supervise.DeviceBatch) {
	count := i.countOf(b.Device)
	n := uint64(len(b.In.Records))
	count.received.Add(n)
	var rejected *string
	answer := func(err error) {
		if err == nil && n > 0 {
			count.rejected.Store(rejected)
			count.last.Store(time.Now().UnixNano())
			count.refused.Store(nil)
		}
		if err != nil {
			i.refused(b.Device, count, err)
		}
		b.Answer(err)
	}
	if err := i.store(ctx, b, answer, &rejected); err != nil {
		answer(reasoned(err))
	}
}

// refused keeps why a batch was not stored, and logs it once until that changes.
func (i *intake) refused(device string, count *deviceCount, err error) {
	text := err.Error()
	if before := count.refused.Swap(&text); before == nil || *before != text {
		i.log.Warn("batch refused", "device", device, "err", err)
	}
}

// store checks and routes the records and hands them to the spool. After a nil error answer is called by the spool.
func (i *intake) store(ctx context.Context, b *supervise.DeviceBatch, answer func(error), rejected **string) error {
	sc, ok := i.spare.Get().(*scratch)
	if !ok {
		return errors.New("take batch: pool gave something else")
	}
	defer i.spare.Put(sc)
	sc.entries = sc.entries[:0]
	by := i.routing.Load()
	if len(b.In.Next) > sdk.MaxPosition {
		return invalid(fmt.Errorf("position of %d bytes, the limit is %d", len(b.In.Next), sdk.MaxPosition))
	}
	for n, body := range b.In.Records {
		if err := wire.Scan(body, &sc.head); err != nil {
			return invalid(fmt.Errorf("record %d of the batch: %w", n, err))
		}
		if err := i.takeBlobs(b.Staging, sc.head.Attachments); err != nil {
			return err
		}
		if string(sc.head.Kind) == sdk.KindReject {
			why, _ := sc.head.Label(sdk.LabelReason)
			text := "an input could not be read (" + why + "): see hostd dead list --rejects"
			*rejected = &text
		}
		sc.entries = append(sc.entries, spool.Entry{Payload: body, Sinks: by.route(b.Device, &sc.head)})
	}
	batch := spool.Batch{Device: b.Device, Records: sc.entries, Position: b.In.Next, HasPosition: len(b.In.Next) > 0, Term: b.Term}
	return i.spool.Append(ctx, batch, func(err error) { answer(reasoned(err)) }) // Rule 18: answered after the fsync
}

// route gives the sinks of a record in the spool's numbers.
func (r *routing) route(device string, h *wire.Head) (to spool.SinkSet) {
	set := r.table.Match(device, h.Kind, h.Label)
	for n, id := range r.sinks {
		if set>>n&1 == 1 {
			to = to.With(id)
		}
	}
	return to
}

// takeBlobs moves attachments from the staging folder into the blob store, before the record that names them is stored.
func (i *intake) takeBlobs(staging string, list []sdk.Attachment) error {
	for _, a := range list {
		if a.Path == "" || filepath.Base(a.Path) != a.Path || a.Path == "." || a.Path == ".." {
			return invalid(errors.New("attachment is not a bare file name of the staging folder"))
		}
		err := i.spool.TakeBlob(filepath.Join(staging, a.Path), a.Hash, a.Size)
		switch {
		case errors.Is(err, spool.ErrBlob):
			return invalid(err)
		case err != nil:
			return err
		}
	}
	return nil
}

// invalid is a batch that breaks the contract: what is wrong with it, in which call, and what to do.
func invalid(err error) error {
	err = fmt.Errorf("the plugin breaks the contract in Read: %w; hostd plugins test shows its author how", err)
	return &supervise.RefusedError{Reason: sdk.ReasonInvalid, Err: err}
}

// reasoned puts an error of the spool into the word that a device is told.
func reasoned(err error) error {
	var done *supervise.RefusedError
	switch {
	case err == nil || errors.As(err, &done):
		return err
	case errors.Is(err, spool.ErrFull), errors.Is(err, spool.ErrCap):
		return &supervise.RefusedError{Reason: sdk.ReasonFull, Err: err}
	case errors.Is(err, spool.ErrClosed), errors.Is(err, context.Canceled):
		return &supervise.RefusedError{Reason: sdk.ReasonStopping, Err: err}
	case errors.Is(err, spool.ErrTooLarge):
		return invalid(err)
	default:
		return &supervise.RefusedError{Reason: sdk.ReasonDisk, Err: err}
	}
}

package spool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Pick chooses records that are still in the log. Its zero value chooses all.
type Pick struct {
	Device   string                                   // name, or the one that it goes on under; empty: every device
	From, To time.Time                                // received at or after From and before To; zero: no bound
	Match    func(device string, payload []byte) bool // nil: every record
}

func (p *Pick) takes(device string, f *frame) bool {
	received := int64(f.a)
	switch {
	case !p.From.IsZero() && received < p.From.UnixNano(),
		!p.To.IsZero() && received >= p.To.UnixNano():
		return false
	}
	return p.Match == nil || p.Match(device, f.payload)
}

// copyBytes bounds what one step of a Replay appends.
const copyBytes = 1 << 20

// Replay puts the chosen records of the log in once more, for one sink alone: they come after what waits for it, oldest
// first, and are delivered, counted and given up like all others. What still waits for the sink is left out, and so are
// copies of an earlier Replay. dry only counts. It works beside everything else; after an error or the end of ctx what
// was put in so far stays, and a sink with receipts takes a second Replay for what it is. ErrFull, ErrCap: no room.
func (s *Spool) Replay(ctx context.Context, sink SinkID, p Pick, dry bool) (n int, err error) {
	cursor, err := s.cursor(sink)
	if err != nil {
		return 0, err
	}
	s.copies.RLock()
	defer s.copies.RUnlock()
	end := s.synced()
	r := &Reader{s: s, id: sink}
	defer r.drop()
	r.want = func(f *frame) bool {
		waits := f.b>>sink&1 == 1 && f.seq > cursor
		return f.seq < end && f.flags&flagCopy == 0 && !waits && (p.Device == "" || s.called(f.num, p.Device)) && p.takes(r.device(f.num), f)
	}
	for {
		l, err := r.TryNext(1000, copyBytes)
		if err != nil {
			if err = errors.Join(err, ctx.Err()); ctx.Err() == nil && r.fails < maxFails {
				continue
			}
			return n, fmt.Errorf("replay: %w", err)
		}
		if l == nil {
			return n, nil
		}
		n += len(l.Records)
		if !dry {
			err = s.putCopies(ctx, l.Records, sink)
		}
		l.Release()
		if err = errors.Join(err, ctx.Err()); err != nil {
			return n, fmt.Errorf("replay: %w", err)
		}
	}
}

// synced is the number after the last record on the disk.
func (s *Spool) synced() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.next
}

// putCopies appends records of one or more devices for one sink, and waits until they are on the disk.
func (s *Spool) putCopies(ctx context.Context, refs []Ref, sink SinkID) error {
	for len(refs) > 0 {
		b := Batch{Device: refs[0].Device}
		for _, r := range refs {
			if r.Device != b.Device {
				break
			}
			b.Records = append(b.Records, Entry{Payload: r.Payload, Sinks: SinkSet(0).With(sink), received: max(r.Received, 1)})
		}
		refs = refs[len(b.Records):]
		done := make(chan error, 1)
		if err := s.Append(ctx, b, func(err error) { done <- err }); err != nil {
			return err
		}
		if err := <-done; err != nil { // not ctx: the payloads are in use until then
			return err
		}
	}
	return nil
}

package spool

import (
	"context"
	"fmt"
	"iter"
)

// Hold keeps records back from the sink, with reason, and returns when they are on the disk; the caller settles them
// afterwards, as dead letters. They are letters of a class of their own: kept, whatever becomes of their segments, until
// Release puts them in once more, Replace says that another record took their place, or Drop gives them up. Errors are those
// of Dead; a record that is kept already is not kept twice.
func (s *Spool) Hold(ctx context.Context, sink SinkID, refs []Ref, reason string) error {
	return s.keepLetters(ctx, sink, refs, DeadLetter{Reason: reason, Held: true})
}

// Held goes through the records that are held back from the sink (empty: any sink), as DeadLetters does.
func (s *Spool) Held(sink string) iter.Seq2[*DeadLetter, error] { return s.letters(sink, true) }

// Release puts everything that is held back from the sink in once more for it, in the order in which it was held. After an
// error the rest is still held, and the call may be repeated. ErrFull, ErrCap: no room.
func (s *Spool) Release(ctx context.Context, sink SinkID) (n int, err error) {
	name, err := s.sinkName(sink)
	if err != nil || s.dead.counts()[name].held == 0 {
		return 0, err
	}
	s.copies.RLock()
	defer s.copies.RUnlock()
	var list []*DeadLetter
	size := 0
	for l, err := range s.letters(name, true) {
		if err != nil {
			return n, fmt.Errorf("release held records: %w", err)
		}
		if list, size = append(list, l), size+len(l.Payload); size < copyBytes {
			continue
		}
		if err := s.putAgain(ctx, sink, list); err != nil {
			return n, err
		}
		n, list, size = n+len(list), nil, 0
	}
	if err := s.putAgain(ctx, sink, list); err != nil {
		return n, err
	}
	return n + len(list), nil
}

// putAgain appends the letters' records once more, and closes the letters.
func (s *Spool) putAgain(ctx context.Context, sink SinkID, list []*DeadLetter) error {
	refs := make([]Ref, len(list))
	for i, l := range list {
		refs[i] = Ref{Device: l.Device, Received: l.Received.UnixNano(), Payload: l.Payload}
	}
	err := s.putCopies(ctx, refs, sink)
	if err == nil {
		err = s.dead.closeLetters(sink, list, StateRequeued, "") // Rule 18: the copies are on the disk
	}
	if err != nil {
		return fmt.Errorf("release held records: %w", err)
	}
	return nil
}

// Replace closes the held records of the sink that is chooses: another record, which the sink has, took their place.
func (s *Spool) Replace(sink SinkID, is func(*DeadLetter) bool) error {
	name, err := s.sinkName(sink)
	if err != nil || s.dead.counts()[name].held == 0 {
		return err
	}
	var list []*DeadLetter
	for l, err := range s.letters(name, true) {
		if err != nil {
			return fmt.Errorf("replace held records: %w", err)
		}
		if is(l) {
			list = append(list, l)
		}
	}
	return s.evenFull(func() error { return s.dead.closeLetters(sink, list, StateReplaced, "") })
}

// Undisturbed runs do while no sweep of attachments begins: what do finds in the spool and appends once more keeps its
// attachments. do must not call what puts records in again.
func (s *Spool) Undisturbed(do func() error) error {
	s.copies.RLock()
	defer s.copies.RUnlock()
	return do()
}

// letterCount counts the open letters of a sink.
type letterCount struct {
	dead, held uint64
	since      int64 // unix ns: when the oldest held record was received
}

func (d *deadLog) counts() map[string]letterCount {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[string]letterCount{}
	for sink, n := range d.count {
		all[sink] = letterCount{dead: n}
	}
	for k, received := range d.held {
		c := all[k.sink]
		if c.held == 0 || received < c.since {
			c.since = received
		}
		c.dead, c.held = c.dead-1, c.held+1
		all[k.sink] = c
	}
	return all
}

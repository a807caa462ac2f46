package spool

import (
	"context"
	"fmt"
	"iter"
)

// DeadLetters goes through the sink's open dead letters, oldest first, as they are at the call; an empty name means those
// of all sinks. A file that cannot be read gives an error, and the next one follows. Called by commands of an operator.
func (s *Spool) DeadLetters(sink string) iter.Seq2[*DeadLetter, error] { return s.letters(sink, false) }

// letters are those at which an operator looks, and then what went with them goes: Windows deletes no file that is being read.
func (s *Spool) letters(sink string, held bool) iter.Seq2[*DeadLetter, error] {
	return func(yield func(*DeadLetter, error) bool) {
		s.openLetters(sink, held)(yield)
		s.dead.tidy()
	}
}

func (s *Spool) openLetters(sink string, held bool) iter.Seq2[*DeadLetter, error] {
	return func(yield func(*DeadLetter, error) bool) {
		for _, f := range s.dead.list() {
			more := true
			_, err := s.dead.scan(f, func(fr *frame) bool {
				if l, ok := decodeDead(fr); ok && l.Held == held && (sink == "" || l.Sink == sink) && !s.dead.isDone(l.key()) {
					l.file = f.name
					more = yield(l, nil)
				}
				return more
			})
			if err != nil && more {
				more = yield(nil, fmt.Errorf("read dead letters: %w", err))
			}
			if !more {
				return
			}
		}
	}
}

// Requeue puts the record of a dead letter in once more for its sink, and closes the letter when that is on the disk. The
// letter comes from DeadLetters; one that was closed meanwhile is left alone. ErrUnknownSink: its sink is not registered.
func (s *Spool) Requeue(ctx context.Context, l *DeadLetter) error {
	id, ok := s.sinkID(l.Sink)
	if !ok {
		return fmt.Errorf("requeue dead letter: %w", ErrUnknownSink)
	}
	s.copies.RLock()
	defer s.copies.RUnlock()
	if s.dead.isDone(l.key()) {
		return nil
	}
	ref := Ref{Device: l.Device, Received: l.Received.UnixNano(), Payload: l.Payload}
	if err := s.putCopies(ctx, []Ref{ref}, id); err != nil {
		return fmt.Errorf("requeue dead letter: %w", err)
	}
	return s.dead.closeLetters(id, []*DeadLetter{l}, StateRequeued, "") // Rule 18: the copy is on the disk
}

// Drop closes a dead letter for good, with the operator's reason. Its bytes go when no letter in its file is open.
func (s *Spool) Drop(l *DeadLetter, why string) error {
	id, _ := s.sinkID(l.Sink) // a sink that is gone has letters, too
	return s.dead.closeLetters(id, []*DeadLetter{l}, StateDropped, why)
}

func (s *Spool) sinkID(name string) (SinkID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.sinks {
		if s.sinks[i].name == name {
			return SinkID(i), true
		}
	}
	return 0, false
}

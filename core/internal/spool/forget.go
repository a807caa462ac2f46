package spool

import (
	"context"
	"fmt"
)

// forgottenName is the name of every sink that was forgotten. Its number is not given again: records in the log carry it.
const forgottenName = "(forgotten)"

// ForgetSink lets go of the sink with that name and returns how many records waited for it, when that is on the disk: they
// are settled and delivered to nobody, and hold no segment any more. Its dead letters stay, to be looked at or dropped. A
// sink of the same name that is registered later is a new one. ErrUnknownSink: there is none. Nobody may read for the sink
// meanwhile. The end of ctx leaves it open whether it will be forgotten after a crash.
func (s *Spool) ForgetSink(ctx context.Context, name string) (waited int, err error) {
	done := make(chan error, 1)
	waited, err = s.forgetSink(name, func(err error) { done <- err })
	if err != nil {
		return 0, fmt.Errorf("forget sink %s: %w", name, err)
	}
	select {
	case err := <-done:
		return waited, err
	case <-ctx.Done():
		return waited, ctx.Err()
	}
}

func (s *Spool) forgetSink(name string, done func(error)) (waited int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0, ErrClosed
	}
	for i := range s.sinks {
		if k := &s.sinks[i]; k.name == name && name != forgottenName {
			st := s.sinkStats(SinkID(i), letterCount{})
			k.name, k.cursor, k.lost = forgottenName, s.next-1, k.lost+st.Backlog
			s.joined(s.gather, done)
			return int(st.Backlog), nil
		}
	}
	return 0, ErrUnknownSink
}

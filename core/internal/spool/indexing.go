package spool

import (
	"context"
	"path/filepath"
	"slices"
	"time"
)

// places are the segments as they are now, oldest first. The newest one is not full.
func (s *Spool) places() []place {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]place, len(s.segments))
	for i := range s.segments {
		list[i] = s.place(i)
	}
	return list
}

// place is called with mu held.
func (s *Spool) place(i int) place {
	seg := s.segments[i]
	p := place{segment: seg, end: seg.end, full: i < len(s.segments)-1}
	if i > 0 {
		p.most = int64(min(uint64(seg.end/headerSize), seg.last-s.segments[i-1].last))
	}
	return p
}

// restFactor is how much longer the making of index files rests than it works: intake shares the processors with it.
const restFactor = 24

// keepIndexes gives every full segment its index file, the newest first, beside the writing. It takes a 25th of one
// processor at most, also for an old spool without index files; what it has not come to is made by Find.
func (s *Spool) keepIndexes(ctx context.Context) error {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-rest.C:
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		if s.indexOne(ctx) {
			rest.Reset(restFactor * time.Since(began))
			continue
		}
		select {
		case <-s.filled:
			rest.Reset(0)
		case <-ctx.Done():
			return nil
		}
	}
}

// indexOne makes the index file of one segment that was not looked at before; false means that there is none.
func (s *Spool) indexOne(ctx context.Context) bool {
	p, ok := s.unindexed()
	if !ok {
		return false
	}
	if !s.index.whole(p) {
		if _, err := s.index.make(ctx, p, new([]byte), func(*tableHead) bool { return false }); err != nil && ctx.Err() == nil {
			s.log.Debug("index of a segment not made", "segment", p.name, "err", err)
		}
	}
	return true
}

// unindexed returns the newest full segment that was not looked at, and takes it as looked at.
func (s *Spool) unindexed() (place, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.segments) - 2; i >= 0; i-- {
		if seg := s.segments[i]; !seg.indexed {
			seg.indexed = true
			return s.place(i), true
		}
	}
	return place{}, false
}

// hasSegment says whether the segment is still there.
func (s *Spool) hasSegment(seg *segment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.segments, seg)
}

// dropStrays deletes index files whose segments are gone.
func (s *Spool) dropStrays() {
	there := map[string]bool{}
	for _, seg := range s.segments {
		there[indexName(seg.name)] = true
	}
	for _, name := range s.strays {
		if there[name] {
			continue
		}
		if err := s.disk.Remove(filepath.Join(s.dir, name)); err != nil {
			s.log.Debug("index without a segment not deleted", "file", name, "err", err)
		}
	}
	s.strays = nil
}

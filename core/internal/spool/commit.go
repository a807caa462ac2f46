package spool

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// segment is one file of the log.
type segment struct {
	num  uint32
	salt uint32
	name string // base name
	made int64  // unix ns; about the time of its first record

	aead cipher.AEAD // of a sealed segment; nil for others

	indexed bool // guarded by Spool.mu: its index file was looked at

	whole int64 // bytes of the file: the log, and zeros behind it; set by Open, and then of Run's goroutine

	end  int64  // guarded by Spool.mu: bytes that are the log; all of them synced
	last uint64 // guarded by Spool.mu: no record in it has a higher seq
}

// commit writes the group that gathers and tells everybody in it. force writes it even when it is empty.
func (s *Spool) commit(force bool) error {
	g := s.take(s.spare)
	defer func() {
		g.reset(s.opt.GroupSize)
		s.spare = g
	}()
	if len(g.buf) == 0 && len(g.dones) == 0 && !force {
		return nil
	}
	err := s.write(g)
	var behind []func(error)
	if err == nil {
		s.publish(g)
	} else {
		s.log.Error("group not written", "err", err, "batches", len(g.dones))
		behind = s.endTerm()
	}
	for _, done := range g.dones {
		done(err) // Rule 18: write has synced, or err says that it has not
	}
	for _, done := range behind {
		done(fmt.Errorf("write group: %w", ErrTerm))
	}
	switch {
	case err == nil:
		s.prune()
	case isFull(err) && s.spend():
		s.prune()                                // what is only kept for a replay makes room first
		return errors.Join(err, s.commit(false)) // what is left to write are the cursors
	}
	return err
}

// endTerm drops what gathered behind a group that was not written, since it may rest on it, and returns who waits for it.
func (s *Spool) endTerm() []func(error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.term++
	g := s.gather
	behind := g.dones
	g.buf, g.plain, g.dones, g.by, g.sealed = g.buf[:0], nil, nil, nil, 0
	if g.full != nil {
		close(g.full)
		g.full = nil
	}
	return behind
}

// write puts the group on the disk and syncs it. A segment that failed is given up at its last synced byte, and the
// group goes to a new one, once; a full disk is left as it was.
func (s *Spool) write(g *group) error {
	var err error
	body := len(g.buf)
	for range 2 {
		g.buf = g.buf[:body]
		var seg *segment
		if seg, err = s.room(int64(body)); err != nil {
			if isFull(err) {
				return err
			}
			continue
		}
		if err = g.finish(seg, s.sealer); err != nil {
			return err
		}
		if err = s.put(seg, g); err == nil || isFull(err) {
			return err
		}
	}
	return err
}

// finish makes the group what it is in the segment: sealed where the segment is, with checksums and trailer. A group that
// was sealed for another segment is sealed anew, with the key of this one.
func (g *group) finish(seg *segment, by *sealer) (err error) {
	if g.by != nil && g.by != by {
		err = g.by.undo(g.buf[:g.sealed])
		g.by, g.sealed = nil, 0
	}
	g.sealBy(by)
	g.buf = seal(g.buf, seg.salt, g.next)
	return err
}

// put writes the group at the end of the segment and syncs it.
func (s *Spool) put(seg *segment, g *group) error {
	buf := s.withRoom(seg, g)
	whole, err := s.writeAtEnd(seg, buf)
	if whole && len(buf) > len(g.buf) {
		whole, err = s.writeAtEnd(seg, g.buf) // the disk has no space for zeros
	}
	if err != nil {
		if !whole {
			s.abandon(seg)
		}
		return diskError("write group", err)
	}
	if err := s.cur.Sync(); err != nil {
		s.abandon(seg)
		return diskError("sync group", err)
	}
	return nil
}

// writeAtEnd writes buf behind the log. whole says of an error that the disk is full and the file as it was: it goes on when there is
// space.
func (s *Spool) writeAtEnd(seg *segment, buf []byte) (whole bool, err error) {
	seg.whole = max(seg.whole, seg.end+int64(len(buf)))
	if _, err = s.cur.WriteAt(buf, seg.end); isFull(err) && s.disk.Truncate(s.path(seg), seg.end) == nil {
		seg.whole, whole = seg.end, true
	}
	return whole, err
}

// abandon seals the newest segment at its last synced byte. It is never synced again: the kernel may have dropped
// what could not be written, and would say that all is well.
func (s *Spool) abandon(seg *segment) {
	err := s.closeNewest()
	s.log.Warn("segment given up after a failed write", "segment", seg.name, "bytes", seg.end, "err", err)
}

// A small group that makes the file grow takes zeros with it, up to a multiple of roomStep. The sync of a group that is written over
// zeros has no block to give, no size to change and no extent to convert, which is about half of its time on ext4. The price are the
// zeros; large groups have none, since their bytes are what costs.
const (
	roomStep   = 256 << 10
	smallGroup = roomStep / 16
)

// withRoom is what is written of the group: with zeros behind it where a small one makes the file grow.
func (s *Spool) withRoom(seg *segment, g *group) []byte {
	step := min(roomStep, s.segmentSize()/4)
	end := seg.end + int64(len(g.buf))
	if end <= seg.whole || len(g.buf) > smallGroup || step == 0 || s.isLow() {
		return g.buf
	}
	zeros := int((step - end%step) % step)
	g.buf = slices.Grow(g.buf, zeros)
	buf := g.buf[:len(g.buf)+zeros]
	clear(buf[len(g.buf):])
	return buf
}

func (s *Spool) path(seg *segment) string { return filepath.Join(s.dir, seg.name) }

// room returns the segment that takes n more bytes, a new one where the newest is full or given up.
func (s *Spool) room(n int64) (*segment, error) {
	if s.cur != nil {
		if seg := s.newest(); seg.end+n <= s.segmentSize() && !s.vanished(seg) {
			return seg, nil
		}
		if err := s.closeNewest(); err != nil {
			s.log.Warn("segment not closed", "err", err)
		}
	}
	return s.roll()
}

// lookEvery is how often the newest segment is looked for under its name.
const lookEvery = time.Second

// vanished says that somebody has deleted the newest segment: what is written to it would be gone with its closing.
func (s *Spool) vanished(seg *segment) bool {
	now := time.Now()
	if now.Sub(s.looked) < lookEvery {
		return false
	}
	s.looked = now
	_, err := s.disk.dirs.Size(s.path(seg))
	if !errors.Is(err, os.ErrNotExist) {
		return false
	}
	s.log.Error("a file of the spool was deleted while hostd runs: the records in it that no sink has yet are lost; keep other programs, antivirus too, away from data_dir", "segment", seg.name)
	return true
}

func (s *Spool) segmentSize() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt.SegmentSize
}

func (s *Spool) newest() *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return nil
	}
	return s.segments[len(s.segments)-1]
}

// roll makes a new segment with its snapshot, synced together with its directory entry.
func (s *Spool) roll() (*segment, error) {
	var salt [4]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, err
	}
	s.top++
	seg := &segment{num: s.top, salt: binary.LittleEndian.Uint32(salt[:]), made: time.Now().UnixNano()}
	seg.name = segmentName(seg.num, seg.salt)
	f, err := s.disk.Open(s.path(seg), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, diskError("make segment", err)
	}
	head, err := s.head(seg)
	if err == nil {
		_, err = f.WriteAt(head, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.disk.dirs.Sync(s.dir)
	}
	if err != nil {
		err = errors.Join(err, f.Close(), s.disk.Remove(s.path(seg)))
		return nil, diskError("make segment", err)
	}
	seg.end, seg.whole = int64(len(head)), int64(len(head))
	s.cur = f
	s.adopt(seg)
	select {
	case s.filled <- struct{}{}:
	default:
	}
	return seg, nil
}

// head is the first group of a segment: its key where it is sealed, and the state of the log before it, twice.
func (s *Spool) head(seg *segment) (head []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := header{kind: kindSnapshot, seq: s.state.next, a: uint64(seg.made)}
	if n := len(s.segments); n > 0 {
		h.num, h.b = s.segments[n-1].num, uint64(s.segments[n-1].end)
	}
	payload := s.state.encode()
	buf := appendFrame(appendFrame(nil, h, payload), h, payload)
	if s.sealer = nil; s.opt.Seal {
		if s.sealer, head, err = newSealer(s.opt.Key, seg.salt); err != nil {
			return nil, err
		}
		seg.aead = s.sealer.aead
		buf = s.sealer.all(head, buf)
	}
	return seal(buf, seg.salt, s.state.next), nil
}

func (s *Spool) adopt(seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg.last = s.state.next - 1
	s.bytes += seg.end
	s.segments = append(s.segments, seg)
}

// publish makes the synced group part of the state and wakes the readers it concerns.
func (s *Spool) publish(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := s.segments[len(s.segments)-1]
	start := seg.end
	var before [maxSinks]sinkState
	copy(before[:], s.state.sinks)
	first := s.state.next
	g.each(func(h header, payload []byte) { s.state.apply(h, payload, true) })
	s.state.next = max(s.state.next, g.next)
	seg.end += int64(len(g.buf))
	s.bytes += int64(len(g.buf))
	seg.last = s.state.next - 1
	for i := range s.state.sinks {
		if k := &s.state.sinks[i]; k.last != before[i].last {
			s.arrived(i, &before[i], first)
			s.notify(i, seg, start)
		}
	}
}

// arrived moves the cursor of a sink that waited for nothing up to the group with its new records, so that it does not
// hold the segments in between. What was appended for it before and never settled was lost.
func (s *Spool) arrived(i int, before *sinkState, first uint64) {
	if live := &s.sinks[i]; live.cursor >= before.last {
		live.cursor = max(live.cursor, first-1)
		live.lost = before.appended - live.settled
	}
}

// notify wakes the readers of sink i, for whom there is nothing before start.
func (s *Spool) notify(i int, seg *segment, start int64) {
	for _, w := range s.waiters[i] {
		w.seg, w.off = seg, start
		close(w.ready)
	}
	s.waiters[i] = s.waiters[i][:0]
}

// prune deletes segments that no sink needs. The two newest stay, so that a damaged head leaves one to begin from.
func (s *Spool) prune() {
	if !s.deleting.TryLock() {
		return // a sweep reads them: another time
	}
	defer s.deleting.Unlock()
	for {
		seg := s.needless(time.Now())
		if seg == nil {
			return
		}
		// Rule 18: the cursors that free the segment are on the disk, needless looks at nothing else.
		if err := s.disk.Remove(s.path(seg)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.log.Debug("segment not deleted yet", "segment", seg.name, "err", err)
			return
		}
		s.dropOldest()
		s.index.drop(seg)
	}
}

// needless returns the oldest segment if everything in it is settled, durably, and old enough.
func (s *Spool) needless(now time.Time) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) < 3 {
		return nil
	}
	seg := s.segments[0]
	for i := range s.state.sinks {
		if k := &s.state.sinks[i]; !k.idle() && k.cursor < seg.last {
			return nil
		}
	}
	young := s.opt.Keep > 0 && now.Sub(unixTime(s.segments[1].made)) < s.opt.Keep
	if young && s.full == nil && (s.opt.KeepSize <= 0 || s.bytes+s.dead.size.Load() <= s.opt.KeepSize) {
		return nil
	}
	return seg
}

func (s *Spool) dropOldest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= s.segments[0].end
	s.segments = append([]*segment(nil), s.segments[1:]...)
}

// segmentName carries what is needed to check the segment's first byte.
func segmentName(num, salt uint32) string { return fmt.Sprintf("%010d-%08x.seg", num, salt) }

// parseSegmentName reads back segmentName; false for any other file.
func parseSegmentName(name string) (num, salt uint32, ok bool) {
	if n, err := fmt.Sscanf(name, "%010d-%08x.seg", &num, &salt); err != nil || n != 2 {
		return 0, 0, false
	}
	return num, salt, name == segmentName(num, salt)
}

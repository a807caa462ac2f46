package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// found is a segment as it lies in the folder.
type found struct {
	*segment
	size    int64  // bytes of the file but for zeros at its end: where the log can end
	snap    *state // nil where its head is damaged
	prev    uint32 // number of the segment before it in the log
	prevEnd int64  // bytes of that one that are the log
}

// recover reads the newest state and what follows it, and fills in the Spool.
func (s *Spool) recover() error {
	if err := s.syncDirs(); err != nil {
		return err
	}
	if err := s.bad.open(filepath.Join(s.dir, quarantineDir), s.disk, s.log); err != nil {
		return err
	}
	chain, unsynced, err := s.survey()
	if err != nil {
		return err
	}
	for _, f := range unsynced {
		s.log.Info("segment that was never synced deleted", "segment", f.name, "err", s.disk.Remove(s.path(f.segment)))
	}
	if err := s.link(chain); err != nil {
		return err
	}
	if err := s.replayAll(chain); err != nil {
		return err
	}
	for _, f := range chain {
		s.segments = append(s.segments, f.segment)
		s.bytes += f.end
	}
	s.next = s.state.next
	for i := range s.state.sinks {
		k := &s.state.sinks[i]
		s.sinks = append(s.sinks, liveSink{name: k.name, cursor: k.cursor, settled: k.settled, died: k.died, lost: k.lost})
	}
	for i := range s.state.devices {
		s.devices = append(s.devices, s.state.devices[i].name)
		if _, gone := heirOf(s.state.devices, uint32(i)); !gone && s.devices[i] != "" {
			s.byName[s.devices[i]] = uint32(i)
		}
	}
	if err := s.dead.open(s); err != nil {
		return err
	}
	return s.dead.sync()
}

// syncDirs makes the folders themselves durable.
func (s *Spool) syncDirs() error {
	for _, d := range []string{filepath.Dir(filepath.Clean(s.dir)), s.dir, filepath.Dir(filepath.Clean(s.opt.Blobs))} {
		if err := s.disk.dirs.Sync(d); err != nil {
			return diskError("sync folder", err)
		}
	}
	return nil
}

// sync makes durable what Open has read: a letter that a killed process wrote and did not sync is in the page cache, and is not
// kept again; an attachment is swept when a mark there closes its letter.
func (d *deadLog) sync() error {
	for _, file := range d.files {
		f, err := d.disk.Open(filepath.Join(d.dir, file.name), os.O_RDWR)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return diskError("sync dead letters", err)
		}
	}
	return nil
}

// list returns the segments that form the log, oldest first, each with its head.
func (s *Spool) list() ([]*found, error) {
	chain, _, err := s.survey()
	return chain, err
}

// survey finds the segments that form the log, oldest first, and those that do not: what they held was never synced.
func (s *Spool) survey() (chain, unsynced []*found, err error) {
	all, err := s.heads()
	if err != nil {
		return nil, nil, err
	}
	for _, f := range slices.Backward(all) {
		out := false
		if len(chain) == 0 {
			out, err = s.headTorn(f)
		} else if after := chain[len(chain)-1]; after.snap != nil {
			out = f.num > after.prev // its successor does not name it
		}
		switch {
		case err != nil:
			return nil, nil, err
		case out:
			unsynced = append(unsynced, f)
		default:
			chain = append(chain, f)
		}
	}
	slices.Reverse(chain)
	return chain, unsynced, nil
}

// heads reads the heads of all segments of the folder, by number.
func (s *Spool) heads() ([]*found, error) {
	infos, err := s.disk.dirs.List(s.dir)
	if err != nil {
		return nil, err
	}
	var all []*found
	for _, info := range infos {
		num, salt, ok := parseSegmentName(info.Name())
		if !ok {
			if strings.HasSuffix(info.Name(), indexSuffix) {
				s.strays = append(s.strays, info.Name())
			}
			continue
		}
		f := &found{segment: &segment{num: num, salt: salt, name: info.Name(), whole: info.Size()}}
		if err := s.inspect(f); err != nil {
			return nil, err
		}
		s.top = max(s.top, num)
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b *found) int { return int(int64(a.num) - int64(b.num)) })
	return all, nil
}

// headTorn says whether a segment holds a torn head and nothing else that can be read. Nothing was written behind a head that was
// not synced: the segment before is still the end of the log.
func (s *Spool) headTorn(f *found) (bool, error) {
	if f.snap != nil {
		return false, nil
	}
	src, err := s.disk.Open(s.path(f.segment), os.O_RDONLY)
	if err != nil {
		return false, fmt.Errorf("open segment: %w", err)
	}
	var bad []span
	c := s.scanner(f, src)
	c.bad = func(b span) { bad = append(bad, b) }
	for {
		fr, ok, err := c.next()
		if err != nil || ok && fr.kind != kindKey && (fr.kind != kindTrailer || c.off < f.end) {
			return false, errors.Join(err, src.Close())
		}
		if !ok {
			break
		}
	}
	unsynced := !c.unread && (c.short || c.torn(span{0, f.end}, bad))
	return unsynced, src.Close()
}

// inspect reads the head of the segment, and finds where the log can end in it. A head that cannot be read is damage, not an error.
func (s *Spool) inspect(f *found) error {
	src, err := s.disk.Open(s.path(f.segment), os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	f.size = logEnd(src, f.salt, f.whole)
	f.end = f.size
	c := scanner{src: src, salt: f.salt, end: f.size, stubborn: true, master: s.opt.Key}
	for {
		fr, ok, err := c.next()
		if errors.Is(err, ErrKey) {
			return errors.Join(err, src.Close())
		}
		if f.aead = c.aead; ok && err == nil && fr.kind == kindKey {
			continue
		}
		if err != nil || !ok || fr.kind != kindSnapshot {
			break
		}
		if snap, ok := decodeState(fr.seq, fr.payload); ok {
			f.snap, f.made, f.prev, f.prevEnd = snap, int64(fr.a), fr.num, int64(fr.b)
			break
		}
	}
	s.unsure = s.unsure || c.unread
	return src.Close()
}

// link finds the ends of all segments of the chain but the newest: the next one names it. Where that is gone, nobody does.
func (s *Spool) link(chain []*found) error {
	for i := len(chain) - 2; i >= 0; i-- {
		f, after := chain[i], chain[i+1]
		f.last = after.last
		if after.snap == nil {
			continue
		}
		f.last = after.snap.next - 1
		if f.num == after.prev {
			f.end = min(f.whole, after.prevEnd) // zeros before it are damage
			continue
		}
		s.state = &state{} // what stands before a newer snapshot does not count
		if err := s.replay(f, true); err != nil {
			return err
		}
	}
	return nil
}

// replayAll takes the newest snapshot and adds the frames behind it.
func (s *Spool) replayAll(chain []*found) error {
	s.state = &state{next: 1}
	base, headless := 0, s.top > 0
	for i, f := range chain {
		if f.snap != nil {
			s.state, base, headless = f.snap, i, false
		}
	}
	for i := base; i < len(chain); i++ {
		f := chain[i]
		newest := i == len(chain)-1
		if err := s.replay(f, newest); err != nil {
			return err
		}
		f.last = max(f.last, s.state.next-1)
	}
	s.doubt(chain, headless)
	for i := len(chain) - 2; i >= 0; i-- {
		if chain[i+1].snap == nil {
			chain[i].last = max(chain[i].last, chain[i+1].last)
		}
	}
	return nil
}

// doubt is for a log that could not be read everywhere: its numbers are not given again, and every sink is taken to have
// something waiting, so that the readers look for themselves. Without any snapshot the numbers go on from the clock, far
// above any count of records.
func (s *Spool) doubt(chain []*found, headless bool) {
	if s.unsure = s.unsure || headless; !s.unsure {
		return
	}
	for _, f := range chain {
		s.state.next += uint64(f.whole / headerSize)
	}
	if headless {
		s.state.next = max(s.state.next, uint64(time.Now().UnixMicro()))
	}
	for _, f := range chain {
		f.last = max(f.last, s.state.next-1)
	}
	for i := range s.state.sinks {
		s.state.sinks[i].last = s.state.next - 1
	}
}

// replay adds the frames of one segment to the state and, for the newest, finds its end.
func (s *Spool) replay(f *found, newest bool) error {
	src, err := s.disk.Open(s.path(f.segment), os.O_RDWR)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	r := &replaying{s: s, f: f, src: src, last: newest, again: s.scanner(f, src)}
	if newest && f.size > 0 {
		// What a killed process wrote and did not sync is in the page cache: only now it may be relied on.
		if err := src.Sync(); err != nil {
			return errors.Join(diskError("sync segment", err), src.Close())
		}
	}
	if err = r.run(); err != nil || r.again.unread {
		s.log.Error("segment not readable everywhere", "segment", f.name, "err", err)
		s.unsure = true
	}
	return src.Close()
}

// scanner reads a segment from its start, whatever it takes.
func (s *Spool) scanner(f *found, src file) scanner {
	return scanner{src: src, salt: f.salt, end: f.end, stubborn: true, master: s.opt.Key, aead: f.aead}
}

// replaying is the reading of one segment, group by group.
type replaying struct {
	s     *Spool
	f     *found
	src   file
	last  bool
	again scanner // second look at a group whose end is known
	bad   []span  // in the group at start
	start int64   // of the group
	sum   uint32  // CRC-32C of the group so far
	top   uint64  // highest seq met
}

func (r *replaying) run() error {
	c := r.s.scanner(r.f, r.src)
	c.bad = func(b span) { r.bad = append(r.bad, b) }
	for {
		fr, ok, err := c.next()
		r.again.unread = r.again.unread || c.unread
		switch {
		case err != nil:
			return err
		case !ok:
			return r.tail(&c)
		case fr.kind == kindRecord:
			r.top = max(r.top, fr.seq)
		}
		if fr.kind != kindTrailer {
			r.sum = crc32.Update(r.sum, castagnoli, fr.raw)
			continue
		}
		if c.off == r.f.end && len(r.bad) > 0 && r.torn(&c) {
			r.top = max(r.top, fr.seq-min(fr.seq, 1))
			r.cut()
			return nil
		}
		whole := len(r.bad) == 0 && fr.a == uint64(fr.off-r.start) && fr.b == uint64(r.sum)
		if err := r.group(c.off, whole); err != nil {
			return err
		}
	}
}

// tail decides on the bytes behind the last trailer: torn, or a group that is all there, and whose trailer is damaged.
func (r *replaying) tail(c *scanner) error {
	switch {
	case r.start == r.f.end:
		return nil
	case r.torn(c):
		r.cut()
		return nil
	}
	return r.group(r.f.end, false)
}

// group applies the frames from start to end. Of a damaged group every good record counts: it was acknowledged.
func (r *replaying) group(end int64, whole bool) error {
	for _, b := range r.bad {
		r.s.bad.take(r.src, r.f.name, b)
	}
	r.again.off = r.start
	for r.again.off < end {
		fr, ok, err := r.again.next()
		if err != nil || !ok {
			return err
		}
		r.s.state.apply(fr.header, fr.payload, whole)
	}
	r.start, r.sum, r.bad = end, 0, r.bad[:0]
	return nil
}

// cut leaves out the bytes from start to end: a group that the end of power or of the process cut off.
func (r *replaying) cut() {
	r.s.bad.cut(r.f.name, span{r.start, r.f.end})
	r.f.end = r.start
	r.s.state.next = max(r.s.state.next, r.top+1) // numbers that stand behind the end never come again
}

// torn says whether the group from start to end was never on the disk whole. Only the last one of the newest segment can
// be so, and what cannot be read now may be read later.
func (r *replaying) torn(c *scanner) bool {
	return r.last && !r.again.unread && (c.short || c.torn(span{r.start, r.f.end}, r.bad))
}

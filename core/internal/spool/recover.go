package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// sector is the smallest piece that a disk writes whole.
const sector = 512

// found is a segment as it lies in the folder.
type found struct {
	*segment
	size    int64
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
	all, err := s.list()
	if err != nil {
		return err
	}
	chain := s.link(all)
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
		if name := s.state.devices[i].name; name != "" {
			s.byName[name] = uint32(i)
		}
	}
	return s.dead.open(s)
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

// list returns the segments of the folder by number, each with its head.
func (s *Spool) list() ([]*found, error) {
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
		f := &found{segment: &segment{num: num, salt: salt, name: info.Name()}, size: info.Size()}
		f.end = f.size
		if err := s.inspect(f); err != nil {
			return nil, err
		}
		s.top = max(s.top, num)
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b *found) int { return int(int64(a.num) - int64(b.num)) })
	return all, nil
}

// inspect reads the head of the segment. A head that cannot be read is damage, not an error.
func (s *Spool) inspect(f *found) error {
	src, err := s.disk.Open(s.path(f.segment), os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
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

// link returns the segments that form the log, oldest first. A segment that its successor does not name held nothing
// that was acknowledged: it could not be synced.
func (s *Spool) link(all []*found) []*found {
	var chain []*found
	for i := len(all) - 1; i >= 0; i-- {
		f := all[i]
		if len(chain) > 0 {
			after := chain[len(chain)-1]
			if after.snap != nil && f.num > after.prev {
				s.log.Info("segment that was never synced deleted", "segment", f.name, "err", s.disk.Remove(s.path(f.segment)))
				continue
			}
			f.last = after.last
			if after.snap != nil {
				f.last = after.snap.next - 1
			}
			if after.snap != nil && f.num == after.prev {
				f.end = min(f.size, after.prevEnd)
			}
		}
		chain = append(chain, f)
	}
	slices.Reverse(chain)
	return chain
}

// replayAll takes the newest snapshot and adds the frames behind it.
func (s *Spool) replayAll(chain []*found) error {
	s.state = &state{next: 1}
	base, headless := 0, len(chain) > 0
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
		s.state.next += uint64(f.size / headerSize)
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
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if fr.kind == kindRecord {
			r.top = max(r.top, fr.seq)
		}
		if fr.kind != kindTrailer {
			r.sum = crc32.Update(r.sum, castagnoli, fr.raw)
			continue
		}
		whole := len(r.bad) == 0 && fr.a == uint64(fr.off-r.start) && fr.b == uint64(r.sum)
		if err := r.group(c.off, whole); err != nil {
			return err
		}
	}
	if r.start == r.f.end {
		return nil
	}
	return r.tail(c.short)
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

// tail decides on the bytes behind the last trailer. In the newest segment they are a group that the end of power or of
// the process cut off, unless they are all there and only damaged.
func (r *replaying) tail(short bool) error {
	if !r.torn(short) {
		return r.group(r.f.end, false)
	}
	r.s.bad.cut(r.f.name, span{r.start, r.f.end})
	r.f.end = r.start
	r.s.state.next = max(r.s.state.next, r.top+1) // numbers that stand behind the end never come again
	return nil
}

// torn says whether the last group was never written whole: its end is missing, or a piece that reads as zeros, as a
// sector does that never reached the disk.
func (r *replaying) torn(short bool) bool {
	if !r.last || r.again.unread { // what cannot be read now may be read later
		return false
	}
	if short || len(r.bad) == 0 {
		return true
	}
	var buf, zeros [sector]byte
	if n, err := r.src.ReadAt(buf[:8], max(r.f.end-8, 0)); n == 8 && err == nil && bytes.Equal(buf[:8], zeros[:8]) {
		return true // no trailer ends so
	}
	for _, b := range r.bad {
		for at := b.from / sector * sector; at < b.to; at += sector {
			from, to := max(at, r.start), min(at+sector, r.f.end)
			piece := buf[:to-from]
			n, err := r.src.ReadAt(piece, from)
			if n == len(piece) && err == nil && bytes.Equal(piece, zeros[:n]) {
				return true
			}
		}
	}
	return false
}

package spool

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Inspection looks at a spool's files without changing anything, also while a host writes them: what is written after
// Inspect may be seen or not. It is used by one goroutine at a time.
type Inspection struct {
	s     *Spool
	files []*found

	beside bool   // a host runs: what it has not published may be in writing
	newest string // its newest file
	synced int64  // bytes of it that it has published
}

// SegmentReport is what Verify says of one file.
type SegmentReport struct {
	Name     string    `json:"name"`
	Bytes    int64     `json:"bytes"` // of the file, with the room behind its log
	Records  int       `json:"records"`
	Copies   int       `json:"copies"` // of them, put in once more by a replay
	First    uint64    `json:"first"`  // number of the first record, 0 where there is none
	Last     uint64    `json:"last"`
	From     time.Time `json:"from"` // when the first record was received
	To       time.Time `json:"to"`
	Damaged  int       `json:"damaged"`           // ranges that are no frames, or not what was written
	Unwanted int64     `json:"unwanted"`          // bytes of them
	Damage   []Range   `json:"damage,omitempty"`  // the first of them, at most MaxRanges
	Open     bool      `json:"open"`              // no later file says where the log ends in it
	Tail     int64     `json:"tail"`              // bytes at the end of such a file that are torn, or in the middle of being written
	Missing  bool      `json:"missing,omitempty"` // the next file says that this one was there, and it is not: somebody has deleted it
	Sealed   bool      `json:"sealed"`
}

// Range is a place in a file.
type Range struct {
	Offset int64 `json:"offset"`
	Bytes  int64 `json:"bytes"`
}

// MaxRanges is how many places of damage a SegmentReport names; all are counted.
const MaxRanges = 100

// inspectTries is how often the folder is listed anew when a file of the list has been deleted before it was opened.
const inspectTries = 10

// Inspect reads the names and heads of the files in the spool's folder. Of opt only Key, Log, Blobs, IndexKey and Describe
// count. ErrKey: something is sealed, and Key is not its key.
func Inspect(dir string, opt Options) (*Inspection, error) {
	opt.setDefaults(dir)
	for try := 1; ; try++ {
		s := &Spool{dir: dir, opt: opt, disk: opt.disk, log: opt.Log}
		s.bad.mute()
		s.setIndexes(func() bool { return false })
		files, err := s.list()
		if err == nil {
			trim(files)
			return &Inspection{s: s, files: files}, nil
		}
		if _, gone := s.disk.dirs.Size(dir); !errors.Is(err, os.ErrNotExist) || gone != nil || try == inspectTries {
			return nil, fmt.Errorf("inspect spool: %w", err)
		}
	}
}

// trim leaves out what a crash left torn behind the log's end in a file: the next one says where that is.
func trim(files []*found) {
	for n := range files[:max(len(files)-1, 0)] {
		if next := files[n+1]; next.snap != nil && next.prev == files[n].num {
			files[n].size = min(files[n].whole, next.prevEnd)
		}
	}
}

// Beside tells Verify what a running host says: its newest file, and how many bytes of it are synced (Stats.Newest and
// Synced, asked for before Inspect was called). What is damaged there is damage; what lies behind may be in the middle of being
// written. Without it nobody is taken to write, and Opening in DESIGN.md tells a torn end from a damaged one. The word of a host
// whose newest file is not there is about another spool, and is not heard.
func (i *Inspection) Beside(newest string, synced int64) {
	if slices.ContainsFunc(i.files, func(f *found) bool { return f.name == newest }) {
		i.beside, i.newest, i.synced = true, newest, synced
	}
}

// Verify reads every byte of every segment, and unseals what is sealed. Everything before the last whole group of a file
// that is not what was written is damage, whether the file is the newest or not.
func (i *Inspection) Verify() iter.Seq2[SegmentReport, error] {
	return func(yield func(SegmentReport, error) bool) {
		for n := range i.files {
			if name, gone := i.lacks(n); gone && !yield(SegmentReport{Name: name, Missing: true}, nil) {
				return
			}
			r, err := i.verify(n)
			if r.Open && r.Damaged > 0 && err == nil {
				// A group that a full disk cut off is overwritten: what is damaged is so at a second look, too.
				r, err = i.verify(n)
			}
			if errors.Is(err, os.ErrNotExist) {
				continue // deleted since Inspect
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// lacks says whether the file before the n-th is not there. The oldest ones are deleted in their order, and leave no gap.
func (i *Inspection) lacks(n int) (name string, gone bool) {
	f := i.files[n]
	if n == 0 || f.snap == nil || f.prev <= i.files[n-1].num {
		return "", false
	}
	return fmt.Sprintf("%010d-*.seg", f.prev), true
}

// verify reads the n-th file once.
func (i *Inspection) verify(n int) (SegmentReport, error) {
	f := i.files[n]
	v := verifying{i: i, f: f, r: SegmentReport{Name: f.name, Open: true}}
	path := filepath.Join(i.s.dir, f.name)
	src, err := i.s.disk.Open(path, os.O_RDONLY)
	if err != nil {
		return v.r, fmt.Errorf("open segment: %w", err)
	}
	v.src = src
	if v.r.Bytes, err = i.s.disk.dirs.Size(path); err != nil {
		return v.r, errors.Join(fmt.Errorf("open segment: %w", err), src.Close())
	}
	v.end = logEnd(src, f.salt, v.r.Bytes)
	if f.name == i.newest {
		v.end = max(v.end, i.synced) // what was cut off reads as zeros
	}
	if n+1 < len(i.files) {
		if next := i.files[n+1]; next.snap != nil && next.prev == f.num {
			v.end, v.r.Open = next.prevEnd, false
		}
	}
	err = v.run()
	return v.r, errors.Join(err, src.Close())
}

// verifying is the reading of one file, group by group.
type verifying struct {
	i    *Inspection
	f    *found
	src  file
	end  int64 // of what is read: the log's end in the file, or the file's
	r    SegmentReport
	sure int64  // bytes before the end of the last whole group
	bad  []span // behind it, in order
}

func (v *verifying) run() error {
	c := scanner{src: v.src, salt: v.f.salt, end: v.end, stubborn: true, master: v.i.s.opt.Key}
	whole := true // the group has no damage so far
	c.bad = func(b span) {
		whole = false
		v.bad = append(v.bad, b)
	}
	start, sum := int64(0), uint32(0)
	for {
		fr, ok, err := c.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		v.r.count(&fr)
		if fr.kind != kindTrailer {
			sum = crc32.Update(sum, castagnoli, fr.raw)
			continue
		}
		if !whole && c.off == v.end && v.r.Open {
			break // a trailer that got to the disk without all that stands before it
		}
		switch {
		case whole && fr.a == uint64(fr.off-start) && fr.b == uint64(sum):
			v.sure = c.off
		case whole:
			v.bad = append(v.bad, span{start, c.off})
		}
		start, sum, whole = c.off, 0, true
	}
	v.tail(start, &c)
	return nil
}

func (r *SegmentReport) count(fr *frame) {
	r.Sealed = r.Sealed || fr.kind == kindKey
	if fr.kind != kindRecord && fr.kind != kindDead {
		return
	}
	r.Records++
	if fr.flags&flagCopy != 0 {
		r.Copies++
	}
	if r.Records == 1 {
		r.First, r.From = fr.seq, unixTime(int64(fr.a))
	}
	r.Last, r.To = fr.seq, unixTime(int64(fr.a))
}

// damage counts what is bad before end, and forgets it.
func (v *verifying) damage(end int64) {
	for len(v.bad) > 0 && v.bad[0].from < end {
		b := v.bad[0]
		v.bad = v.bad[1:]
		if b.to > end { // one range of the scanner may reach over the end that is sure
			v.bad = append([]span{{end, b.to}}, v.bad...)
			b.to = end
		}
		v.r.damaged(b)
	}
}

func (r *SegmentReport) damaged(b span) {
	r.Damaged++
	r.Unwanted += b.to - b.from
	if len(r.Damage) < MaxRanges {
		r.Damage = append(r.Damage, Range{b.from, b.to - b.from})
	}
}

// VerifyLetters reads every byte of the files of dead letters, and unseals what is sealed. Their Records are letters, those
// that are dealt with, too.
func (i *Inspection) VerifyLetters() iter.Seq2[SegmentReport, error] {
	return func(yield func(SegmentReport, error) bool) {
		d := &i.s.dead
		if err := d.open(i.s); err != nil {
			yield(SegmentReport{}, fmt.Errorf("read dead letters: %w", err))
			return
		}
		files := d.list()
		for n, f := range files {
			r := SegmentReport{Name: filepath.Join(deadDir, f.name), Bytes: f.end, Open: n == len(files)-1}
			_, err := d.look(f, func(fr *frame) bool {
				r.count(fr)
				return true
			}, func(_ *scanner, b span) bool {
				r.damaged(b)
				return true
			})
			if errors.Is(err, os.ErrNotExist) {
				continue // none in it was open: a running host has deleted it
			}
			if size, lost := d.disk.dirs.Size(filepath.Join(d.dir, f.name)); lost == nil {
				r.Bytes = size
				r.Tail = max(size-f.end, 0)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// tail decides on what lies behind the last whole group; last is where the last trailer ends.
func (v *verifying) tail(last int64, c *scanner) {
	switch {
	case !v.r.Open:
		v.damage(v.end)
		return
	case v.i.beside:
		if v.f.name == v.i.newest {
			v.sure = max(v.sure, v.i.synced)
		}
	case last < v.end && v.torn(last, c):
		v.sure = max(v.sure, last)
	default:
		v.sure = v.end
	}
	v.damage(v.sure)
	v.r.Tail = v.end - v.sure
}

// torn is what the next Open would say of the bytes behind the last trailer.
func (v *verifying) torn(last int64, c *scanner) bool {
	r := replaying{f: &found{segment: &segment{end: v.end}}, last: true, start: last}
	r.again.unread = c.unread
	for _, b := range v.bad {
		if b.to > last {
			r.bad = append(r.bad, b)
		}
	}
	return r.torn(c)
}

// frames calls each with the good frames of the file, and bad with the ranges between them.
func (i *Inspection) frames(f *found, each func(*frame) bool, bad func(span)) error {
	src, err := i.s.disk.Open(filepath.Join(i.s.dir, f.name), os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	c := scanner{src: src, salt: f.salt, end: f.size, stubborn: true, master: i.s.opt.Key, bad: bad}
	for {
		fr, ok, err := c.next()
		if err != nil || !ok || !each(&fr) {
			return errors.Join(err, src.Close())
		}
	}
}

// Records goes through the records of all segments in their order, without copies. A Ref's payload is good until the next
// one. The error of a file that cannot be read is given with an empty Ref, and the next file follows.
func (i *Inspection) Records() iter.Seq2[Ref, error] {
	return func(yield func(Ref, error) bool) {
		last := uint64(0)
		for n, f := range i.files {
			names, more := i.names(n), true
			err := i.frames(f, func(fr *frame) bool {
				if fr.kind != kindRecord || fr.flags&flagCopy != 0 || fr.seq <= last {
					return true
				}
				last = fr.seq
				more = yield(Ref{Seq: fr.seq, Device: nameOf(names, fr.num), Received: int64(fr.a), Payload: fr.payload}, nil)
				return more
			}, nil)
			if err != nil && !errors.Is(err, os.ErrNotExist) && more {
				more = yield(Ref{}, err)
			}
			if !more {
				return
			}
		}
	}
}

// Latest is when the last record of the newest file was received, and when that file was begun where it has none; zero without
// a file.
func (i *Inspection) Latest(ctx context.Context) (time.Time, error) {
	if len(i.files) == 0 {
		return time.Time{}, nil
	}
	f := i.files[len(i.files)-1]
	latest := f.made
	err := i.frames(f, func(fr *frame) bool {
		if fr.kind == kindRecord && fr.flags&flagCopy == 0 {
			latest = int64(fr.a)
		}
		return ctx.Err() == nil
	}, nil)
	return unixTime(latest), errors.Join(err, ctx.Err())
}

// names are the devices' names after the n-th file: the next one begins with them, and the last one is read for them.
func (i *Inspection) names(n int) []deviceState {
	if n+1 < len(i.files) && i.files[n+1].snap != nil {
		return i.files[n+1].snap.devices
	}
	st := &state{}
	if i.files[n].snap != nil {
		st.devices = i.files[n].snap.devices
	}
	err := i.frames(i.files[n], func(fr *frame) bool {
		if fr.kind == kindDevice {
			st.apply(fr.header, fr.payload, true)
		}
		return true
	}, nil)
	if err != nil {
		i.s.log.Warn("names of devices not read", "segment", i.files[n].name, "err", err)
	}
	return st.devices
}

func nameOf(names []deviceState, n uint32) string {
	if int(n) < len(names) && names[n].name != "" {
		return names[n].name
	}
	return fmt.Sprintf("device-%d", n) // its name was lost to damage
}

// DeadLetters goes through the open dead letters as Spool.DeadLetters does.
func (i *Inspection) DeadLetters(sink string) iter.Seq2[*DeadLetter, error] {
	return i.letters(sink, false)
}

// Held goes through the records that are held back, as Spool.Held does.
func (i *Inspection) Held(sink string) iter.Seq2[*DeadLetter, error] { return i.letters(sink, true) }

func (i *Inspection) letters(sink string, held bool) iter.Seq2[*DeadLetter, error] {
	if err := i.s.dead.open(i.s); err != nil {
		return func(yield func(*DeadLetter, error) bool) { yield(nil, fmt.Errorf("read dead letters: %w", err)) }
	}
	return i.s.openLetters(sink, held)
}

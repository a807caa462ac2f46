package spool

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"
)

// Inspection looks at a spool's files without changing anything, also while a host writes them: what is written after
// Inspect may be seen or not. It is used by one goroutine at a time.
type Inspection struct {
	s     *Spool
	files []*found
}

// SegmentReport is what Verify says of one file.
type SegmentReport struct {
	Name     string    `json:"name"`
	Bytes    int64     `json:"bytes"`
	Records  int       `json:"records"`
	Copies   int       `json:"copies"` // of them, put in once more by a replay
	First    uint64    `json:"first"`  // number of the first record, 0 where there is none
	Last     uint64    `json:"last"`
	From     time.Time `json:"from"` // when the first record was received
	To       time.Time `json:"to"`
	Damaged  int       `json:"damaged"`  // ranges that are no frames, or not what was written
	Unwanted int64     `json:"unwanted"` // bytes of them
	Open     bool      `json:"open"`     // the end may be in the middle of being written
	Sealed   bool      `json:"sealed"`
}

// Inspect reads the names and heads of the files in the spool's folder. Of opt only Key, Log, Blobs, IndexKey and Describe
// count. ErrKey: something is sealed, and Key is not its key.
func Inspect(dir string, opt Options) (*Inspection, error) {
	opt.setDefaults(dir)
	s := &Spool{dir: dir, opt: opt, disk: opt.disk, log: opt.Log}
	s.bad.mute()
	s.setIndexes(func() bool { return false })
	files, err := s.list()
	if err != nil {
		return nil, fmt.Errorf("inspect spool: %w", err)
	}
	for n := range files[:max(len(files)-1, 0)] {
		if next := files[n+1]; next.snap != nil && next.prev == files[n].num {
			files[n].size = min(files[n].size, next.prevEnd) // behind it is what a crash left torn
		}
	}
	return &Inspection{s: s, files: files}, nil
}

// Verify reads every byte of every segment, and unseals what is sealed.
func (i *Inspection) Verify() iter.Seq2[SegmentReport, error] {
	return func(yield func(SegmentReport, error) bool) {
		for n, f := range i.files {
			r, err := i.verify(f)
			r.Open = n == len(i.files)-1
			if errors.Is(err, os.ErrNotExist) {
				continue // deleted since Inspect
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func (i *Inspection) verify(f *found) (SegmentReport, error) {
	r := SegmentReport{Name: f.name, Bytes: f.size}
	err := i.frames(f, func(fr *frame) bool {
		if fr.kind == kindRecord {
			r.count(fr)
		}
		r.Sealed = r.Sealed || fr.kind == kindKey
		return true
	}, func(b span) {
		r.Damaged++
		r.Unwanted += b.to - b.from
	})
	return r, err
}

func (r *SegmentReport) count(fr *frame) {
	r.Records++
	if fr.flags&flagCopy != 0 {
		r.Copies++
	}
	if r.Records == 1 {
		r.First, r.From = fr.seq, unixTime(int64(fr.a))
	}
	r.Last, r.To = fr.seq, unixTime(int64(fr.a))
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
	if err := i.s.dead.open(i.s); err != nil {
		return func(yield func(*DeadLetter, error) bool) { yield(nil, fmt.Errorf("read dead letters: %w", err)) }
	}
	return i.s.DeadLetters(sink)
}

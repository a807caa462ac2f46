package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// sight is a file that a scan has seen and that is not dealt with.
type sight struct {
	stamp
	since   time.Time // when it was first seen with this stamp, by our clock: the share's may be off
	until   time.Time // not before; or the next change
	missing []string  // or as soon as all these images are there
	scan    uint64    // the last scan that saw it
	failed  bool      // it could not be opened
}

// found is a settled file.
type found struct {
	rel string // path below Dir
	stamp
}

// fewOld is how many files that were there before hostd are taken in where the configuration says nothing of them.
const fewOld = 100

// scan compares the folder with what is known, and queues the files that have settled. It is the authority: whatever was
// missed before, it finds.
func (d *folder) scan(ctx context.Context) error {
	d.images.begin()
	d.cat.begin()
	now, locked := time.Now(), 0
	pending := map[string]stamp{}
	for _, w := range d.moves {
		pending[w.rel] = w.stamp
	}
	err := d.walk(ctx, ".", func(rel string, info fs.FileInfo) {
		st := stampOf(info)
		if d.known(rel, st) || pending[rel] == st {
			return
		}
		s := d.seen[rel]
		if s == nil || s.stamp != st {
			s = &sight{stamp: st, since: now}
			d.seen[rel] = s
		}
		s.scan = d.cat.scan
		if s.failed {
			locked++
		}
		if d.ready(rel, s, now) {
			d.queue = append(d.queue, found{rel: rel, stamp: st})
		}
	})
	if err != nil {
		d.queue = nil
		return unreachable(d.Dir, err)
	}
	if d.first && d.Existing == "" && len(d.seen) > fewOld {
		d.queue = nil
		return fmt.Errorf("read folder %s: it holds %d files from before hostd, and nothing says whether they are wanted: write `existing: import` "+
			"to take them all in, or `existing: ignore` to leave them and read only what comes from now on", d.Dir, len(d.seen))
	}
	d.forget()
	d.report(locked)
	slices.SortFunc(d.queue, func(a, b found) int { return cmp.Or(cmp.Compare(a.mtime, b.mtime), cmp.Compare(a.rel, b.rel)) })
	d.cat.endScan(now)
	d.save()
	return nil
}

// known says whether the file needs nothing more. At the very first scan of a folder whose old files are to be ignored,
// it makes them known.
func (d *folder) known(rel string, st stamp) bool {
	if d.first && d.Existing == "ignore" {
		d.cat.put(entry{path: pathKey(rel), stamp: st, ignored: true})
		return true
	}
	e, ok := d.cat.get(rel)
	return ok && e.stamp == st && (e.ignored || d.keeps())
}

// ready says whether the file has held still for long enough, and what it waits for is there or will not come.
func (d *folder) ready(rel string, s *sight, now time.Time) bool {
	if now.Sub(s.since) < d.Settle {
		return false
	}
	return !now.Before(s.until) || len(s.missing) > 0 && d.images.all(rel, s.missing)
}

// forget drops what was not seen in the scan: files that somebody took away.
func (d *folder) forget() {
	for rel, s := range d.seen {
		if s.scan != d.cat.scan {
			delete(d.seen, rel)
		}
	}
	if d.first {
		d.first = false
		d.cat.setBaseline()
	}
}

// report logs when files cannot be opened, once until that changes.
func (d *folder) report(locked int) {
	if locked > 0 && d.locked == 0 {
		d.env.Log.Warn("files cannot be opened: another program holds them, or this account may not read them; they are tried again", "files", locked)
	}
	if locked == 0 && d.locked > 0 {
		d.env.Log.Info("the files that could not be opened are read or gone")
	}
	d.locked = locked
}

// walk calls each for the files below Dir that may be exams. A part of the folder that cannot be listed is an error: it
// must not look like files that vanished.
func (d *folder) walk(ctx context.Context, rel string, each func(rel string, info fs.FileInfo)) error {
	err := list(filepath.Join(d.Dir, rel), func(e fs.DirEntry) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		name := e.Name()
		if rel != "." {
			name = filepath.Join(rel, name)
		}
		if e.IsDir() {
			if at := filepath.Join(d.Dir, name); d.Recursive && at != d.done && at != d.failed {
				return d.walk(ctx, name, each)
			}
			return nil
		}
		if !d.matches(e.Name()) {
			return nil
		}
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() {
			each(name, info)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if rel != "." && errors.Is(err, fs.ErrNotExist) {
		return nil // a folder that was removed while we looked
	}
	return err
}

// list calls each for the entries of dir until it fails, some at a time: a folder of 100,000 files is not in memory as a
// whole.
func list(dir string, each func(e fs.DirEntry) error) error {
	const some = 512
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(some)
		for _, e := range entries {
			if err := each(e); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// ring asks watch to wake the device when the next file will have settled.
func (d *folder) ring() {
	next := time.Duration(-1)
	now := time.Now()
	sooner := func(at time.Time) {
		if in := max(0, at.Sub(now)); next < 0 || in < next {
			next = in
		}
	}
	for _, s := range d.seen {
		if still := s.since.Add(d.Settle); now.Before(still) {
			sooner(still)
		} else if now.Before(s.until) {
			sooner(s.until)
		}
	}
	if next < 0 {
		return
	}
	select {
	case <-d.alarm:
	default:
	}
	select {
	case d.alarm <- next:
	default:
	}
}

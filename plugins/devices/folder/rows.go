package main

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/hostd/hostd/core/protocols/mapped"
	"github.com/hostd/hostd/core/sdk/exam"
)

// maxGrowing is how many files of many exams are remembered by their rows.
const maxGrowing = 64

// rows is a file of many exams that is being sent. Each is known by its own bytes and those of the header, so that in a file
// that grows by a row only that row is a new record; the second of two equal rows has its number behind its ID. After a crash
// the file is read from its beginning, which gives the same records.
type rows struct {
	list   *mapped.Reader
	item   mapped.Item // the next to be sent, and what it is made of
	from   origin
	n      int // how often its like came before
	work   *work
	size   int64
	format string
	open   bool        // the last row has no line end: it may be half of one
	seen   map[key]int // how often each row came
	stored map[key]int // of the file as it was before: these rows are on the host's disk
	lost   int         // rows that could not be read
}

// list takes over a reader of many exams, or why there is none. Rows in stored are passed over.
func (r *reading) list(list *mapped.Reader, reject *exam.Reject, stored map[key]int) {
	if reject != nil {
		r.result.Rejects = []exam.Reject{*reject}
		return
	}
	end := bytes.TrimRight(r.in.data, "\x00") // of UTF-16
	r.rows = &rows{
		list: list, size: r.in.size, format: r.format, seen: map[key]int{}, stored: stored,
		open: r.format == formatCSV && (len(end) == 0 || end[len(end)-1] != '\n'),
	}
	if !r.rows.advance() && len(r.rows.seen) == 0 {
		r.rows = nil
		r.result.Rejects = []exam.Reject{{Reason: exam.RejectEmpty, Length: r.in.size, Detail: "a list without an exam"}}
	}
}

// advance goes to the next exam that is not stored; false where there is none.
func (r *rows) advance() bool {
	for {
		var ok bool
		if r.item, ok = r.list.Next(); !ok {
			return false
		}
		r.from = origin{raw: slices.Concat(r.item.Head, r.item.Body), format: r.format}
		r.from.digest, r.from.size = sha256.Sum256(r.from.raw), int64(len(r.from.raw))
		r.from.key = key(r.from.digest[:len(key{})])
		r.n = r.seen[r.from.key]
		r.seen[r.from.key]++
		if r.n >= r.stored[r.from.key] {
			return true
		}
	}
}

// more adds exams of the file that is being sent, until the batch is full. With the last of them the file is to be put away.
func (d *folder) more(b *batch) {
	for r := d.rest; r != nil && !b.full(); {
		r.add(b)
		if r.advance() {
			continue
		}
		d.rest = nil
		b.keys[r.work.key] = true
		r.work.rows = r.seen
		b.works = append(b.works, r.work)
		if r.lost > 0 {
			d.env.Log.Warn("a part of a file cannot be read", "id", r.work.key.String(), "exams", r.lost)
		}
		return
	}
}

// add makes the record of one exam.
func (r *rows) add(b *batch) {
	reject := r.item.Reject
	if r.item.Exam != nil {
		rec, err := examRecord(r.from, r.n, r.item.Exam)
		if err == nil {
			b.add(rec)
			return
		}
		broken := unfit(err, r.from.size)
		reject = &broken
	}
	r.lost++
	b.add(rejectRecord(r.from, r.n, reject))
}

// grow remembers the rows of a file that stays, so that what is appended to it is sent alone. What is forgotten is sent again.
func (d *folder) grow(w *work) {
	if len(w.rows) < 2 {
		return
	}
	if _, there := d.grown[w.rel]; !there && len(d.grown) >= maxGrowing {
		clear(d.grown)
	}
	d.grown[w.rel] = w.rows
}

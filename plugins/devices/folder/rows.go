package main

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/hostd/hostd/core/protocols/mapped"
	"github.com/hostd/hostd/core/sdk/exam"
)

// rows is a file of many exams that is being sent. Each is known by its own bytes and those of the header, so that in a file
// that grows by a row only that row is a new record; the second of two equal rows has its number behind its ID. After a crash
// the file is read from its beginning, which gives the same records.
type rows struct {
	list   *mapped.Reader
	first  mapped.Item
	work   *work
	size   int64
	format string
	open   bool        // the last row has no line end: it may be half of one
	seen   map[key]int // how often each row came
	lost   int         // rows that could not be read
}

// list takes over a reader of many exams, or why there is none.
func (r *reading) list(list *mapped.Reader, reject *exam.Reject) {
	if reject != nil {
		r.result.Rejects = []exam.Reject{*reject}
		return
	}
	first, ok := list.Next()
	if !ok {
		r.result.Rejects = []exam.Reject{{Reason: exam.RejectEmpty, Length: r.in.size, Detail: "a list without an exam"}}
		return
	}
	end := bytes.TrimRight(r.in.data, "\x00") // of UTF-16
	r.rows = &rows{
		list: list, first: first, size: r.in.size, format: r.format, seen: map[key]int{},
		open: r.format == formatCSV && (len(end) == 0 || end[len(end)-1] != '\n'),
	}
}

// more adds exams of the file that is being sent, until the batch is full. With the last of them the file is to be put away.
func (d *folder) more(b *batch) {
	r := d.rest
	if r == nil {
		return
	}
	for item, ok := r.first, true; !b.full(); {
		if item.Body == nil {
			item, ok = r.list.Next()
		}
		if !ok {
			d.rest = nil
			b.keys[r.work.key] = true
			b.works = append(b.works, r.work)
			if r.lost > 0 {
				d.env.Log.Warn("a part of a file cannot be read", "id", r.work.key.String(), "exams", r.lost)
			}
			return
		}
		r.add(b, item)
		item, r.first = mapped.Item{}, mapped.Item{}
	}
}

// add makes the record of one exam.
func (r *rows) add(b *batch, item mapped.Item) {
	from := origin{raw: slices.Concat(item.Head, item.Body), format: r.format}
	from.digest, from.size = sha256.Sum256(from.raw), int64(len(from.raw))
	from.key = key(from.digest[:len(key{})])
	n := r.seen[from.key]
	r.seen[from.key]++
	reject := item.Reject
	if item.Exam != nil {
		rec, err := examRecord(from, n, item.Exam)
		if err == nil {
			b.add(rec)
			return
		}
		broken := unfit(err, from.size)
		reject = &broken
	}
	r.lost++
	b.add(rejectRecord(from, n, reject))
}

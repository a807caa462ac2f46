package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/hostd/hostd/core/protocols/eyexml"
	"github.com/hostd/hostd/core/protocols/gdt"
	"github.com/hostd/hostd/core/protocols/mapped"
	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// work is a file whose content is in a batch or stored, and that is to be put away.
type work struct {
	rel string
	stamp
	key    key
	mask   uint64       // attachments sent, by their number in reading.names
	reject *exam.Reject // why it goes to failed_dir; nil is done_dir
	images []picture    // to be put away with it
	names  []string     // of the attachments
	late   []byte       // the content, where attachments are missing
	rows   map[key]int  // of a list of exams: how often it has each
}

// reading is what a decoder made of a file, and what became of the attachments that it names.
type reading struct {
	rel    string
	in     *input
	format string
	result exam.Result
	names  []string           // of the attachments, each once, at most 64
	there  map[string]picture // those that are there and have settled
	rows   *rows              // where the file holds a list of exams: result is empty then
}

// maxNames is how many attachments of a file are dealt with: a mask has that many bits.
const maxNames = 64

// take reads one settled file into the batch, or leaves it for a later scan. An error means that nothing can be read.
func (d *folder) take(ctx context.Context, f found, b *batch) error {
	in, err := d.load(f)
	if err != nil {
		d.postpone(f, err)
		return nil
	}
	if media := d.mediaOf(in); media != "" {
		return d.takeDocument(ctx, f, in, media, b)
	}
	r := d.decode(f.rel, f.mtime, in, nil)
	w := &work{rel: f.rel, stamp: f.stamp, key: in.key(), reject: r.verdict()}
	mask, known := d.stored[w.key]
	switch {
	case known:
		w.mask = mask
		w.images, w.late, w.names = r.sent(mask), r.open(mask), r.names
		d.putAway(ctx, []*work{w})
		return nil
	case b.keys[w.key]:
		b.works = append(b.works, w)
		return nil
	case d.waits(f.rel, r):
		return nil
	case r.rows != nil:
		r.rows.work = w
		if d.rest = r.rows; r.rows.item.Body == nil { // it has fewer rows than before
			d.rest = nil
			d.putAway(ctx, []*work{w})
		}
		d.more(b)
		return nil
	}
	return d.send(ctx, f, r, w, b)
}

// send adds the file's records to the batch, with the attachments that are there.
func (d *folder) send(ctx context.Context, f found, r *reading, w *work, b *batch) error {
	staged, lost, err := d.stage(ctx, r, 0)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		if s := d.seen[f.rel]; s != nil && time.Now().Before(d.deadline(s)) {
			staged.remove()
			s.until = time.Now().Add(min(time.Second, d.AttachWait))
			return nil
		}
		absent := map[string]bool{}
		for _, name := range lost {
			absent[name] = false
		}
		r = d.decode(f.rel, f.mtime, r.in, absent)
	}
	w.mask = r.mask(staged)
	w.images, w.late, w.names = r.sent(w.mask), r.open(w.mask), r.names
	records := d.records(r, staged)
	b.keys[w.key] = true
	b.works = append(b.works, w)
	b.add(records...)
	return nil
}

// postpone deals with a file that could not be read now.
func (d *folder) postpone(f found, err error) {
	s := d.seen[f.rel]
	switch {
	case s == nil:
	case errors.Is(err, errChanged), errors.Is(err, fs.ErrNotExist):
		delete(d.seen, f.rel)
	default:
		s.failed = true
		d.env.Log.Debug("file cannot be opened", "err", sdk.Cause(err))
	}
}

// deadline is when an exam goes without the attachments that are still missing.
func (d *folder) deadline(s *sight) time.Time { return s.since.Add(d.Settle + d.AttachWait) }

// waits says whether the file may still become what it should be: an empty or unfinished one is perhaps being written,
// an attachment perhaps on its way. It notes when to look again.
func (d *folder) waits(rel string, r *reading) bool {
	s := d.seen[rel]
	if s == nil {
		return false
	}
	s.failed = false
	until, missing := time.Time{}, r.missing()
	if r.unfinished() {
		until = s.since.Add(max(d.IncompleteFor, d.Settle))
	} else if len(missing) > 0 {
		until = d.deadline(s)
	}
	if !time.Now().Before(until) {
		return false
	}
	s.until, s.missing = until, missing
	return true
}

// decode makes exams of the input. Attachments in known are not looked for: they count as absent, or as there and stored.
func (d *folder) decode(rel string, mtime int64, in *input, known map[string]bool) *reading {
	r := &reading{rel: rel, in: in, there: map[string]picture{}}
	if in.tooMuch {
		r.result.Rejects = []exam.Reject{{Reason: exam.RejectTooLarge, Length: in.size, Detail: "larger than max_size_mb, or a document larger than max_attachment_mb"}}
		return r
	}
	opt := eyexml.Options{Format: d.Format, Codepage: d.CodePage, MaxSize: d.MaxSizeMB << 20}
	if opt.Codepage == noCodePage {
		opt.Codepage = "utf-8"
	}
	looked := maps.Clone(known)
	if looked == nil {
		looked = map[string]bool{}
	}
	opt.HasFile = func(name string) bool {
		there, ok := looked[name]
		if !ok {
			var p picture
			if p, there = d.images.find(rel, name, mtime); there {
				r.there[name] = p
			}
			looked[name] = there
		}
		return there
	}
	d.read(r, opt)
	for _, e := range r.result.Exams {
		for _, name := range attachmentsOf(e) {
			if len(r.names) < maxNames && !slices.Contains(r.names, name) {
				r.names = append(r.names, name)
				opt.HasFile(name)
			}
		}
	}
	return r
}

// read decodes the whole file as the format says, or as what it begins like.
func (d *folder) read(r *reading, opt eyexml.Options) {
	data := r.in.data
	r.format = d.formatOf(data)
	switch r.format {
	case formatGDT:
		page := opt.Codepage
		if page == textenc.DefaultCodepage {
			page = "" // the standard's
		}
		r.result = gdt.Decode(data, gdt.Options{Codepage: page, MaxSize: opt.MaxSize, HasFile: opt.HasFile})
	case formatCSV:
		list, reject := mapped.CSV(data, &d.Map, mapped.Options{Codepage: opt.Codepage, MaxSize: opt.MaxSize})
		r.list(list, reject, d.grown[r.rel])
	case formatJSON:
		list, reject := mapped.JSON(data, &d.Map, mapped.Options{Codepage: opt.Codepage, MaxSize: opt.MaxSize})
		if d.Map.Items == "" {
			r.result = mapped.Decode(list, reject)
		} else {
			r.list(list, reject, d.grown[r.rel])
		}
	case formatDocument:
		r.result.Rejects = []exam.Reject{{Reason: exam.RejectMalformed, Length: r.in.size, Detail: "neither PDF nor an image of a known kind"}}
		if r.in.size == 0 {
			r.result.Rejects[0].Reason, r.result.Rejects[0].Detail = exam.RejectEmpty, "no byte in it"
		}
	default:
		r.result, r.format = eyexml.Decode(data, opt)
	}
}

// formatOf tells the format of a file; what is not one of this plugin's own is XML.
func (d *folder) formatOf(data []byte) string {
	if d.Format != eyexml.FormatAuto {
		return d.Format
	}
	start := bytes.TrimLeft(data[:min(len(data), 256)], "\x00 \t\r\n\xff\xfe\xef\xbb\xbf")
	switch {
	case gdt.Is(data):
		return formatGDT
	case !d.isMapped() || len(start) == 0 || start[0] == '<':
		return eyexml.FormatAuto
	case start[0] == '{' || start[0] == '[':
		return formatJSON
	}
	return formatCSV
}

// attachmentsOf gives the file names that an exam names.
func attachmentsOf(e *exam.Exam) (names []string) {
	for i := range e.Observations {
		if o := &e.Observations[i]; o.Code == exam.CodeAttachment {
			names = append(names, o.Value.String())
		}
	}
	return names
}

// verdict is why the whole file is unreadable, or nil.
func (r *reading) verdict() *exam.Reject {
	if len(r.result.Exams) > 0 || len(r.result.Rejects) == 0 {
		return nil
	}
	return &r.result.Rejects[0]
}

// unfinished says whether the file may become whole yet: somebody may be writing it.
func (r *reading) unfinished() bool {
	for i := range r.result.Rejects {
		switch r.result.Rejects[i].Reason {
		case exam.RejectEmpty, exam.RejectMalformedXML, exam.RejectMalformed, exam.RejectTruncated, exam.RejectBadLength:
			return true
		}
	}
	return r.rows != nil && r.rows.open
}

// missing gives the attachments that are not there.
func (r *reading) missing() (names []string) {
	for _, name := range r.names {
		if _, ok := r.there[name]; !ok {
			names = append(names, name)
		}
	}
	return names
}

// mask has a bit for each attachment that was staged.
func (r *reading) mask(s *staged) (mask uint64) {
	for i, name := range r.names {
		if _, ok := s.files[name]; ok {
			mask |= 1 << i
		}
	}
	return mask
}

// sent gives the files of the attachments in mask that are still there.
func (r *reading) sent(mask uint64) (list []picture) {
	for i, name := range r.names {
		if p, ok := r.there[name]; ok && mask&(1<<i) != 0 {
			list = append(list, p)
		}
	}
	return list
}

// open gives the content where attachments are missing in mask, to complete the exam later; else nil.
func (r *reading) open(mask uint64) []byte {
	if r.complete(mask) {
		return nil
	}
	return r.in.data
}

func (r *reading) complete(mask uint64) bool { return allBits(mask, len(r.names)) }

// allBits says whether the lowest n bits are set, n up to maxNames.
func allBits(mask uint64, n int) bool { return ^mask<<(maxNames-n) == 0 }

// Package gdt reads GDT files, by which instruments in German practices give their results (QMS, Gerätedaten-Träger,
// interface description 2.1, 5/2001: line structure and field list).
//
//	line = 3 digits length of the line with its CR LF, 4 digits field, text, CR LF
//
// Field 8000 begins a record; each becomes an exam. A line whose length is wrong makes what follows it unreliable: it is a
// reject from there on.
package gdt

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/exam"
)

// DefaultCodepage is the character set of a file that names none in field 9206 (GDT 2.1, field 9206: 2 is the default).
const DefaultCodepage = "cp437"

// Limits of one file, which bound the memory that a forged one takes. No instrument comes near them.
const (
	defaultMaxSize  = 16 << 20
	maxObservations = 2048
	maxText         = 128 << 10 // bytes of all texts that are kept
)

// Options of Decode; the zero Options are good defaults.
type Options struct {
	Codepage string // of text that is not UTF-8 in a file that names no character set; empty is DefaultCodepage
	MaxSize  int    // bytes of input; 0 is 16 MiB; larger input is one reject too_large
	// HasFile is asked for each attachment that the exam names, by its path as sent; one that is not there makes the warning
	// attachment_absent. Nil means that none is.
	HasFile func(name string) bool
}

// head is the shortest line: length, field, CR LF; its length has this many digits.
const (
	head       = 9
	lengthSize = 3
	fieldSize  = 4
)

// Is says whether data begins as a GDT file does, with field 8000.
func Is(data []byte) bool {
	return len(data) >= lengthSize+fieldSize && digits(data[:lengthSize]) && string(data[lengthSize:lengthSize+fieldSize]) == "8000"
}

// Decode makes an exam of each record of one whole file, and a reject of what cannot be read. It does no I/O, keeps nothing
// of data, and may be called from several goroutines at once.
func Decode(data []byte, opt Options) exam.Result {
	limit := opt.MaxSize
	if limit <= 0 {
		limit = defaultMaxSize
	}
	reject := func(reason, detail string) exam.Result {
		return exam.Result{Rejects: []exam.Reject{{Reason: reason, Length: int64(len(data)), Detail: detail}}}
	}
	switch end := len(bytes.TrimRight(data, "\x00\x1a \t\r\n")); {
	case end == 0:
		return reject(exam.RejectEmpty, "nothing but blanks")
	case len(data) > limit:
		return reject(exam.RejectTooLarge, fmt.Sprintf("more than %d bytes", limit))
	case !Is(data):
		return reject(exam.RejectMalformed, "it does not begin with field 8000")
	}
	d := &decoder{data: data, opt: opt, text: maxText}
	d.run()
	if d.tooMuch() {
		return reject(exam.RejectTooLarge, "more findings or text than a file of exams can have")
	}
	return d.result
}

// decoder goes through one file.
type decoder struct {
	data   []byte
	opt    Options
	result exam.Result
	record record // the one that is being read
	found  int    // observations of the records before
	text   int    // bytes of text that may still be kept
}

func (d *decoder) tooMuch() bool {
	return d.text < 0 || d.found+len(d.record.observations) > maxObservations
}

func (d *decoder) run() {
	at := 0
	for len(bytes.Trim(d.data[at:], "\x00\x1a \t\r\n")) > 0 && !d.tooMuch() {
		n, reason := lineAt(d.data[at:])
		if reason != "" {
			d.damaged(at, reason, "length of a line is wrong, or the line is cut")
			return
		}
		if field := string(d.data[at+lengthSize : at+lengthSize+fieldSize]); field == "8000" {
			d.finish(at)
			d.record = record{from: at, begun: true}
		} else {
			d.field(field, d.data[at+lengthSize+fieldSize:at+n-2])
		}
		at += n
	}
	if r := &d.record; r.length > at-r.from {
		d.damaged(at, exam.RejectTruncated, "the file ends before the record does")
		return
	}
	d.finish(at)
}

// lineAt is the length of the line at the start of b, or why it is none.
func lineAt(b []byte) (n int, reason string) {
	if len(b) < head {
		return 0, exam.RejectTruncated
	}
	if !digits(b[:lengthSize+fieldSize]) {
		return 0, exam.RejectBadLength
	}
	n, _ = strconv.Atoi(string(b[:lengthSize])) // they are digits
	switch {
	case n >= head && n <= len(b) && string(b[n-2:n]) == "\r\n":
		return n, ""
	case n > len(b) && bytes.IndexByte(b, '\n') < 0:
		return 0, exam.RejectTruncated
	}
	return 0, exam.RejectBadLength
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// damaged ends the file at a fault: what stands before it is kept, with a warning.
func (d *decoder) damaged(at int, reason, detail string) {
	d.result.Rejects = append(d.result.Rejects, exam.Reject{Reason: reason, Offset: int64(at), Length: int64(len(d.data) - at), Detail: detail})
	if e := d.record.exam(); e != nil {
		e.Warn(exam.WarnBrokenSegment)
		d.result.Exams = append(d.result.Exams, e)
	}
}

// finish adds the exam of the record that ends at byte at.
func (d *decoder) finish(at int) {
	r := &d.record
	if !r.begun {
		return
	}
	d.found += len(r.observations)
	if e := r.exam(); e != nil {
		d.absent(e)
		d.result.Exams = append(d.result.Exams, e)
		return
	}
	d.result.Rejects = append(d.result.Rejects, exam.Reject{
		Reason: exam.RejectEmpty, Offset: int64(r.from), Length: int64(at - r.from), Detail: "a record without a finding",
	})
}

// absent warns of attachments that are not there.
func (d *decoder) absent(e *exam.Exam) {
	for i := range e.Observations {
		if o := &e.Observations[i]; o.Code == exam.CodeAttachment && (d.opt.HasFile == nil || !d.opt.HasFile(o.Value.String())) {
			e.Warn(exam.WarnAttachmentAbsent)
		}
	}
}

// textOf decodes the text of a line.
func (d *decoder) textOf(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if d.text -= len(raw); d.text < 0 {
		return ""
	}
	r := &d.record
	page := r.page
	if page == "" {
		page = "utf-8"
	}
	text, err := textenc.Decode(page, raw)
	if err == nil {
		return string(text)
	}
	if r.page == "" {
		r.warn(exam.WarnCharsetUndeclared)
	} else {
		r.warn(exam.WarnEncodingMislabelled)
	}
	for _, page := range []string{d.opt.Codepage, DefaultCodepage} {
		if text, err = textenc.Decode(page, raw); err == nil {
			break
		}
	}
	return string(text) // code page 437 has a letter for each byte
}

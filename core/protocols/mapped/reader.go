package mapped

import (
	"bytes"
	"fmt"

	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/exam"
)

const defaultMaxSize = 16 << 20

// Options of CSV and JSON; the zero Options are good defaults.
type Options struct {
	Codepage string // of a file that is not UTF-8 or UTF-16; empty is textenc.DefaultCodepage
	MaxSize  int    // bytes of input; 0 is 16 MiB; larger input is one reject too_large
}

// Item is one exam of a file, or what could not be read: exactly one of Exam and Reject is set.
type Item struct {
	Exam   *exam.Exam
	Reject *exam.Reject
	// Head and Body are the bytes of the file that it was made of: Head is what all items share, the header of a CSV file with
	// its line end. Of UTF-16 they are the UTF-8 of it. Both are parts of the input or of its text: not to be changed.
	Head, Body []byte
}

// Reader gives the exams of one file, one at a time: a file of many takes no more memory than one of few. It does no I/O.
type Reader struct {
	next func() (Item, bool)
}

// Next is the next item; false after the last.
func (r *Reader) Next() (Item, bool) { return r.next() }

// Decode reads a whole file at once; for files of few exams.
func Decode(r *Reader, reject *exam.Reject) (result exam.Result) {
	if reject != nil {
		return exam.Result{Rejects: []exam.Reject{*reject}}
	}
	for item, ok := r.Next(); ok; item, ok = r.Next() {
		if item.Exam != nil {
			result.Exams = append(result.Exams, item.Exam)
		} else {
			result.Rejects = append(result.Rejects, *item.Reject)
		}
	}
	return result
}

// text is a file whose bytes can be cut at ASCII characters.
type text struct {
	body     []byte
	page     string // of the body, empty for UTF-8
	whole    int64  // bytes of the input
	inPlace  bool   // body is a part of the input
	start    int64  // then: where it begins there
	warnings []string
}

// open makes text of a file; pipe says that a character set is in the way in which | is a part of letters.
func open(data []byte, opt Options, recode bool) (*text, *exam.Reject) {
	limit := opt.MaxSize
	if limit <= 0 {
		limit = defaultMaxSize
	}
	t := &text{whole: int64(len(data))}
	switch {
	case len(data) > limit:
		return nil, t.reject(exam.RejectTooLarge, fmt.Sprintf("more than %d bytes", limit))
	case len(bytes.Trim(data, "\x00 \t\r\n\xff\xfe\xef\xbb\xbf")) == 0:
		return nil, t.reject(exam.RejectEmpty, "nothing but blanks")
	}
	decoded, err := textenc.XML(data, opt.Codepage)
	if err != nil {
		return nil, t.reject(exam.RejectMalformed, err.Error())
	}
	t.body = decoded.UTF8
	switch decoded.Charset {
	case "utf-16le", "utf-16be":
		return t, nil
	case "utf-8":
	default:
		t.warnings = []string{exam.WarnCharsetUndeclared}
		if recode {
			return t, nil
		}
		t.body, t.page = data, decoded.Charset
	}
	t.inPlace, t.start = true, int64(len(data)-len(t.body))
	return t, nil
}

// reject is the reject of the whole file.
func (t *text) reject(reason, detail string) *exam.Reject {
	return &exam.Reject{Reason: reason, Length: t.whole, Detail: detail}
}

// part is the reject of body[from:to]; of text that was recoded the whole file is meant.
func (t *text) part(reason, detail string, from, to int) *exam.Reject {
	r := t.reject(reason, detail)
	if t.inPlace {
		r.Offset, r.Length = t.start+int64(from), int64(to-from)
	}
	return r
}

// string makes UTF-8 of a part of the body. The whole was decoded once, so that a part between ASCII characters is, too.
func (t *text) string(b []byte) string {
	if t.page == "" {
		return string(b)
	}
	out, err := textenc.Decode(t.page, b)
	if err != nil {
		return "" // cut within a letter: only where the separator is a part of it
	}
	return string(out)
}

// item is the exam of m, or a reject where it has no finding.
func (t *text) item(m *Mapping, at func(place string) string, from, to int) Item {
	i := Item{Body: t.body[from:to]}
	if i.Exam = m.exam(at); i.Exam == nil {
		i.Reject = t.part(exam.RejectEmpty, "no finding in it", from, to)
		return i
	}
	for _, w := range t.warnings {
		i.Exam.Warn(w)
	}
	return i
}

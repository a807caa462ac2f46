package astm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Options of reading a message. The zero value will do.
type Options struct {
	// CodePage is the site's, for text that is not UTF-8; empty is textenc.DefaultCodepage.
	CodePage string
	// Tests say which observation a test is; one that is not among them keeps the source's code, eye B and the source's unit.
	Tests []Test
	// NoValue are values that mean that there is none, besides empty ones and those of points, stars and dashes alone; a number is
	// any form of it.
	NoValue []string
}

// Test says which observation a test of the source is.
type Test struct {
	Source string // the test's code as R-3 has it
	Code   string // of the observation; empty keeps the source's
	Eye    string // R, L or B; empty is B
	Unit   string // empty keeps the source's, or is that of Code where the source sends none
	Method string
}

// Content says what a message is about.
type Content string

// Contents of messages.
const (
	ContentResult Content = "result" // it has results with values
	ContentQuery  Content = "query"  // it asks (Q records)
	ContentOrder  Content = "order"  // it has O records without results
	ContentOther  Content = "other"
)

// Found is what a message holds.
type Found struct {
	Content Content
	Orders  []Order // with results
	Timed   bool    // it names a time: that of the message, or of a result
}

// Order is an exam: the results of one O record, or those without one.
type Order struct {
	Exam *exam.Exam
	head [2]int // of the message's bytes: its H record,
	who  [2]int // its P record and what belongs to that,
	own  [2]int // its O record and what belongs to it
}

// Part gives the records of m, from which the order was read, that it rests on: H, P, and its own.
func (o *Order) Part(m Message) []byte {
	return slices.Concat(m[o.head[0]:o.head[1]], m[o.who[0]:o.who[1]], m[o.own[0]:o.own[1]])
}

// Most results and O records with results of a message. One that has more is made by a fault, or to do harm: it is kept, and
// not read.
const (
	MaxResults = 4000
	MaxOrders  = 1000
)

// Errors of Message.Read.
var (
	ErrNoHeader = errors.New("the message does not begin with a header")
	ErrTooMany  = fmt.Errorf("the message has more than %d results or %d orders", MaxResults, MaxOrders)
)

// Read finds the exams of a message: one for each O record that has a result with a value, one for the results that stand
// below no O record (E1394 sections 7 to 10). The error is ErrNoHeader or ErrTooMany.
func (m Message) Read(o Options) (Found, error) {
	r := reader{o: o, message: m}
	for rec := range m.Records() {
		if _, header := Header(rec.Text); r.head[1] == 0 && !header {
			return Found{}, ErrNoHeader
		}
		if r.results > MaxResults || len(r.found.Orders) > MaxOrders {
			return Found{}, ErrTooMany
		}
		r.rec = rec
		r.record(&r.rec)
	}
	r.end()
	switch {
	case r.head[1] == 0:
		return Found{}, ErrNoHeader
	case r.results > MaxResults || len(r.found.Orders) > MaxOrders:
		return Found{}, ErrTooMany
	case len(r.found.Orders) > 0:
		r.found.Content = ContentResult
	case r.query:
		r.found.Content = ContentQuery
	case r.order && !r.answered:
		r.found.Content = ContentOrder
	default:
		r.found.Content = ContentOther
	}
	return r.found, nil
}

// reader goes through the records of a message.
type reader struct {
	o       Options
	message Message
	found   Found
	results int // with a value, of all exams

	sender  string
	patient exam.Patient
	foreign bool // a record since the header was not UTF-8
	spoilt  bool // and fitted no code page

	head, who    [2]int
	cur          *Order
	values       int    // results of cur that have a value
	counted      int    // the R-2 before
	uncounted    bool   // R-2 does not count up
	ordered      string // O-5's code
	query, order bool
	answered     bool // there was an R record
	buf          []byte
	rec          Record // that is read
}

func (r *reader) record(rec *Record) {
	switch rec.Type() {
	case 'H':
		r.end()
		r.foreign, r.spoilt = false, false
		r.decode(rec)
		r.patient = exam.Patient{}
		r.head, r.who = [2]int{rec.At, rec.Next}, [2]int{rec.Next, rec.Next}
		r.found.Timed = r.found.Timed || len(rec.Field(14)) > 0
		r.sender = r.text(rec.Component(5, 1, 1))
	case 'P':
		r.end()
		r.decode(rec)
		r.who = [2]int{rec.At, rec.Next}
		r.person(rec)
	case 'O':
		r.end()
		r.order = true
		r.begin(rec)
		r.decode(rec)
		r.ordered = r.test(rec, 5)
		if s := r.text(rec.Component(3, 1, 1)); s != "" {
			r.add(exam.Observation{Code: exam.CodeSpecimen, Value: exam.Text(s), Eye: exam.Both})
		}
	case 'R':
		r.answered = true
		if r.cur == nil {
			r.begin(rec)
		}
		r.decode(rec)
		r.result(rec)
	case 'Q':
		r.end()
		r.query = true
	case 'L':
		r.end()
	case 'C', 'M', 'S':
	default:
		r.warn(exam.WarnUnknownSegment)
	}
	if rec.Type() != 'H' && rec.Type() != 'L' {
		r.belongs(rec)
	}
}

// decode makes UTF-8 of a record before its fields are parted: in some code pages the second byte of a letter looks like a
// delimiter.
func (r *reader) decode(rec *Record) {
	if !utf8.Valid(rec.Text) {
		page := r.o.CodePage
		if page == "" {
			page = textenc.DefaultCodepage
		}
		r.foreign = true
		if text, err := textenc.Decode(page, rec.Text); err == nil {
			rec.Text = text
		} else {
			r.spoilt = true
		}
	}
	if r.cur != nil {
		r.warnText(r.cur.Exam)
	}
}

func (r *reader) warnText(e *exam.Exam) {
	if r.foreign {
		e.Warn(exam.WarnCharsetUndeclared)
	}
	if r.spoilt {
		e.Warn(exam.WarnEncodingMislabelled)
	}
}

// belongs counts the record to what it stands below.
func (r *reader) belongs(rec *Record) {
	if r.cur != nil {
		r.cur.own[1] = rec.Next
	} else {
		r.who[1] = rec.Next
	}
}

// begin begins an exam.
func (r *reader) begin(rec *Record) {
	e := &exam.Exam{Patient: r.patient, Device: exam.Device{Make: r.sender}}
	e.Observations = make([]exam.Observation, 0, 1+r.following(rec))
	r.cur = &Order{Exam: e, head: r.head, who: r.who, own: [2]int{rec.At, rec.At}}
	r.values, r.counted, r.uncounted, r.ordered = 0, 0, false, ""
	r.warnText(e)
}

// following counts the results that belong to the exam that begins with rec.
func (r *reader) following(rec *Record) (n int) {
	for next := range r.message[rec.At:].Records() {
		switch t := next.Type(); {
		case n >= MaxResults || next.At > 0 && bytes.IndexByte([]byte("HPOQL"), t) >= 0:
			return n
		case t == 'R':
			n++
		}
	}
	return n
}

// end takes the exam where it has a value, and begins none. Where R-2 does not count the results, their place does.
func (r *reader) end() {
	if r.cur != nil && r.values > 0 {
		list := r.cur.Exam.Observations
		if r.cur.Exam.Patient.ID == "" {
			r.warn(exam.WarnPatientIDBlank)
		}
		for i := range list {
			if r.uncounted {
				list[i].Seq = i + 1 - (len(list) - r.values)
			}
		}
		r.found.Orders = append(r.found.Orders, *r.cur)
	}
	r.cur = nil
}

// person reads a P record (E1394 section 7).
func (r *reader) person(rec *Record) {
	p := exam.Patient{ID: r.text(rec.Component(3, 1, 1)), Birth: day(rec.Field(8))}
	if p.ID == "" {
		p.ID = r.text(rec.Component(4, 1, 1))
	}
	if strings.ContainsRune(p.ID, utf8.RuneError) {
		p.ID = "" // two people could come to have the same one
	}
	p.Name = strings.TrimSpace(r.text(rec.Component(6, 1, 1)) + " " + r.text(rec.Component(6, 1, 2)))
	switch s := bytes.TrimSpace(rec.Field(9)); string(s) {
	case "M", "m":
		p.Sex = "M"
	case "F", "f":
		p.Sex = "F"
	case "O", "o":
		p.Sex = "O"
	}
	r.patient = p
}

// result reads an R record (E1394 section 9).
func (r *reader) result(rec *Record) {
	e, completed := r.cur.Exam, 13
	if late := rec.Field(14); len(rec.Field(13)) == 0 && len(late) >= len("200601021504") && moment(late) != "" {
		completed = 14 // some count a field too many behind the value, see testdata/session_etb_240.bin
	}
	if e.TakenAt == "" {
		if e.TakenAt = moment(rec.Field(completed)); e.TakenAt == "" {
			e.TakenAt = moment(rec.Field(completed - 1))
		}
	}
	r.found.Timed = r.found.Timed || e.TakenAt != ""
	if e.Device.Serial == "" {
		e.Device.Serial = r.text(rec.Component(completed+1, 1, 1))
	}
	sent := r.text(rec.Field(4))
	if sent == "" {
		return
	}
	status := r.text(rec.Field(completed - 4))
	if status == "X" || r.none(sent) { // X: the result cannot be had, E1394 section 9.9
		r.warn(exam.WarnSentinelValue)
		return
	}
	obs := exam.Observation{Code: r.test(rec, 3), Eye: exam.Both, Unit: r.text(rec.Component(5, 1, 1))}
	if obs.Code == "" {
		obs.Code = r.ordered
	}
	if obs.Code == "" {
		obs.Code = exam.CodeText
	}
	r.name(&obs)
	obs.Value = exam.ParseValue(obs.Code, sent)
	if !obs.Value.Is(sent) {
		obs.Text = sent
	}
	n, err := strconv.Atoi(string(rec.Field(2)))
	r.uncounted = r.uncounted || err != nil || n <= r.counted
	obs.Seq, r.counted = n, n
	for k := 1; ; k++ {
		flag := part(rec.Field(7), rec.Repeat, k)
		if flag == nil {
			break
		}
		if s := r.text(flag); s != "" && s != "N" {
			obs.Flags = append(obs.Flags, s)
		}
	}
	if status != "" && status != "F" {
		obs.Flags = append(obs.Flags, "status:"+status)
	}
	r.values++
	r.results++
	r.add(obs)
}

// none says whether a value means that there is none.
func (r *reader) none(sent string) bool {
	if strings.Trim(sent, "-.*_ ") == "" {
		return true
	}
	number, isNumber := exam.ParseValue("", sent).Float()
	for _, s := range r.o.NoValue {
		if n, ok := exam.ParseValue("", s).Float(); s == sent || ok && isNumber && n == number {
			return true
		}
	}
	return false
}

// name makes of the source's test the observation that the options say.
func (r *reader) name(obs *exam.Observation) {
	for i := range r.o.Tests {
		t := &r.o.Tests[i]
		if t.Source != obs.Code {
			continue
		}
		if t.Code != "" {
			obs.Code = t.Code
		}
		if t.Eye != "" {
			obs.Eye = t.Eye
		}
		obs.Method = t.Method
		if t.Unit != "" {
			obs.Unit = t.Unit
		} else if obs.Unit == "" {
			obs.Unit, _ = exam.UnitOf(obs.Code)
		}
		return
	}
}

// test is the code of a universal test id: its fourth component, that of the maker, or else the first that says something
// (E1394 section 6.6.1).
func (r *reader) test(rec *Record, field int) string {
	for _, c := range [...]int{4, 1, 2, 3} {
		if s := r.text(rec.Component(field, 1, c)); s != "" {
			return s
		}
	}
	return ""
}

func (r *reader) add(o exam.Observation) {
	r.cur.Exam.Observations = append(r.cur.Exam.Observations, o)
}

func (r *reader) warn(word string) {
	if r.cur != nil {
		r.cur.Exam.Warn(word)
	}
}

// text is a part of the record without escapes and blanks around it. Bytes that fit no character set become U+FFFD.
func (r *reader) text(part []byte) string {
	part = bytes.TrimSpace(part)
	if r.rec.Escape != 0 && bytes.IndexByte(part, r.rec.Escape) >= 0 {
		r.buf = r.rec.Unescape(r.buf[:0], part)
		part = r.buf
	}
	return strings.ToValidUTF8(string(part), "\uFFFD")
}

// moment makes ISO 8601 of YYYYMMDD[HHMM[SS]] (E1394 section 6.6.2); empty of what is none.
func moment(b []byte) string {
	s := string(bytes.TrimSpace(b[:min(len(b), 32)]))
	for _, f := range [...][2]string{{"20060102150405", "2006-01-02T15:04:05"}, {"200601021504", "2006-01-02T15:04"}, {"20060102", "2006-01-02"}} {
		if len(s) < len(f[0]) {
			continue
		}
		if t, err := time.Parse(f[0], s[:len(f[0])]); err == nil {
			return t.Format(f[1])
		}
	}
	return ""
}

// day is the day of a moment.
func day(b []byte) string {
	s := moment(b)
	return s[:min(len(s), len("2006-01-02"))]
}

package hl7

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/hostd/hostd/core/sdk/exam"
)

// What one Decode takes: no instrument comes near, and it bounds the memory of a forged message.
const (
	maxObservations = 2048
	maxMessages     = 1024 // of a batch
)

// Options are what a site knows about a source. The zero Options are good.
type Options struct {
	// Charset is what the source sends where MSH-18 is empty, by a name of HL7 table 0211 or of textenc, see KnownCharset.
	// Empty: UTF-8 where that fits, else Codepage, with a warning.
	Charset string
	// Codepage is the site's, for bytes that are not what they were declared to be; empty is textenc.DefaultCodepage.
	Codepage string
	Mapping  *Mapping // nil is DefaultMapping
}

func (o Options) mapping() *Mapping {
	if o.Mapping == nil {
		return DefaultMapping()
	}
	return o.Mapping
}

// Attachment is a document that a message carried in an OBX of type ED.
type Attachment struct {
	Name        string // made from the number of the OBX and the content: obx-7.pdf
	ContentType string // media type, told from the content, else from what OBX-5 says
	Data        []byte // decoded; may share memory with the message
	Exam        int    // index of its exam in Result.Exams
}

// Decode makes exams of a message, or of every message of a batch of at most 1,024; Messages takes a longer one apart. A message that carries no observation (ADT, ACK, an ORU
// in which nothing has a value) gives neither exam nor reject. What is no HL7 message is a reject.
func Decode(b []byte, o Options) exam.Result {
	m, err := o.Parse(b)
	if errors.Is(err, ErrBatch) {
		return decodeAll(b, o)
	}
	if err != nil {
		return exam.Result{Rejects: []exam.Reject{RejectOf(b, err)}}
	}
	r, _ := m.Exams(o)
	return r
}

// decodeAll takes a batch apart. All its exams share one list of observations.
func decodeAll(b []byte, o Options) (all exam.Result) {
	at, found := 0, 0
	list := make([]exam.Observation, 0, min(bytes.Count(b, []byte("OBX")), maxObservations))
	for one := range Messages(b) {
		if found++; found > maxMessages {
			return tooLarge(b, "more messages than a batch can have")
		}
		from := at + bytes.Index(b[at:], one)
		at = from + len(one)
		m, err := o.Parse(one)
		if err != nil {
			x := RejectOf(one, err)
			x.Offset = int64(from)
			all.Rejects = append(all.Rejects, x)
			continue
		}
		e := m.examiner(o)
		e.all, e.now.from = list, len(list)
		if e.run(); e.full {
			return tooLarge(b, "more observations than a batch can have")
		}
		list = e.all
		all.Exams = append(all.Exams, e.result.Exams...)
	}
	if found == 0 {
		all.Rejects = []exam.Reject{rejected(b, exam.RejectEmpty, "a batch without a message")}
	}
	return all
}

func tooLarge(b []byte, detail string) exam.Result {
	return exam.Result{Rejects: []exam.Reject{rejected(b, exam.RejectTooLarge, detail)}}
}

// RejectOf is the reject for an error of Parse: the whole of b.
func RejectOf(b []byte, err error) exam.Reject {
	reason := exam.RejectNoise
	switch {
	case errors.Is(err, ErrEmpty):
		reason = exam.RejectEmpty
	case errors.Is(err, ErrTooLarge):
		reason = exam.RejectTooLarge
	}
	return rejected(b, reason, err.Error())
}

func rejected(b []byte, reason, detail string) exam.Reject {
	return exam.Reject{Reason: reason, Length: int64(len(b)), Detail: detail}
}

// Exams makes exams of the message: one for each PID segment that observations follow, or one. None has no observation,
// and a message with more of them than an exam can have is a reject. The message must have been parsed with the same
// Options.
func (m *Message) Exams(o Options) (exam.Result, []Attachment) {
	e := m.examiner(o)
	e.all = make([]exam.Observation, 0, e.count())
	if e.run(); e.full {
		return tooLarge(m.raw, "more observations than an exam can have"), nil
	}
	return e.result, e.attachments
}

// run goes through the segments, until there are more observations than the list can take.
func (e *examiner) run() {
	for i := range e.m.spans {
		if e.segment(i); e.full {
			return
		}
	}
	e.finish()
}

// Head is what the message says besides observations: patient, make of the device, and time (OBR-7, else MSH-7). It is no
// exam, for want of observations.
func (m *Message) Head(o Options) *exam.Exam {
	e := m.examiner(o)
	for s := range m.Segments() {
		if s.Is("PID") && e.now.patient == nil {
			e.now.patient = s.raw
		}
		if s.Is("OBR") {
			e.takenAt(s)
		}
	}
	return e.head()
}

// examiner makes exams of one message.
type examiner struct {
	m           *Message
	rules       *Mapping
	all         []exam.Observation // of all exams, one behind the other
	result      exam.Result
	attachments []Attachment
	obx         int // number of the last OBX, from 1
	full        bool
	memory      []byte // for the texts that are decoded
	now         sitting
}

// sitting is what belongs to one exam.
type sitting struct {
	patient []byte // PID segment
	serial  string
	taken   string
	site    string // eye of the body site of the order or the specimen
	order   string // the same of the order alone
	from    int    // its first observation in all
	numbers numbers
	warn    [5]bool
}

// Warnings of a sitting, in the order in which an exam has them.
const (
	warnCharset = iota // undecodable: beside that of the message
	warnSentinel
	warnDuplicate
	warnAbsent
	warnUnknown
)

func (m *Message) examiner(o Options) *examiner { return &examiner{m: m, rules: o.mapping()} }

// count is how many observations there may be.
func (e *examiner) count() int {
	n := 0
	for i := range e.m.spans {
		if e.m.Segment(i).Is("OBX") {
			n++
		}
	}
	return min(n, maxObservations)
}

func (e *examiner) segment(i int) {
	s := e.m.Segment(i)
	switch string(s.ID()) {
	case "OBX":
		e.obx++
		e.observe(s)
	case "PID":
		e.finish()
		e.now = sitting{patient: s.raw, from: len(e.all)}
	case "OBR":
		e.takenAt(s)
		e.now.order = e.orderSite(i)
		e.now.site = e.now.order
	case "SPM": // HL7 v2.5.1 section 7.4.3
		e.now.site = e.now.order
		if eye := e.rules.site(s.Field(8)); eye != "" {
			e.now.site = eye
		}
	default:
		if s.raw[0] == 'Z' && len(s.raw) > 4 {
			e.now.warn[warnUnknown] = true
		}
	}
}

// orderSite is the eye of the order at i: of OBR-15.4, else of SPM-8 where the specimens that follow agree.
func (e *examiner) orderSite(i int) string {
	if eye := e.rules.sites[string(e.m.Segment(i).Field(15).Component(4).Sub(1))]; eye != "" {
		return eye
	}
	found := ""
	for i++; i < len(e.m.spans); i++ {
		s := e.m.Segment(i)
		if s.Is("OBR") || s.Is("PID") {
			break
		}
		if !s.Is("SPM") {
			continue
		}
		eye := e.rules.site(s.Field(8))
		if found != "" && eye != found {
			return ""
		}
		found = eye
	}
	return found
}

func (e *examiner) takenAt(obr Segment) {
	if e.now.taken == "" {
		e.now.taken = isoTime(obr.Field(7).Component(1).Bytes())
	}
}

// finish closes the sitting: an exam, if anything was found.
func (e *examiner) finish() {
	if len(e.all) == e.now.from {
		return
	}
	x := e.head()
	x.Observations = e.all[e.now.from:len(e.all):len(e.all)]
	if x.Patient.ID == "" {
		x.Warn(exam.WarnPatientIDBlank)
	}
	if e.m.set.warn != "" {
		x.Warn(e.m.set.warn)
	}
	if e.m.broken {
		x.Warn(exam.WarnBrokenSegment)
	}
	for i, word := range [...]string{
		warnCharset: exam.WarnEncodingMislabelled, warnSentinel: exam.WarnSentinelValue, warnDuplicate: exam.WarnDuplicate,
		warnAbsent: exam.WarnAttachmentAbsent, warnUnknown: exam.WarnUnknownSegment,
	} {
		if e.now.warn[i] {
			x.Warn(word)
		}
	}
	e.result.Exams = append(e.result.Exams, x)
}

// head is the exam of the sitting without its observations.
func (e *examiner) head() *exam.Exam {
	x := &exam.Exam{TakenAt: e.now.taken, Device: exam.Device{Serial: e.now.serial}}
	x.Device.Make = e.text(e.m.header(3).Component(1).Bytes())
	if x.TakenAt == "" {
		x.TakenAt = isoTime(e.m.header(7).Component(1).Bytes())
	}
	if e.now.patient != nil {
		x.Patient = e.patient(Segment{raw: e.now.patient, d: e.m.d})
	}
	return x
}

// patient reads PID: the id is PID-3.1 of the first repetition, else PID-2.1 (HL7 v2.5.1 section 3.4.2).
func (e *examiner) patient(s Segment) (p exam.Patient) {
	if p.ID = e.value(s.Field(3).Component(1).Sub(1)); p.ID == "" {
		p.ID = e.value(s.Field(2).Component(1).Sub(1))
	}
	if strings.ContainsRune(p.ID, utf8.RuneError) {
		p.ID = "" // two people could come to have the same one
	}
	name := s.Field(5).Repetition(1)
	family, given := e.value(name.Component(1).Sub(1)), e.value(name.Component(2).Sub(1))
	p.Name = strings.TrimSpace(family + " " + given)
	p.Birth, _, _ = strings.Cut(isoTime(s.Field(7).Component(1).Bytes()), "T")
	switch string(bytes.TrimSpace(s.Field(8).Component(1).Bytes())) {
	case "M", "m":
		p.Sex = "M"
	case "F", "f":
		p.Sex = "F"
	case "O", "A", "o", "a": // other, ambiguous: HL7 table 0001
		p.Sex = "O"
	}
	return p
}

// value is the text of raw without blanks around it; "" in it means that there is none (HL7 v2.5.1 section 2.5.3).
func (e *examiner) value(raw []byte) string {
	if string(raw) == `""` {
		return ""
	}
	return strings.TrimSpace(e.text(raw))
}

// text is the text of raw; what cannot be decoded becomes U+FFFD, with a warning.
func (e *examiner) text(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	s, err := e.m.text(raw, &e.memory)
	if err != nil {
		e.now.warn[warnCharset] = true
		return replaced(raw)
	}
	return s
}

// replaced is raw as UTF-8, with U+FFFD for each stretch of bytes that are none: strings.ToValidUTF8 in one piece.
func replaced(raw []byte) string {
	var text strings.Builder
	size := 0
	for _, build := range []bool{false, true} {
		text.Grow(size)
		bad := false
		for rest := raw; len(rest) > 0; {
			r, n := utf8.DecodeRune(rest)
			wrong := r == utf8.RuneError && n == 1
			switch {
			case wrong && bad:
			case build:
				text.WriteRune(r)
			default:
				size += utf8.RuneLen(r)
			}
			bad, rest = wrong, rest[n:]
		}
	}
	return text.String()
}

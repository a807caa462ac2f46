package hl7

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// AckCode is MSA-1 (HL7 v2.5.1 section 2.15.8 and table 0008).
type AckCode string

// Codes of acknowledgements: A.. is the only answer of the original mode and the application's of the enhanced one, C.. the
// accept answer of the enhanced mode.
const (
	AA AckCode = "AA" // accepted
	AE AckCode = "AE" // error in content or format: the same bytes fail again
	AR AckCode = "AR" // type, version or processing id not acceptable, or any reason apart from the content
	CA AckCode = "CA" // safely stored
	CE AckCode = "CE" // not accepted for a reason that may pass
	CR AckCode = "CR" // type, version or processing id not acceptable
)

// OK says whether the sender may forget the message.
func (c AckCode) OK() bool { return c == AA || c == CA }

// ErrCode is ERR-3 (HL7 v2.5.1 table 0357).
type ErrCode int

// Codes of errors.
const (
	ErrCodeNone          ErrCode = 0
	ErrSegmentSequence   ErrCode = 100
	ErrRequiredField     ErrCode = 101
	ErrDataType          ErrCode = 102
	ErrTableValue        ErrCode = 103
	ErrUnsupportedType   ErrCode = 200
	ErrUnsupportedEvent  ErrCode = 201
	ErrUnsupportedID     ErrCode = 202
	ErrUnsupportedVer    ErrCode = 203
	ErrUnknownKey        ErrCode = 204
	ErrDuplicateKey      ErrCode = 205
	ErrRecordLocked      ErrCode = 206
	ErrInternal          ErrCode = 207
	errCodeSystem                = "HL70357"
	defaultReplyVersion          = "2.5.1"
	defaultReplyTypeName         = "ACK"
)

// String is the text of table 0357.
func (c ErrCode) String() string {
	switch c {
	case ErrCodeNone:
	case ErrSegmentSequence:
		return "Segment sequence error"
	case ErrRequiredField:
		return "Required field missing"
	case ErrDataType:
		return "Data type error"
	case ErrTableValue:
		return "Table value not found"
	case ErrUnsupportedType:
		return "Unsupported message type"
	case ErrUnsupportedEvent:
		return "Unsupported event code"
	case ErrUnsupportedID:
		return "Unsupported processing id"
	case ErrUnsupportedVer:
		return "Unsupported version id"
	case ErrUnknownKey:
		return "Unknown key identifier"
	case ErrDuplicateKey:
		return "Duplicate key identifier"
	case ErrRecordLocked:
		return "Application record locked"
	case ErrInternal:
		return "Application internal error"
	}
	return ""
}

// Receipt is what a reply says besides its code.
type Receipt struct {
	ControlID string    // MSH-10 of the reply, the receiver's own number
	Time      time.Time // MSH-7, with its zone; zero leaves it empty
	Text      string    // MSA-3: ASCII, and no patient data; empty is none
	Err       ErrCode   // ERR-3; ErrCodeNone makes no ERR segment. ERR is there from version 2.5 on
	At        string    // ERR-2 with ^ between its parts: OBX^1^5; empty is the message as a whole
}

// AppendReply appends the acknowledgement of m to dst: MSH-3, 4 and 5, 6 swapped, MSH-2, 11, 12 and 18 as theirs, MSA-2 their
// MSH-10 (HL7 v2.5.1 section 2.9.2). m may be nil, where the message could not be parsed: the reply then names nobody, in
// version 2.5.1. Segments end with CR.
func AppendReply(dst []byte, m *Message, code AckCode, r Receipt) []byte {
	w := replyWriter{b: dst, d: Delimiters{Field: '|', Component: '^', Repetition: '~', Escape: '\\', Subcomponent: '&'}}
	version := []byte(defaultReplyVersion)
	if m != nil {
		w.d = m.d
		version = m.header(12).Component(1).Bytes()
	}
	w.segment("MSH")
	if m != nil && m.Header(2) != nil {
		w.b = append(w.b, m.Header(2)...)
	} else {
		w.b = append(w.b, `^~\&`...)
	}
	for _, n := range [...]int{5, 6, 3, 4} {
		w.copy(m, n)
	}
	w.next()
	if !r.Time.IsZero() {
		w.b = r.Time.AppendFormat(w.b, "20060102150405-0700")
	}
	w.next()
	w.kind(m, string(version))
	w.text(r.ControlID)
	if m != nil {
		w.copy(m, 11)
		w.copy(m, 12)
		if len(m.Header(18)) > 0 {
			w.b = append(w.b, w.d.Field, w.d.Field, w.d.Field, w.d.Field, w.d.Field) // MSH-13 to 17
			w.copy(m, 18)
		}
	} else {
		w.text("P")
		w.text(defaultReplyVersion)
	}
	w.b = append(w.b, '\r')
	w.segment("MSA")
	w.b = append(w.b, code...)
	w.copy(m, 10)
	if r.Text != "" {
		w.text(r.Text)
	}
	if r.Err != ErrCodeNone && atLeast(string(version), 2, 5) {
		w.err(r)
	}
	return append(w.b, '\r')
}

// replyWriter writes segments with the delimiters of the sender.
type replyWriter struct {
	b []byte
	d Delimiters
}

// segment begins a segment, its first field.
func (w *replyWriter) segment(id string) { w.b = append(append(w.b, id...), w.d.Field) }

// next begins the next field.
func (w *replyWriter) next() { w.b = append(w.b, w.d.Field) }

// copy writes the field MSH-n of m, where there is one.
func (w *replyWriter) copy(m *Message, n int) {
	w.next()
	if m != nil {
		w.b = append(w.b, m.Header(n)...)
	}
}

// text writes a field.
func (w *replyWriter) text(text string) {
	w.next()
	w.b = w.d.appendEscaped(w.b, text)
}

// kind writes MSH-9: ACK with their trigger event, and the structure from version 2.3.1 on.
func (w *replyWriter) kind(m *Message, version string) {
	w.next()
	w.b = append(w.b, defaultReplyTypeName...)
	if m == nil {
		return
	}
	event := m.header(9).Component(2).Bytes()
	if len(event) == 0 {
		return
	}
	w.b = append(append(w.b, w.d.Component), event...)
	if atLeast(version, 2, 4) || version == "2.3.1" {
		w.b = append(append(w.b, w.d.Component), defaultReplyTypeName...)
	}
}

func (w *replyWriter) err(r Receipt) {
	w.b = append(w.b, '\r')
	w.segment("ERR")
	w.next()
	w.b = append(w.b, strings.ReplaceAll(r.At, "^", string(w.d.Component))...)
	w.next()
	w.b = append(strconv.AppendInt(w.b, int64(r.Err), 10), w.d.Component)
	w.b = append(w.d.appendEscaped(w.b, r.Err.String()), w.d.Component)
	w.b = append(w.b, errCodeSystem...)
	w.text("E")
}

// atLeast compares a version ("2.5.1") with major and minor; what is no version is below all.
func atLeast(version string, major, minor int) bool {
	a, b, _ := strings.Cut(version, ".")
	b, _, _ = strings.Cut(b, ".")
	x, err := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err == nil && err2 == nil && (x > major || x == major && y >= minor)
}

// Ack is what a reply says.
type Ack struct {
	Code      AckCode
	ID        string // MSA-2: control id of the message that it answers; empty where it had none
	ControlID string // MSH-10 of the reply
	Err       string // ERR-3.1 of the first ERR segment, as sent; empty without one
}

// ErrNotReply says that a message has no MSA segment with a code of table 0008.
var ErrNotReply = errors.New("message is no acknowledgement")

// ParseReply reads an acknowledgement. The error is one of Parse, or ErrNotReply. MSA-3 is not given: senders quote patient
// data in it.
func ParseReply(b []byte) (Ack, error) {
	m, err := Parse(b)
	if err != nil {
		return Ack{}, err
	}
	a := Ack{Code: AckCode(m.Get("MSA-1")), ID: string(m.Get("MSA-2")), ControlID: string(m.Header(10)), Err: string(m.Get("ERR-3.1"))}
	switch a.Code {
	case AA, AE, AR, CA, CE, CR:
		return a, nil
	}
	return Ack{}, ErrNotReply
}

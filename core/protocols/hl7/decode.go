package hl7

import "github.com/hostd/hostd/core/sdk/exam"

// Options are what a site knows about a source. The zero Options are good.
type Options struct {
	Charset string // what the source sends where MSH-18 is empty, as MSH-18 or textenc name it; empty: UTF-8 where it fits, else Codepage with a warning
	// Codepage is the site's, for bytes that are not what they were declared to be; empty is textenc.DefaultCodepage.
	Codepage string
	Mapping  *Mapping // nil is DefaultMapping
}

// Attachment is a document that a message carried in an OBX of type ED.
type Attachment struct {
	Name        string // made from the number of the OBX and the content: obx-7.pdf
	ContentType string // media type, told from the content or from OBX-5
	Data        []byte // decoded; may share memory with the message
	Exam        int    // index of its exam in Result.Exams
}

// Decode makes exams of a message, or of all messages of a batch. A message that carries no observation (ADT, ACK, an ORU
// in which nothing has a value) gives neither exam nor reject. What is no HL7 message is a reject.
func Decode(b []byte, o Options) exam.Result {
	m, err := o.Parse(b)
	if err != nil {
		return exam.Result{}
	}
	r, _ := m.Exams(o)
	return r
}

// Exams makes exams of the message: one, or one for each PID segment; none where it carries no observation. The message
// must have been parsed with the same Options.
func (m *Message) Exams(o Options) (exam.Result, []Attachment) { return exam.Result{}, nil }

// Head is what the message says besides observations: patient, make of the device, and time (OBR-7, else MSH-7). It is no
// exam, for want of observations.
func (m *Message) Head(o Options) *exam.Exam { return nil }

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

const (
	contentType = "application/hl7-v2"
	evidence    = 64 << 10 // bytes of a reject
	largeDecode = 1 << 20  // bytes of a message from which on one is decoded at a time
	mostLabel   = 64       // bytes of a label
)

// rejectUnsupported is a reject's reason besides those of package exam: a type or version that is none of HL7 v2.
const rejectUnsupported = "unsupported"

// read makes records of one message, and says how it is answered. The message is nil where nothing is to be stored. The
// error is hl7.ErrBatch for what has to be taken apart before. What is returned shares memory with b.
func (s *session) read(peer netip.Addr, b []byte) (*message, reply, error) {
	m, src, err := s.parse(peer, b)
	switch {
	case errors.Is(err, hl7.ErrBatch):
		return nil, silent, err
	case err != nil:
		return s.reject(hl7.RejectOf(b, err), b), reply{source: src, code: hl7.AR, text: err.Error()}, nil
	}
	r := reply{to: m, source: src, code: hl7.AA}
	kind := m.Type()
	switch {
	case strings.HasPrefix(kind, "ACK"):
		s.notices.warn("a peer acknowledged what was not asked: it is not stored", "peer", peer.String())
		return nil, silent, nil
	case kind == "":
		r.code, r.err, r.at, r.text = hl7.AE, hl7.ErrRequiredField, "MSH^1^9", "message type is missing"
		return s.unsupported(b, r), r, nil
	case !isType(kind):
		r.code, r.err, r.at, r.text = hl7.AR, hl7.ErrUnsupportedType, "MSH^1^9", "unknown message type"
		return s.unsupported(b, r), r, nil
	case !isVersion(m.Segment(0).Field(12).Component(1).Bytes()):
		r.code, r.err, r.at, r.text = hl7.AR, hl7.ErrUnsupportedVer, "MSH^1^12", "unknown version"
		return s.unsupported(b, r), r, nil
	}
	msg := s.decode(m, src)
	if msg.faulty {
		r.code, r.err, r.text = hl7.AE, hl7.ErrDataType, "a part of the message cannot be read"
	}
	return msg, r, nil
}

// parse reads the message as its source sends it.
func (s *session) parse(peer netip.Addr, b []byte) (*hl7.Message, *source, error) {
	m, err := hl7.Parse(b)
	if err != nil {
		return nil, s.d.source(peer, "", ""), err
	}
	src := s.d.source(peer, string(m.Get("MSH-3.1")), string(m.Get("MSH-4.1")))
	if src.options.Charset != "" || src.options.Codepage != "" {
		m, err = src.options.Parse(b)
	}
	return m, src, err
}

// isType says whether MSH-9 has a message type, and perhaps an event, of HL7's form (v2.5.1, 2.15.9.9): ORU^R01. Other
// words must not become a kind.
func isType(text string) bool {
	kind, event, _ := strings.Cut(text, "^")
	other := func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') }
	return len(kind) == 3 && len(event) <= 3 && !strings.ContainsFunc(kind+event, other)
}

// isVersion says whether it is one of HL7 v2, or was left out.
func isVersion(v []byte) bool {
	return len(v) == 0 || string(v) == "2" || bytes.HasPrefix(v, []byte("2."))
}

// decode makes the records of a message: exams of results, anything else as it came.
func (s *session) decode(m *hl7.Message, src *source) *message {
	id, digest := m.Identity()
	sum := sha256.Sum256([]byte(id))
	msg := &message{key: key(sum[:len(key{})])}
	if len(m.Bytes()) >= largeDecode {
		s.large <- struct{}{}
		defer func() { <-s.large }()
	}
	kind := m.Type()
	d := decoding{s: s, m: m, msg: msg, known: s.knows(msg.key), first: sdk.Record{ID: id, Digest: digest[:], Labels: labels(m, kind)}}
	var result exam.Result
	var documents []hl7.Attachment
	switch kind[:3] {
	case "ORU", "OUL":
		result, documents = m.Exams(src.options)
	case "MDM":
		_, documents = m.Exams(src.options)
	}
	d.exams(result, documents)
	if len(msg.records) == 0 {
		d.asItCame(strings.ToLower(kind[:3]), src, documents)
	}
	switch {
	case d.known:
		msg.decide(stored)
	case d.err != nil:
		s.notices.warn("a document cannot be staged", "err", d.err)
		msg.decide(sdk.ReasonDisk)
	}
	return msg
}

// decide gives the verdict of a message that is not handed over.
func (m *message) decide(v sdk.Reason) {
	m.verdict = make(chan sdk.Reason, 1)
	m.verdict <- v
}

// decoding is a message that becomes records.
type decoding struct {
	s     *session
	m     *hl7.Message
	msg   *message
	known bool       // it is stored already: only its answer is wanted
	first sdk.Record // what all records have
	err   error      // of the disk
}

// exams makes a record of each exam, and a reject of each part that could not be read. The first has the message.
func (d *decoding) exams(result exam.Result, documents []hl7.Attachment) {
	for i, e := range result.Exams {
		data, err := exam.Encode(e)
		if err != nil {
			result.Rejects = append(result.Rejects, exam.Reject{Reason: exam.RejectBadLength, Length: int64(len(d.m.Bytes())), Detail: err.Error()})
			continue
		}
		r := d.first
		r.Kind, r.ContentType, r.Data, r.Time = exam.Kind, exam.ContentType, data, exam.ParseTakenAt(e.TakenAt)
		r.Attachments = d.stage(i, documents)
		d.put(r)
	}
	for _, bad := range result.Rejects {
		r := d.first
		r.Kind = sdk.KindReject
		r.Labels = rejectLabels(bad)
		r.Data = d.m.Bytes()
		d.s.notices.warn("a part of a message cannot be read", "reason", bad.Reason, "detail", bad.Detail)
		d.msg.faulty = true
		d.put(r)
	}
}

// asItCame makes one record of a message that is no exam.
func (d *decoding) asItCame(kind string, src *source, documents []hl7.Attachment) {
	r := d.first
	r.Kind, r.ContentType, r.Data = "hl7."+kind, contentType, d.m.Bytes()
	if h := d.m.Head(src.options); h != nil {
		r.Time = exam.ParseTakenAt(h.TakenAt)
	}
	r.Attachments = d.stage(-1, documents)
	d.put(r)
}

// put adds a record. The second one and later ones have their number in the ID, and not the message: its bytes would be there
// once for each.
func (d *decoding) put(r sdk.Record) {
	n := len(d.msg.records) + 1
	switch {
	case n > 1:
		r.ID += "-" + strconv.Itoa(n)
	case r.Kind == exam.Kind:
		r.Raw = d.m.Bytes()
	}
	d.msg.size += recordSize + len(r.ID) + len(r.Data) + len(r.Raw)
	d.msg.records = append(d.msg.records, r)
}

// stage writes the documents of an exam into files; of all exams where it is -1.
func (d *decoding) stage(index int, documents []hl7.Attachment) (list []sdk.Attachment) {
	for _, doc := range documents {
		if d.known || (doc.Exam != index && index >= 0) {
			continue
		}
		path := filepath.Join(d.s.env.StagingDir, "document-"+strconv.FormatInt(d.s.files.Add(1), 10))
		if err := os.WriteFile(path, doc.Data, 0o600); err != nil {
			d.err = errors.Join(d.err, err)
			continue
		}
		list = append(list, sdk.Attachment{Name: doc.Name, ContentType: doc.ContentType, Path: path})
	}
	return list
}

// discard removes what was staged for the message and the host has not taken: it was refused, or its twin was stored.
func (m *message) discard(staging string) {
	for i := range m.records {
		for _, a := range m.records[i].Attachments {
			_ = os.Remove(filepath.Join(staging, filepath.Base(a.Path))) // the host has taken it where it is not there
		}
	}
}

// labels are for routing: the message's type, which system sent it, and what for where that is not production (MSH-11, HL7 table 0103).
func labels(m *hl7.Message, kind string) map[string]string {
	l := map[string]string{"message": kind}
	for name, field := range map[string]int{"application": 3, "facility": 4, "processing": 11} {
		text, err := m.Text(m.Segment(0).Field(field).Component(1).Bytes())
		if err == nil && text != "" && len(text) <= mostLabel && !strings.ContainsFunc(text, unicode.IsControl) {
			l[name] = text
		}
	}
	if l["processing"] == "P" {
		delete(l, "processing")
	}
	return l
}

// reject makes a record of what could not be read, with the beginning of it as evidence.
func (s *session) reject(why exam.Reject, b []byte) *message {
	kept := b[:min(len(b), evidence)]
	s.notices.warn("what a peer sent cannot be read: "+why.Reason, "detail", why.Detail, "bytes", why.Length)
	sum := sha256.Sum256(append([]byte(why.Reason+" "), kept...))
	return &message{
		key: key(sum[:len(key{})]), size: recordSize + len(kept),
		records: []sdk.Record{{
			ID: "reject-" + hex.EncodeToString(sum[:16]), Kind: sdk.KindReject, Data: kept, Labels: rejectLabels(why),
		}},
	}
}

// unsupported is the reject of a message that is answered with r, which says why.
func (s *session) unsupported(b []byte, r reply) *message {
	return s.reject(exam.Reject{Reason: rejectUnsupported, Length: int64(len(b)), Detail: r.text + " (" + r.at + ")"}, b)
}

func rejectLabels(why exam.Reject) map[string]string {
	return map[string]string{
		sdk.LabelReason: why.Reason, "detail": why.Detail,
		sdk.LabelOffset: strconv.FormatInt(why.Offset, 10), sdk.LabelLength: strconv.FormatInt(why.Length, 10),
	}
}

// tooLarge is the answer to a message of which only the beginning was kept.
func (s *session) tooLarge(peer netip.Addr, b []byte) reply {
	head, _, _ := bytes.Cut(bytes.TrimPrefix(b[:min(len(b), evidence)], []byte(vt)), []byte(cr))
	m, src, err := s.parse(peer, head)
	r := reply{source: src, code: hl7.AR, err: hl7.ErrInternal, text: "message is too long"}
	if err == nil {
		r.to = m
	}
	return r
}

func (s *session) knows(k key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory.knows(k)
}

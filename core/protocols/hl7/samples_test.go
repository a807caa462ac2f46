package hl7_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/sdk/exam"
)

// stream is what a file or a connection gives: exams with what was found beside them.
type stream struct {
	exam.Result
	control []string
	seen    map[string]*exam.Exam
}

// message takes one message: what has no observation is kept as its head.
func (s *stream) message(b []byte, offset int64) {
	if reply, err := hl7.ParseReply(b); err == nil {
		s.control = append(s.control, string(reply.Code)+" "+reply.ID)
		return
	}
	r := hl7.Decode(b, hl7.Options{})
	for _, x := range r.Rejects {
		x.Offset += offset
		s.Rejects = append(s.Rejects, x)
	}
	m, err := hl7.Parse(b)
	if err != nil {
		return
	}
	id, _ := m.Identity()
	if first := s.seen[id]; first != nil {
		first.Warn(exam.WarnDuplicate)
		return
	}
	if len(r.Exams) == 0 {
		r.Exams = append(r.Exams, m.Head(hl7.Options{}))
	}
	s.seen[id] = r.Exams[0]
	s.Exams = append(s.Exams, r.Exams...)
}

func (s *stream) part(p hl7.Part) {
	switch p.Kind {
	case hl7.Frame:
		s.message(bytes.Clone(p.Data), p.Offset)
	case hl7.CommitAck:
		s.control = append(s.control, "commit ACK")
	case hl7.CommitNak:
		s.control = append(s.control, "commit NAK")
	case hl7.Noise, hl7.Truncated, hl7.TooLarge:
		reason := map[hl7.PartKind]string{hl7.Noise: exam.RejectNoise, hl7.Truncated: exam.RejectTruncated, hl7.TooLarge: exam.RejectTooLarge}[p.Kind]
		s.Rejects = append(s.Rejects, exam.Reject{Reason: reason, Offset: p.Offset, Length: p.Length, Detail: "in the stream"})
	}
}

// decodeSample decodes a file, and compares what is beside the exams with its want file.
func decodeSample(t *testing.T, path string, data []byte) exam.Result {
	s := stream{seen: map[string]*exam.Exam{}}
	if strings.HasSuffix(path, ".mllp") {
		for p := range parts(data, len(data)) {
			s.part(p)
		}
	} else {
		s.message(data, 0)
	}
	var want struct{ Control []string }
	text, err := os.ReadFile(path + ".want.json")
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil || !slices.Equal(s.control, want.Control) {
		t.Errorf("%s: control %q, want %q: %v", path, s.control, want.Control, err)
	}
	return s.Result
}

func TestSamples(t *testing.T) {
	examtest.Samples(t, "testdata", 41, func(path string, data []byte) exam.Result { return decodeSample(t, path, data) })
}

func TestSharedSamples(t *testing.T) {
	examtest.Samples(t, examtest.Shared(t, "hl7v2"), 41, func(path string, data []byte) exam.Result { return decodeSample(t, path, data) })
}

package astm

import (
	"errors"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Decoded is what an instrument has said: the exams and what could not be read, and what is to be known of the transfer.
type Decoded struct {
	exam.Result
	Warnings []string
}

// Decode reads what an instrument said on its line, from its first byte on, whole or not: transfers with frames, or records
// without. Every frame counts as answered as it should be. A message without results is a reject of reason empty.
func Decode(data []byte, o Options) (d Decoded) {
	l := NewLink(LinkOptions{})
	now := time.Unix(0, 0) // it stands still
	l.Receive(now, data)
	for lost := false; ; {
		actions := l.Take()
		if len(actions) == 0 && lost {
			break
		}
		if len(actions) == 0 {
			lost = true
			l.Lost(now)
		}
		for i := range actions {
			d.action(&actions[i], int64(len(data)), o)
		}
		if l.Pending() {
			l.Safe(now)
		}
	}
	if len(d.Exams)+len(d.Rejects) == 0 {
		d.Rejects = append(d.Rejects, exam.Reject{Reason: exam.RejectEmpty, Length: int64(len(data)), Detail: "no message"})
	}
	return d
}

func (d *Decoded) action(a *Action, size int64, o Options) {
	switch a.Kind {
	case ActionReject:
		d.Rejects = append(d.Rejects, a.Reject)
	case ActionDeliver:
		d.Warnings = append(d.Warnings, a.Warnings...)
		found, err := Message(a.Data).Read(o)
		if err == nil && len(found.Orders) == 0 {
			err = errors.New("the message has no result")
		}
		if err != nil {
			d.Rejects = append(d.Rejects, exam.Reject{Reason: Reason(err), Length: size, Detail: err.Error()})
		}
		for i := range found.Orders {
			d.Exams = append(d.Exams, found.Orders[i].Exam)
		}
	}
}

// Reason is the reject's word for an error of Message.Read.
func Reason(err error) string {
	switch {
	case errors.Is(err, ErrNoHeader):
		return exam.RejectNoise
	case errors.Is(err, ErrTooMany):
		return exam.RejectTooLarge
	}
	return exam.RejectEmpty
}

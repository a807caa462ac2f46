package astm

import (
	"errors"
	"slices"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Decoded is what an instrument has said: the exams and what could not be read, and what is to be known of the transfers.
type Decoded struct {
	exam.Result
	Warnings []string
}

var errNoResult = errors.New("the message has no result")

// pieceSize is how much Decode tells its link at once, and maxRejects how many it lists: the last one then goes up to where
// the last fault ends.
const (
	pieceSize  = 512
	maxRejects = 1000
)

// Decode reads what an instrument said on its line, from its first byte on, whole or not: transfers with frames, or records
// without. Every frame counts as answered as it should be. A message without results is a reject of reason empty; what
// comes after MaxOrders exams is one of reason too_large.
func Decode(data []byte, o Options) (d Decoded) {
	l := NewLink(LinkOptions{})
	now := time.Unix(0, 0) // it stands still
	for piece := range slices.Chunk(data, pieceSize) {
		l.Receive(now, piece)
		d.take(l, now, len(data), o)
	}
	l.Lost(now)
	d.take(l, now, len(data), o)
	l.Lost(now) // behind a message that the first one has ended
	d.take(l, now, len(data), o)
	if len(d.Exams)+len(d.Rejects) == 0 {
		d.reject(exam.Reject{Reason: exam.RejectEmpty, Length: int64(len(data)), Detail: "no message"})
	}
	return d
}

// take does what the link wants, until it wants nothing more. Every message is safe.
func (d *Decoded) take(l *Link, now time.Time, size int, o Options) {
	for actions := l.Take(); len(actions) > 0; actions = l.Take() {
		for i := range actions {
			switch a := &actions[i]; a.Kind {
			case ActionReject:
				d.reject(a.Reject)
			case ActionDeliver:
				d.message(a, size, o)
			default: // nobody is there to hear it
			}
		}
		l.Safe(now)
	}
}

func (d *Decoded) reject(r exam.Reject) {
	if len(d.Rejects) == maxRejects {
		last := &d.Rejects[maxRejects-1]
		last.Length = max(last.Length, r.Offset+r.Length-last.Offset)
		return
	}
	d.Rejects = append(d.Rejects, r)
}

func (d *Decoded) message(a *Action, size int, o Options) {
	for _, w := range a.Warnings {
		if !slices.Contains(d.Warnings, w) {
			d.Warnings = append(d.Warnings, w)
		}
	}
	var found Found
	err := ErrTooMany
	if len(d.Exams) < MaxOrders {
		found, err = Message(a.Data).Read(o)
	}
	if err == nil && len(found.Orders) == 0 {
		err = errNoResult
	}
	if err != nil {
		d.reject(exam.Reject{Reason: Reason(err), Length: int64(size), Detail: err.Error()})
		return
	}
	for i := range found.Orders {
		d.Exams = append(d.Exams, found.Orders[i].Exam)
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
